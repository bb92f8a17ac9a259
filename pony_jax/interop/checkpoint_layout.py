"""Finds the networks of the original in a checkpoint, whatever they are wrapped in."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pony_jax.interop.torch_file import CheckpointError, Foreign, check_plain

PRIOR, INSTANCE = ("netPrior", "netBase"), ("netInstance",)
_NETWORKS = (*PRIOR, *INSTANCE)
_OPTIMIZERS = ("optimizerPrior", "optimizerBase", "optimizerInstance")
_COUNTS = ("epoch", "total_iter")

# DataParallel, DistributedDataParallel and torch.compile put these into the names of tensors, at
# the beginning or, where only a part of a network was wrapped, in the middle.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def find_networks(content: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The entries that are converted, in the original's own layout.

    Networks may lie in an outer dictionary such as `state_dict`, or all their tensors in one
    dictionary under `netInstance.` and so on; names of tensors may hold `module.` and `_orig_mod.`.

    Args:
      content: as `torch_file.read_torch_file` gives it, unknown objects anywhere.
      notes: gets a line for each entry that is left out.

    Returns:
      Networks, as arrays by name; optimisers, if there are any; `epoch` and `total_iter`, if there
      are any, as Python's integers.

    Raises:
      CheckpointError: if a network is missing, or holds something else than tensors.
    """
    layers = list(_nested(content))
    entries = next((found for found in map(_entries_of, layers) if found), None)
    if entries is None:
        raise CheckpointError(
            f"expected the entries {' or '.join(PRIOR)}, and {INSTANCE[0]}, found "
            f"{_listed(content)}; is this a checkpoint of MagicPony or 3DAnimals?"
        )
    found = {name: _tensors(name, entries[name]) for name in _NETWORKS if name in entries}
    for names in (PRIOR, INSTANCE):
        if not any(name in found for name in names):
            raise CheckpointError(f"expected an entry {' or '.join(names)}, got {_listed(entries)}")
    for name in (*_OPTIMIZERS, *_COUNTS):
        value = next((layer[name] for layer in (entries, *layers) if name in layer), None)
        if value is not None:
            found[name] = value if name in _OPTIMIZERS else _whole_number(name, value)
    for key, value in content.items():
        if key not in found and not _holds_networks(key, value):
            kind = value.name if isinstance(value, Foreign) else type(value).__name__
            notes.append(f"{key}: left out ({kind}; nothing here reads it)")
    return found


def _nested(content: dict[str, Any], depth: int = 3) -> Iterator[dict[str, Any]]:
    """A dictionary and those in it, outer ones first."""
    yield content
    if depth:
        for key, value in content.items():
            if isinstance(value, dict) and key not in _NETWORKS:
                yield from _nested(value, depth - 1)


def _entries_of(layer: dict[str, Any]) -> dict[str, Any] | None:
    """A layer's entries by network if it holds any, be it in the names of its tensors."""
    if any(name in layer for name in _NETWORKS):
        return layer
    networks: dict[str, dict[str, Any]] = {}
    for key, value in layer.items():
        parts = key.split(".") if isinstance(key, str) else []
        for i, part in enumerate(parts[:-1]):
            if part in _NETWORKS:
                networks.setdefault(part, {})[".".join(parts[i + 1 :])] = value
                break
    return networks or None


def _holds_networks(key: str, value: object) -> bool:
    """Whether an entry is a network's tensor by its name, or has networks in it."""
    if _entries_of({key: value}):
        return True
    return isinstance(value, dict) and any(map(_entries_of, _nested(value)))


def _tensors(network: str, state: object) -> dict[str, np.ndarray]:
    """Tensors by the original's names."""
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    check_plain({network: state})
    if not isinstance(state, dict):
        raise CheckpointError(f"{network}: expected tensors by name, got {type(state).__name__}")
    tensors: dict[str, np.ndarray] = {}
    for key, value in state.items():
        if not (isinstance(key, str) and isinstance(value, np.ndarray)):
            raise CheckpointError(f"{network}.{key}: expected a tensor, got something else")
        name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
        if name in tensors:
            raise CheckpointError(f"{network}: expected one tensor {name}, got two")
        tensors[name] = value
    return tensors


def _whole_number(name: str, value: object) -> int:
    number = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not (isinstance(number, int) and 0 <= number < 2**31):
        kind = value.name if isinstance(value, Foreign) else type(value).__name__
        shown = f" {number}" if isinstance(number, int | float) else ""
        raise CheckpointError(f"{name}: expected a whole number, got {kind}{shown}")
    return number


def _listed(content: dict[str, Any]) -> str:
    names = sorted(map(str, content))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
