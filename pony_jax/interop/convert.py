"""Converts a checkpoint of the original, MagicPony or 3DAnimals, into the folder of a run.

    python -m pony_jax.interop.convert --checkpoint=X.pth --config=C --out=DIR

C: the original's settings, as its .yml or as JSON, or one of our configuration files.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from pony_jax import command_line, path_flags
from pony_jax.interop.original_checkpoint import Converted, convert_checkpoint
from pony_jax.interop.original_config import original_config, read_settings
from pony_jax.interop.torch_file import CheckpointError, read_torch_file
from pony_jax.model import NO_CAPACITIES, build_model
from pony_jax.training.checkpoints import Checkpoints, Progress, open_workdir
from pony_jax.training.errors import as_run_error
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.step import TrainState

_BACKBONE_FILE = "backbone.npz"
_BASE_CONFIG = Path(__file__).parents[2] / "configs" / "base.py"
_TOKEN_SIDE = 32  # of the original's images of 256 pixels, in patches of 8
# Of the paper's horses; for files that do not say how far they got.
_STEPS_PER_EPOCH = 140_000 / 120

_CHECKPOINT = path_flags.define_path("checkpoint", None, "The .pth file.", required=True)
_CONFIG = path_flags.define_path(
    "config", None, "The original's .yml or JSON, or FILE.py[:variant] of ours.", required=True
)
_OUT = path_flags.define_path("out", None, "Folder for the converted run.", required=True)


def convert(checkpoint: Path, settings: str, out: Path) -> Converted:
    """Converts one checkpoint; writes nothing unless all of it could be converted.

    Raises:
      CheckpointError: for a file, tensor or setting that this project cannot follow.
      RunError: if `out` holds another run or cannot be written.
    """
    content = read_torch_file(checkpoint, foreign_allowed=("metrics_trace",))
    epoch, num_updates = (_whole_number(content, name) for name in ("epoch", "total_iter"))
    steps_per_epoch = num_updates / epoch if epoch and num_updates else _STEPS_PER_EPOCH
    config = _configuration(settings, steps_per_epoch)
    token_shape = (_TOKEN_SIDE, _token_channels(content))
    model = build_model(config, token_shape)
    groups = parameter_groups(
        config.optimizer.prior_learning_rate, config.optimizer.instance_learning_rate
    )
    converted = convert_checkpoint(content, model, groups)
    # A file of weights alone is a finished model.
    step = config.num_steps if converted.num_updates is None else converted.num_updates
    state = TrainState(converted.params, converted.moments, jnp.int32(step))
    workdir = open_workdir(out, config)
    Checkpoints(workdir, keep=config.checkpoint.keep).save(
        state, Progress(token_shape, NO_CAPACITIES, 0.0)
    )
    if converted.backbone:
        np.savez(workdir / _BACKBONE_FILE, **converted.backbone)
    return converted


def load_backbone_params(workdir: Path) -> dict[str, Any]:
    """Parameters of `modules.vit.ViT` that a converted checkpoint brought along.

    Raises:
      FileNotFoundError: if it brought none.
    """
    return unflatten_dict(dict(np.load(workdir / _BACKBONE_FILE)), sep="/")


def _whole_number(content: dict[str, Any], name: str) -> int | None:
    number = content.get(name)
    if number is not None and not (isinstance(number, int) and number >= 0):
        raise CheckpointError(f"{name}: expected a whole number, got {type(number).__name__}")
    return number


def _token_channels(content: dict[str, Any]) -> int:
    try:
        return content["netInstance"]["netPose.network.0.weight"].shape[1]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            "expected a tensor netPose.network.0.weight in netInstance, found none"
        ) from error


def _configuration(settings: str, steps_per_epoch: float) -> ConfigDict:
    name, _, variant = settings.partition(":")
    path = Path(name)
    if not path.is_file():
        raise CheckpointError(f"expected settings at {path}, found no such file")
    if path.suffix == ".py":
        return _run_config_file(path, variant)
    base = _run_config_file(_BASE_CONFIG)
    return original_config(read_settings(path), base, steps_per_epoch)


def _run_config_file(path: Path, *arguments: str) -> ConfigDict:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CheckpointError(f"expected a configuration file at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*arguments)


def main(argv: Sequence[str]) -> None:
    """Converts, and prints what became of every tensor."""
    del argv
    out = Path(_OUT.value).expanduser()
    with as_run_error("convert"):
        converted = convert(Path(_CHECKPOINT.value), _CONFIG.value, out)
    print(*converted.notes, sep="\n")
    steps = "an unknown number of" if converted.num_updates is None else converted.num_updates
    print(f"wrote {out}, {steps} steps trained")


if __name__ == "__main__":
    command_line.run(main)
