"""A trained run, read back from its folder."""

from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from pony_jax.model import Capacities, Pony, build_model
from pony_jax.training.checkpoints import Checkpoints, load_config
from pony_jax.training.errors import RunError, as_run_error
from pony_jax.training.optimizers import Params, parameter_groups
from pony_jax.training.step import init_state


class Run(NamedTuple):
    """What a run has learned so far.

    Attributes:
      num_updates: training steps behind the parameters.
      capacities: buffers that its mesh fits into.
    """

    config: ConfigDict
    model: Pony
    params: Params
    num_updates: int
    capacities: Capacities


def restore_run(workdir: Path) -> Run:
    """The newest checkpoint of the run in `workdir`.

    Raises:
      RunError: if there is none, or its configuration lacks what this version of the code reads.
    """
    config = load_config(workdir)
    checkpoints = Checkpoints(workdir, config.checkpoint.keep)
    progress = checkpoints.read_progress()
    with as_run_error("configuration"):
        try:
            model = build_model(config, progress.token_shape)
        except (AttributeError, KeyError, TypeError) as error:  # a key or a loss that is missing
            raise RunError(
                f"{workdir}: expected a configuration of this version of pony_jax, got one without "
                f"a key ({error}); use the version that trained the run, or train anew"
            ) from error
        groups = parameter_groups(**config.optimizer, num_steps=config.num_steps)
        like = jax.eval_shape(lambda key: init_state(model, groups, key), jax.random.key(0))
    state = checkpoints.restore(like)
    return Run(config, model, state.params, int(state.step), progress.capacities)
