"""Reads a network's weights from a file of PyTorch's or a safetensors file, and checks them."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from pony_jax.data.file_contents import describe_contents, printable
from pony_jax.features.errors import ExtractionError
from pony_jax.interop.torch_file import Foreign, read_torch_file

_CONTAINERS = ("state_dict", "teacher", "model")
"""Where checkpoints keep their networks. The teacher is the one of DINO's two that is used."""

_WRAPPERS = ("module.", "_orig_mod.", "backbone.")
"""What wrappers put before a parameter's name: DataParallel, torch.compile, DINO's training."""


def read_weights(
    path: Path,
    expected: Mapping[str, tuple[int, ...]],
    network: str,
    ignored: Iterable[str] = (),
) -> dict[str, np.ndarray]:
    """The tensors of `network` in a file, under the names and with the shapes of `expected`.

    A training checkpoint may hold them inside `state_dict`, `model` or `teacher`, under names that
    wrappers have lengthened; what it holds beside a `backbone.` is another network and ignored.
    Nothing that the file names is run.

    Args:
      ignored: beginnings or ends of names that may be there and are left out.

    Raises:
      ExtractionError: if the file cannot be read, holds another network (by name or shape), or
        numbers that are not finite.
    """
    ignored = tuple(ignored)
    state = {
        name: value
        for name, value in _unwrapped(_load(path, network)).items()
        if not (ignored and str(name).startswith(ignored)) and not str(name).endswith(ignored)
    }
    for value in state.values():
        if isinstance(value, Foreign):
            raise ExtractionError(
                f"expected the weights of {network} in {printable(path)}, found one that wants to "
                f"run {value.name}, which is not done; fetch the file again"
            )
    wrong = [
        f"{name} {_shape(state.get(name))} instead of {_shape(expected.get(name))}"
        for name in sorted({*state, *expected}, key=str)
        if _shape(state.get(name)) != _shape(expected.get(name))
    ]
    if wrong:
        raise ExtractionError(
            f"expected the weights of {network} in {printable(path)}, found others: {wrong[0]}"
            + (f" and {len(wrong) - 1} more differences" if len(wrong) > 1 else "")
        )
    for name, value in state.items():
        if not np.isfinite(value).all():
            raise ExtractionError(
                f"expected finite weights of {network} in {printable(path)}, found NaN or infinity "
                f"in {name}; fetch the file again"
            )
    return state


def _load(path: Path, network: str) -> object:
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # a header's length, then JSON
        return load_file(path) if is_safetensors else read_torch_file(path, foreign_allowed=None)
    except Exception as error:  # the readers raise whatever their parsing meets
        reason = str(error).removeprefix(f"{path}: ").split(". ")[0]
        kind = None if zipfile.is_zipfile(path) else describe_contents(path)
        reason = kind or f"one that fails with: {reason}"
        raise ExtractionError(
            f"expected the weights of {network} in {printable(path)}, found "
            f"{' '.join(reason.split())}; fetch the file again"
        ) from error


def _unwrapped(loaded: object) -> dict[str, object]:
    """The innermost mapping of parameters, names without what wrappers put before them."""
    while isinstance(loaded, Mapping) and (inner := [k for k in _CONTAINERS if k in loaded]):
        loaded = loaded[inner[0]]
    state = dict(loaded) if isinstance(loaded, Mapping) else {type(loaded).__name__: loaded}
    while prefix := next((p for p in _WRAPPERS if any(str(k).startswith(p) for k in state)), None):
        state = {
            str(name).removeprefix(prefix): value
            for name, value in state.items()
            if str(name).startswith(prefix)
        }
    return state


def _shape(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, np.ndarray):
        value = value.shape
    return str(list(value)) if isinstance(value, tuple) else type(value).__name__
