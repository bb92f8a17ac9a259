"""Converts a checkpoint of the original, MagicPony or 3DAnimals, into the folder of a run.

    python -m pony_jax.interop.convert --checkpoint=X.pth --config=C --out=DIR

C: the original's settings, as its .yml or as JSON, or one of our configuration files.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pony_jax import command_line, path_flags
from pony_jax.command_line import make_importable
from pony_jax.interop.checkpoint_layout import find_networks
from pony_jax.interop.original_checkpoint import Converted, convert_checkpoint
from pony_jax.interop.original_config import original_config, read_settings
from pony_jax.interop.torch_file import CheckpointError, MissingCheckpointError, read_torch_file
from pony_jax.model import NO_CAPACITIES, build_model
from pony_jax.training.checkpoints import BACKBONE_FILE, Checkpoints, Progress, open_workdir
from pony_jax.training.config_rules import check_config
from pony_jax.training.environment import check_devices, check_jax_settings
from pony_jax.training.errors import RunError, SettingError, user_files
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.step import TrainState

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
      RunError: if `out` holds a run already or cannot be written.
    """
    notes: list[str] = []
    content = _read_networks(checkpoint, notes)
    epoch, num_updates = content.get("epoch"), content.get("total_iter")
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
    checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep)
    if checkpoints.latest_step() is not None:
        raise RunError(f"out: expected a folder without checkpoints, got {out}; choose another")
    checkpoints.save(state, Progress(token_shape, NO_CAPACITIES, 0.0))
    if converted.backbone:
        with user_files("out: expected a folder that can be written", workdir):
            np.savez(workdir / BACKBONE_FILE, **converted.backbone)
    return dataclasses.replace(converted, notes=[*notes, *converted.notes])


def _read_networks(checkpoint: Path, notes: list[str]) -> dict[str, Any]:
    """Networks, optimisers and counts of a file, in the original's own layout."""
    try:
        return find_networks(read_torch_file(checkpoint, foreign_allowed=None), notes)
    except CheckpointError as error:
        if str(error).startswith(str(checkpoint)) or isinstance(error, MissingCheckpointError):
            raise
        raise CheckpointError(f"{checkpoint}: {error}") from error


def _token_channels(content: dict[str, Any]) -> int:
    try:
        return content["netInstance"]["netPose.network.0.weight"].shape[1]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            "expected a tensor netPose.network.0.weight in netInstance, found none"
        ) from error


def _configuration(settings: str, steps_per_epoch: float) -> ConfigDict:
    name, _, variant = settings.partition(":")
    path = Path(os.path.expanduser(name))
    if not path.is_file():
        raise CheckpointError(f"expected settings at {path}, found no such file")
    if path.suffix == ".py":
        config = _run_config_file(path, *filter(None, [variant]))
    else:
        base = _run_config_file(_base_config_file())
        config = original_config(read_settings(path), base, steps_per_epoch)
    try:
        check_config(config)
    except SettingError as error:
        raise CheckpointError(f"{path}, as a configuration of this project: {error}") from error
    return config


def _base_config_file() -> Path:
    """`configs/base.py`, which lies inside the package where that was installed from a wheel."""
    folders = (Path(__file__).parents[1], Path(__file__).parents[2])
    files = [folder / "configs" / "base.py" for folder in folders]
    return next((file for file in files if file.is_file()), files[-1])


def _run_config_file(path: Path, *arguments: str) -> ConfigDict:
    """What the `get_config` of a file gives. Raises `CheckpointError` for whatever it raises."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CheckpointError(f"expected a configuration file at {path}")
    module = importlib.util.module_from_spec(spec)
    make_importable(path)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*arguments)
    except Exception as error:  # the file is the user's own code
        raise CheckpointError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise CheckpointError(
            f"{path}: expected a ConfigDict from get_config(), got {type(config).__name__}"
        )
    return config


def main(argv: Sequence[str]) -> None:
    """Converts, and prints what became of every tensor."""
    del argv
    check_jax_settings()
    check_devices()
    out = Path(_OUT.value)
    converted = convert(Path(_CHECKPOINT.value), _CONFIG.value, out)
    print(*converted.notes, sep="\n")
    steps = "an unknown number of" if converted.num_updates is None else converted.num_updates
    print(f"wrote {out}, {steps} steps trained")


if __name__ == "__main__":
    command_line.run(main)
