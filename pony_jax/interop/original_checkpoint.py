"""A checkpoint of the original as parameters, optimiser state and backbone of this project."""

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.flatten_util import ravel_pytree

from pony_jax.interop.torch_file import CheckpointError
from pony_jax.interop.torch_names import MODULES, original_names, parameter, vit_params
from pony_jax.model import Pony
from pony_jax.modules.vit import ViT
from pony_jax.training.optimizers import Group, split_by_group

_BACKBONE = "netEncoder.ViT."
# Buffers: ranges that outputs are scaled to, of which this model has one form.
_RANGES = {
    "netDINO.min_max": [[0.0, 1.0]],
    "netTexture.min_max": [[0.0, 1.0]] * 3,
    "netLight.intensity_min_max": [[0.0, 1.0], [0.5, 1.0]],
}
_NUM_TEXTURE, _NUM_ALBEDO = 9, 3
_ALBEDO_LAYER = re.compile(r"netTexture\.mlp\.network\.\d+\.weight")

State = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a checkpoint of the original holds, in this project's terms.

    Attributes:
      moments: of each group of parameters; fresh if the file has no optimisers.
      num_updates: steps taken so far; None if the file does not say.
      backbone: parameters of `modules.vit.ViT`, by path.
      notes: one line a tensor: where it went, or why it was left out.
    """

    params: dict[str, Any]
    moments: dict[str, optax.OptState]
    num_updates: int | None
    backbone: dict[str, np.ndarray]
    notes: list[str]


def convert_checkpoint(content: dict[str, Any], model: Pony, groups: dict[str, Group]) -> Converted:
    """Converts the content of a `.pth` file of MagicPony or of 3DAnimals.

    Args:
      content: as `torch_file.read_torch_file` gives it.
      model: the model of the checkpoint's settings.
      groups: of the optimiser (`training.optimizers.parameter_groups`).

    Raises:
      CheckpointError: names a tensor that is unknown, missing or of another shape.
    """
    prior = _state(content, "netPrior", "netBase")
    instance = _state(content, "netInstance")
    backbone = {
        k.removeprefix(_BACKBONE): v for k, v in instance.items() if k.startswith(_BACKBONE)
    }
    learned = {k: v for k, v in instance.items() if not k.startswith(_BACKBONE)}
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    expected = {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}
    notes: list[str] = []
    flat = _flax_leaves({**prior, **learned}, expected, notes)
    _check_complete([*expected, *_RANGES], [*flat, *prior, *learned])
    states = {("optimizerPrior", "optimizerBase"): prior, ("optimizerInstance",): learned}
    return Converted(
        params=unflatten_dict(flat, sep="/"),
        moments=_moments(content, states, expected, groups),
        num_updates=content.get("total_iter"),
        backbone=_backbone(backbone, notes),
        notes=notes,
    )


def _check_complete(expected: Iterable[str], found: Iterable[str]) -> None:
    """Raises `CheckpointError` that names the tensors of parameters that were not found."""
    names = original_names()
    if missing := sorted(set(expected) - set(found)):
        raise CheckpointError(
            "expected a tensor for each parameter, found none for "
            + ", ".join(f"{path} ({names[path]})" if path in names else path for path in missing)
            + "; are the settings those of the checkpoint?"
        )


def _state(content: dict[str, Any], *names: str) -> State:
    for name in names:
        state = content.get(name)
        if state is not None:
            if not isinstance(state, dict):
                raise CheckpointError(
                    f"{name}: expected tensors by name, got {type(state).__name__}"
                )
            for key, value in state.items():
                if not (isinstance(key, str) and isinstance(value, np.ndarray)):
                    raise CheckpointError(f"{name}.{key}: expected a tensor, got something else")
            return dict(state)
    raise CheckpointError(
        f"expected an entry {' or '.join(names)}, got {sorted(map(str, content))}"
    )


def _flax_leaves(
    state: State, expected: dict[str, tuple[int, ...]], notes: list[str] | None = None
) -> State:
    """Tensors by the paths of our parameters; checks names, shapes and ranges."""
    leaves, lines = {}, []
    for name, value in state.items():
        _check_finite(name, value)
        if name in _RANGES:
            _check_range(name, value)
            lines.append(f"{name}: checked (outputs have these ranges)")
            continue
        path, leaf = _place(name, value)
        is_last = path in expected and expected[path][-1] == _NUM_ALBEDO
        if is_last and _ALBEDO_LAYER.fullmatch(name) and leaf.shape[1:] == (_NUM_TEXTURE,):
            lines.append(
                f"{name}[{_NUM_ALBEDO}:]: left out (channels that the renderer never reads)"
            )
            leaf = leaf[:, :_NUM_ALBEDO]
        if path not in expected:
            raise CheckpointError(f"tensor {name}: the model of these settings has no {path}")
        if path in leaves:
            raise CheckpointError(f"tensor {name}: expected one tensor for {path}, got two")
        if leaf.shape != expected[path]:
            raise CheckpointError(
                f"tensor {name}: expected the shape of {path}, {expected[path]}, got {leaf.shape} "
                "in the same layout; are the settings those of the checkpoint?"
            )
        leaves[path] = leaf.astype(np.float32)
        lines.append(f"{name} -> {path} {leaf.shape}")
    if notes is not None:
        notes += lines
    return leaves


def _check_finite(name: str, value: np.ndarray) -> None:
    if not np.isfinite(value.astype(np.float32)).all():
        raise CheckpointError(
            f"tensor {name}: expected finite numbers, found NaN or infinity; convert an earlier "
            "checkpoint of the run, or copy the file again"
        )


def _place(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    for prefix, (path, path_of) in MODULES.items():
        if name.startswith(prefix):
            try:
                inner, leaf = parameter(name.removeprefix(prefix), value, path_of)
            except KeyError:
                break
            return f"{path}/{inner}", leaf
    raise CheckpointError(f"tensor {name}: expected a name of the original, this one is unknown")


def _check_range(name: str, value: np.ndarray) -> None:
    wanted = np.array(_RANGES[name], np.float32)
    rows = value[: len(wanted)] if len(wanted) > 1 else value
    if value.ndim != 2 or value.shape[1] != 2 or not np.allclose(rows, wanted):
        raise CheckpointError(
            f"tensor {name}: expected the ranges {wanted.tolist()}, got {value.tolist()}, which "
            "this model cannot follow"
        )


def _backbone(state: State, notes: list[str]) -> dict[str, np.ndarray]:
    if not state:
        return {}
    for name, value in state.items():
        _check_finite(_BACKBONE + name, value)
    for name, wanted in (("cls_token", "(1, 1, width)"), ("pos_embed", "(1, 1 + a square, width)")):
        shape = state[name].shape if name in state else (1, 1, 1)
        num_patches = shape[1] - 1 if len(shape) == 3 else -1
        if num_patches < 0 or shape[0] != 1 or math.isqrt(num_patches) ** 2 != num_patches:
            raise CheckpointError(
                f"tensor {_BACKBONE}{name}: expected the shape {wanted}, got {shape}"
            )
    try:
        flat = flatten_dict(vit_params(state), sep="/")
    except KeyError as error:
        name = f"{_BACKBONE}{error.args[0]}"
        raise CheckpointError(f"tensor {name}: unknown or missing in the backbone") from error
    _check_backbone(flat)
    notes.append(f"{_BACKBONE}*: {len(state)} tensors -> backbone.npz")
    return flat


def _check_backbone(flat: State) -> None:
    """Raises `CheckpointError` unless these are all parameters of one transformer."""
    blocks = {path.split("/")[0] for path in flat if path.startswith("block_")}
    network = ViT(
        width=len(flat["class_token"]),
        depth=len(blocks),
        num_heads=1,  # no shape depends on it
        position_side=len(flat["positions"]),
    )
    image = jnp.zeros((1, network.patch, network.patch, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    expected = {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}
    names = original_names()
    _check_complete(
        [f"backbone/{path}" for path in expected], {f"backbone/{k}": v for k, v in flat.items()}
    )
    for path, leaf in flat.items():
        if expected.get(path) != leaf.shape:
            name = names.get(f"backbone/{path}", f"{_BACKBONE}{path}")
            raise CheckpointError(
                f"tensor {name}: expected the shape {expected.get(path, 'of no such block')}, "
                f"got {leaf.shape} in the same layout"
            )


def _moments(
    content: dict[str, Any],
    states: dict[tuple[str, ...], State],
    expected: dict[str, tuple[int, ...]],
    groups: dict[str, Group],
) -> dict[str, optax.OptState]:
    """States of our Adams from the original's two; fresh ones where it has none."""
    first, second, counts = (
        _flax_leaves(
            {
                name: value
                for names, state in states.items()
                for name, value in _adam_entries(content, names, state, key).items()
            },
            expected,
        )
        for key in ("exp_avg", "exp_avg_sq", "step")
    )
    by_group = (split_by_group(unflatten_dict(m, sep="/"), groups) for m in (first, second, counts))
    moments = {}
    for name, mu, nu, count in zip(groups, *(m.values() for m in by_group), strict=True):
        steps = {float(leaf.flat[0]) for leaf in count.values()}
        if not all(0 <= step < 2**31 for step in steps):
            raise CheckpointError(
                f"optimiser: expected a number of steps for group {name!r}, got {sorted(steps)}"
            )
        if len(steps) > 1:
            raise CheckpointError(
                f"optimiser: expected one number of steps for all of group {name!r}, "
                f"got {sorted(steps)}"
            )
        vectors = (ravel_pytree(moment)[0] for moment in (mu, nu))
        moments[name] = optax.ScaleByAdamState(jnp.int32(int(steps.pop())), *vectors)
    return moments


