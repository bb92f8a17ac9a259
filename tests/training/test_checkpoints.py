"""States and configurations on disk."""

import errno
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import horse
from pony_jax.model import Capacities
from pony_jax.training.checkpoints import Checkpoints, Progress, load_config, open_workdir
from pony_jax.training.errors import RunError
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.restored import restore_run
from pony_jax.training.step import TrainState, init_state
from tests.training.tiny_model import TinyModel

_PROGRESS = Progress((8, 32), Capacities(4, 8, 16, 4, 4), 12.5)


def _state(step: int) -> TrainState:
    groups = parameter_groups(1e-3, 1e-4)
    return init_state(TinyModel(), groups, jax.random.key(step))._replace(step=jnp.int32(step))


def test_what_was_saved_is_restored_bit_for_bit(tmp_path: Path) -> None:
    state = _state(7)
    Checkpoints(tmp_path, keep=2).save(state, _PROGRESS)
    checkpoints = Checkpoints(tmp_path, keep=2)
    jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(_state(0)), state)
    assert checkpoints.read_progress() == _PROGRESS


def test_keeps_the_newest(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(_state(step), _PROGRESS)
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == ["2", "3"]
    assert int(checkpoints.restore(_state(0)).step) == 3


def test_a_half_written_checkpoint_is_not_taken_for_one(tmp_path: Path) -> None:
    Checkpoints(tmp_path, keep=2).save(_state(1), _PROGRESS)
    folder = tmp_path / "checkpoints"
    (folder / "2.orbax-checkpoint-tmp").mkdir()
    (folder / "2.orbax-checkpoint-tmp" / "state").mkdir()
    assert Checkpoints(tmp_path, keep=2).latest_step() == 1


@pytest.mark.parametrize("missing", ["model.hypotheses", "loss.flow"])
def test_a_run_of_another_version_is_one_clear_line(tmp_path: Path, missing: str) -> None:
    config = horse.get_config("test")
    with config.unlocked():
        group, key = missing.split(".")
        del config[group][key]
    open_workdir(tmp_path, config)
    Checkpoints(tmp_path, keep=2).save(_state(1), _PROGRESS)
    with pytest.raises(RunError, match=rf"without a key \(.*{key}.*\); use the version that"):
        restore_run(tmp_path)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected a checkpoint in .*, found none; train first"):
        Checkpoints(tmp_path, keep=2).restore(_state(0))


def test_a_state_of_another_model_is_refused_by_the_name_of_the_array(tmp_path: Path) -> None:
    Checkpoints(tmp_path, keep=2).save(_state(1), _PROGRESS)
    other = _state(0)
    other.params["prior"]["sdf"]["kernel"] = jnp.zeros(3)
    with pytest.raises(RunError, match=r"prior.*sdf.*kernel.* of shape \(3,\), found \(1,\)"):
        Checkpoints(tmp_path, keep=2).restore(other)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError('RESOURCE_EXHAUSTED: Error writing "params": No space left on device [28]'),
    ],
)
def test_a_full_disk_is_one_clear_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(_state(1), _PROGRESS)

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(RunError, match=r"could not write .*: No space left on device; make room"):
        checkpoints.save(_state(2), _PROGRESS)
    assert checkpoints.latest_step() == 1


def test_the_configuration_of_a_run_is_kept(tmp_path: Path) -> None:
    config = horse.get_config("test")
    open_workdir(tmp_path / "new" / "run", config)
    assert load_config(tmp_path / "new" / "run").to_json() == config.to_json()


def test_another_configuration_is_refused_by_the_keys_that_differ(tmp_path: Path) -> None:
    config = horse.get_config("test")
    open_workdir(tmp_path, config)
    config.model.hidden = 24
    config.loss.rgb = 2.0
    with pytest.raises(RunError, match=r"loss.rgb: 1.0 there, 2.0 here; model.hidden: 16 there"):
        open_workdir(tmp_path, config)


def test_what_does_not_change_learning_may_change(tmp_path: Path) -> None:
    config = horse.get_config("test")
    open_workdir(tmp_path, config)
    config.log.every_steps = 7
    config.checkpoint.keep = 3
    config.data.data_dir = "/elsewhere"
    open_workdir(tmp_path, config)
    assert load_config(tmp_path).log.every_steps == 7


def test_an_unwritable_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"workdir: expected a folder that can be written"):
        open_workdir(tmp_path / "file" / "run", horse.get_config("test"))


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected a run's config.json in .*, found none"):
        load_config(tmp_path)
