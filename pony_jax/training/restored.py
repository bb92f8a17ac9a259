"""A trained run, read back from its folder."""

from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from pony_jax.model import Capacities, Pony, build_model
from pony_jax.training.checkpoints import Checkpoints, Progress, load_config
from pony_jax.training.config_rules import check_config
from pony_jax.training.errors import RunError, SettingError
from pony_jax.training.optimizers import Params, parameter_groups
from pony_jax.training.step import TrainState, init_state


class Run(NamedTuple):
    """What a run has learned so far.

    Attributes:
      num_updates: training steps behind the parameters.
      capacities: buffers that its mesh fits into.
      token_shape: side and channels of the token maps that it reads.
    """

    config: ConfigDict
    model: Pony
    params: Params
    num_updates: int
    capacities: Capacities
    token_shape: tuple[int, int]


def load_run_config(workdir: Path) -> ConfigDict:
    """The configuration of the run in `workdir`.

    Raises `RunError` if there is none, or it is not one of this version of the code.
    """
    config = load_config(workdir)
    try:
        check_config(config)
    except SettingError as error:
        raise RunError(f"{workdir}: {error}") from error
    return config


def restore_run(workdir: Path) -> Run:
    """The newest whole checkpoint of the run in `workdir`.

    Raises:
      RunError: if there is none, or its configuration is not one of this version of the code.
    """
    config = load_run_config(workdir)
    groups = parameter_groups(**config.optimizer, num_steps=config.num_steps)

    def like(progress: Progress) -> TrainState:
        model = build_model(config, progress.token_shape)
        key = jax.random.key(0, impl="threefry2x32")
        return jax.eval_shape(lambda key: init_state(model, groups, key), key)

    state, progress = Checkpoints(workdir, config.checkpoint.keep).restore(like)
    model = build_model(config, progress.token_shape)
    return Run(
        config, model, state.params, int(state.step), progress.capacities, progress.token_shape
    )