def _adam_entries(
    content: dict[str, Any], names: tuple[str, ...], state: State, key: str
) -> dict[str, np.ndarray]:
    """One entry of Adam's state for every parameter, in the parameter's shape; 0 where it has none.

    PyTorch numbers the parameters in their order in the network, the frozen ones left out, and
    keeps no state for those that never had a gradient.
    """
    order = [name for name in state if name not in _RANGES]
    optimizer = next((content[name] for name in names if name in content), None)
    stored: dict[int, dict[str, Any]] = {}
    if optimizer is not None:
        try:
            stored = {number: dict(entry) for number, entry in optimizer["state"].items()}
            listed = sum(len(group["params"]) for group in optimizer["param_groups"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{names[0]}: expected the state of PyTorch's Adam, got something else"
            ) from error
        if listed != len(order):
            raise CheckpointError(f"{names[0]}: expected {len(order)} parameters, got {listed}")
    entries = {}
    for number, name in enumerate(order):
        try:
            value = np.asarray(stored.get(number, {}).get(key, 0.0), np.float32)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{names[0]}, {key} of {name}: expected numbers") from error
        if value.shape not in ((), state[name].shape):
            raise CheckpointError(
                f"{names[0]}, {key} of {name}: expected the shape {state[name].shape}, "
                f"got {value.shape}"
            )
        entries[name] = np.broadcast_to(value, state[name].shape)
    return entries
