"""A checkpoint of the original as parameters, optimiser state and backbone of this project."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from pony_jax.interop.torch_file import CheckpointError
from pony_jax.interop.torch_names import MODULES, parameter, vit_params
from pony_jax.model import Pony
from pony_jax.training.optimizers import Group, split_by_group

_BACKBONE = "netEncoder.ViT."
# Buffers: ranges that outputs are scaled to, of which this model has one form.
_RANGES = {
    "netDINO.min_max": [[0.0, 1.0]],
    "netTexture.min_max": [[0.0, 1.0]] * 3,
    "netLight.intensity_min_max": [[0.0, 1.0], [0.5, 1.0]],
}
_NUM_ALBEDO = 3
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
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    expected = {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}
    notes: list[str] = []
    flat = _flax_leaves({**prior, **learned}, expected, notes)
    if missing := sorted(expected.keys() - flat.keys()):
        raise CheckpointError(
            f"expected a tensor for each parameter, found none for {', '.join(missing)}; are the "
            "settings those of the checkpoint?"
        )
    states = {("optimizerPrior", "optimizerBase"): prior, ("optimizerInstance",): learned}
    return Converted(
        params=unflatten_dict(flat, sep="/"),
        moments=_moments(content, states, expected, groups),
        num_updates=content.get("total_iter"),
        backbone=_backbone(backbone, notes),
        notes=notes,
    )


def _state(content: dict[str, Any], *names: str) -> State:
    for name in names:
        state = content.get(name)
        if state is not None:
            bad = [k for k, v in state.items() if not isinstance(v, np.ndarray)]
            if bad:
                raise CheckpointError(f"{name}.{bad[0]}: expected a tensor, got something else")
            return dict(state)
    raise CheckpointError(f"expected an entry {' or '.join(names)}, got {sorted(content)}")


def _flax_leaves(
    state: State, expected: dict[str, tuple[int, ...]], notes: list[str] | None = None
) -> State:
    """Tensors by the paths of our parameters; checks names, shapes and ranges."""
    last_of_texture = max((k for k in state if _ALBEDO_LAYER.fullmatch(k)), key=_layer, default="")
    leaves, lines = {}, []
    for name, value in state.items():
        if name in _RANGES:
            _check_range(name, value)
            lines.append(f"{name}: checked (outputs have these ranges)")
            continue
        if name == last_of_texture and len(value) > _NUM_ALBEDO:
            lines.append(
                f"{name}[{_NUM_ALBEDO}:]: left out (channels that the renderer never reads)"
            )
            value = value[:_NUM_ALBEDO]
        path, leaf = _place(name, value)
        if path not in expected:
            raise CheckpointError(f"tensor {name}: the model of these settings has no {path}")
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


def _layer(name: str) -> int:
    return int(name.split(".")[-2])


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
    if not np.allclose(rows, wanted):
        raise CheckpointError(
            f"tensor {name}: expected the ranges {wanted.tolist()}, got {value.tolist()}, which "
            "this model cannot follow"
        )


def _backbone(state: State, notes: list[str]) -> dict[str, np.ndarray]:
    if not state:
        return {}
    try:
        flat = flatten_dict(vit_params(state), sep="/")
    except KeyError as error:
        name = f"{_BACKBONE}{error.args[0]}"
        raise CheckpointError(f"tensor {name}: unknown or missing in the backbone") from error
    notes.append(f"{_BACKBONE}*: {len(state)} tensors -> backbone.npz")
    return flat


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
        steps = {int(leaf.flat[0]) for leaf in count.values()}
        if len(steps) > 1:
            raise CheckpointError(
                f"optimiser: expected one number of steps for all of group {name!r}, "
                f"got {sorted(steps)}"
            )
        moments[name] = optax.ScaleByAdamState(jnp.int32(steps.pop()), mu, nu)
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
        stored = optimizer["state"]
        listed = sum(len(group["params"]) for group in optimizer["param_groups"])
        if listed != len(order):
            raise CheckpointError(f"{names[0]}: expected {len(order)} parameters, got {listed}")
    entries = {}
    for number, name in enumerate(order):
        value = np.asarray(stored.get(number, {}).get(key, 0.0), np.float32)
        if value.shape not in ((), state[name].shape):
            raise CheckpointError(
                f"{names[0]}, {key} of {name}: expected the shape {state[name].shape}, "
                f"got {value.shape}"
            )
        entries[name] = np.broadcast_to(value, state[name].shape)
    return entries
