"""Runs that start with what another run has learned."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import horse
from pony_jax.model import Capacities
from pony_jax.training.checkpoints import Checkpoints, Progress, open_workdir
from pony_jax.training.errors import RunError
from pony_jax.training.loop import _start_or_resume
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.step import TrainState, init_state
from pony_jax.training.warm_start import warm_start
from tests.training.tiny_model import TinyModel

_PROGRESS = Progress((8, 32), Capacities(4, 8, 16, 4, 4), 12.5)


def _state(seed: int) -> TrainState:
    groups = parameter_groups(1e-3, 1e-4)
    state = init_state(TinyModel(), groups, jax.random.key(seed))
    moments = jax.tree.map(lambda leaf: leaf + seed, state.moments)
    return TrainState(state.params, moments, jnp.int32(seed))


@pytest.fixture
def config(tmp_path: Path) -> ConfigDict:
    """A run of 100 steps that starts from the finished one in the same folder, at step 12."""
    other = horse.get_config("test")
    Checkpoints(open_workdir(tmp_path / "horse", other), keep=2).save(_state(7), _PROGRESS)
    config = horse.get_config("test")
    config.num_steps = 100
    config.start.from_run = str(tmp_path / "horse")
    config.start.share = 0.12
    return config


@pytest.mark.parametrize("moments", [False, True])
def test_starts_with_what_the_other_run_has_learned(config: ConfigDict, moments: bool) -> None:
    config.start.moments = moments
    state = warm_start(_state(0), config)
    jax.tree.map(np.testing.assert_array_equal, state.params, _state(7).params)
    expected = _state(7 if moments else 0).moments
    jax.tree.map(np.testing.assert_array_equal, state.moments, expected)
    assert int(state.step) == 12


def test_a_run_starts_from_the_other_once_and_then_from_itself(
    config: ConfigDict, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path / "zebra", keep=2)

    def start() -> tuple[TrainState, Progress]:
        return _start_or_resume(checkpoints, lambda: _state(0), (8, 32), config)

    state, progress = start()
    assert (int(state.step), progress.elapsed_s) == (12, 0.0)
    checkpoints.save(_state(13), _PROGRESS)
    state, progress = start()
    assert (int(state.step), progress) == (13, _PROGRESS)
    jax.tree.map(np.testing.assert_array_equal, state, _state(13))
    config.start.from_run = ""
    fresh, _ = _start_or_resume(
        Checkpoints(tmp_path / "new", keep=2), lambda: _state(0), (8, 32), config
    )
    jax.tree.map(np.testing.assert_array_equal, fresh, _state(0))


def test_no_run_there(config: ConfigDict, tmp_path: Path) -> None:
    config.start.from_run = str(tmp_path / "nowhere")
    with pytest.raises(
        RunError, match=r"start.from_run: expected the folder of a trained run .*, got .*nowhere"
    ):
        warm_start(_state(0), config)
    assert not (tmp_path / "nowhere").exists()


def test_no_checkpoint_there(config: ConfigDict, tmp_path: Path) -> None:
    config.start.from_run = str(open_workdir(tmp_path / "new", horse.get_config("test")))
    with pytest.raises(RunError, match=r"start.from_run: .*\(expected a checkpoint in .*new"):
        warm_start(_state(0), config)


def test_another_meaning_of_the_parameters(config: ConfigDict) -> None:
    config.model.sdf_start = "sphere"
    config.model.num_legs = 0
    config.model.jitter = 0.5  # may change
    message = r"like this one, found .*horse with model.num_legs: 4 there, 0 here; model.sdf_start"
    with pytest.raises(RunError, match=message):
        warm_start(_state(0), config)


def test_other_shapes(config: ConfigDict) -> None:
    state = _state(0)
    state.params["prior"]["sdf"]["kernel"] = jnp.zeros(3)
    with pytest.raises(RunError, match=r"start.from_run: .*sdf.*kernel.* of shape \(3,\), found"):
        warm_start(state, config)
