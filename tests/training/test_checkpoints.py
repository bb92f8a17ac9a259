"""States and configurations on disk."""

import errno
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import horse
from pony_jax.errors import UserError
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


def _like(progress: Progress) -> TrainState:
    assert progress == _PROGRESS
    return _state(0)


def test_what_was_saved_is_restored_bit_for_bit(tmp_path: Path) -> None:
    state = _state(7)
    Checkpoints(tmp_path, keep=2).save(state, _PROGRESS)
    restored, progress = Checkpoints(tmp_path, keep=2).restore(_like)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    assert progress == _PROGRESS


def test_keeps_the_newest(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(_state(step), _PROGRESS)
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == ["2", "3"]
    assert int(checkpoints.restore(_like)[0].step) == 3


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
        Checkpoints(tmp_path, keep=2).restore(_like)


def test_a_state_of_another_model_is_refused_by_the_name_of_the_array(tmp_path: Path) -> None:
    Checkpoints(tmp_path, keep=2).save(_state(1), _PROGRESS)
    other = _state(0)
    other.params["prior"]["sdf"]["kernel"] = jnp.zeros(3)
    with pytest.raises(RunError, match=r"prior.*sdf.*kernel.* of shape \(3,\), found \(1,\)"):
        Checkpoints(tmp_path, keep=2).restore(lambda progress: other)


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

    monkeypatch.setattr(checkpoints._open_manager(), "save", fail)
    with pytest.raises(RunError, match=r"could not write .*: No space left on device; make room"):
        checkpoints.save(_state(2), _PROGRESS)
    assert checkpoints.latest_step() == 1


def test_an_error_of_this_project_is_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)

    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError("a shape is wrong")

    monkeypatch.setattr(checkpoints._open_manager(), "save", fail)
    with pytest.raises(ValueError, match="a shape is wrong") as caught:
        checkpoints.save(_state(1), _PROGRESS)
    assert not isinstance(caught.value, UserError)


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 6 and 8, for tests that damage copies of the latter."""
    workdir = tmp_path_factory.mktemp("run")
    checkpoints = Checkpoints(workdir, keep=2)
    for step in (6, 8):
        checkpoints.save(_state(step), _PROGRESS)
    return workdir


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _empty(*files: Path) -> None:
    for file in files:
        os.truncate(file, 0)


def test_a_whole_checkpoint_is_never_called_damaged(
    two_checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails while every byte is as it was written is a fault of ours, or a lack of memory."""

    def fail(*args: object) -> None:
        raise TypeError("a fault of ours")

    monkeypatch.setattr("orbax.checkpoint.StandardCheckpointer.restore", fail)
    with pytest.raises(TypeError, match="a fault of ours"):
        Checkpoints(two_checkpoints, keep=1).restore(_like, set_aside=True)
    assert {path.name for path in (two_checkpoints / "checkpoints").iterdir()} == {"6", "8"}


def _change_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x21
    file.write_bytes(content)


def _largest(folder: Path) -> Path:
    return max(_files(folder), key=lambda file: file.stat().st_size)


DAMAGE = {
    "all files empty": lambda newest: _empty(*_files(newest)),
    "data cut": lambda newest: os.truncate(_largest(newest / "state" / "d"), 100),
    "data changed": lambda newest: _change_a_byte(_largest(newest / "state" / "d")),
    "numbers changed": lambda newest: _change_a_byte(_files(newest / "state/ocdbt.process_0/d")[0]),
    "data missing": lambda newest: shutil.rmtree(newest / "state" / "d"),
    "arrays missing": lambda newest: shutil.rmtree(newest / "state"),
    "manifest missing": lambda newest: (newest / "state" / "manifest.ocdbt").unlink(),
    "metadata missing": lambda newest: (newest / "state" / "_METADATA").unlink(),
    "metadata empty": lambda newest: _empty(newest / "state" / "_METADATA"),
    "notes missing": lambda newest: shutil.rmtree(newest / "progress"),
    "notes empty": lambda newest: _empty(newest / "progress" / "metadata"),
    "notes of another kind": lambda newest: (newest / "progress" / "metadata").write_text("[]"),
    "list of files empty": lambda newest: _empty(newest / "files.json"),
    "list of files of another kind": lambda newest: (newest / "files.json").write_text("[3]"),
    "list of files that names none": lambda newest: (newest / "files.json").write_text("{}"),
    "nothing left": lambda newest: (shutil.rmtree(newest), newest.mkdir()),
    "a link to nowhere": lambda newest: (
        (newest / "progress" / "metadata").unlink(),
        (newest / "progress" / "metadata").symlink_to("nowhere"),
    ),
    "an empty folder with a higher number": lambda newest: newest.with_name("99").mkdir(),
    "two of them": lambda newest: (_empty(*_files(newest)), newest.with_name("99").mkdir()),
}


@pytest.mark.parametrize("has_list", [True, False], ids=["listed", "of an earlier version"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_passed_over(
    two_checkpoints: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    has_list: bool,
) -> None:
    if not has_list and kind in ("data changed", "numbers changed"):
        pytest.skip("the storage library does not see a changed number")
    workdir = tmp_path / "run"
    shutil.copytree(two_checkpoints, workdir)
    folder = workdir / "checkpoints"
    DAMAGE[kind](folder / "8")
    if not has_list:
        for file in folder.glob("*/files.json"):
            file.unlink()
    damaged = [path for path in (folder / "99", folder / "8") if path.exists()]
    damaged = damaged[:1] if kind.startswith("an empty folder") else damaged
    newest = 8 if kind.startswith("an empty folder") else 6
    if not has_list and kind.startswith("list of files"):
        damaged, newest = [], 8

    # Whoever only reads changes nothing.
    state, _ = Checkpoints(workdir, keep=1).restore(_like)
    assert int(state.step) == newest
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(damaged)
    for line, path in zip(lines, damaged, strict=True):
        assert line.startswith(f"warning: checkpoint {path} is damaged (")
        assert line.endswith(f") and was passed over; delete it with rm -r {path}")
    # A run that goes on puts it aside, and then saves the same step again.
    checkpoints = Checkpoints(workdir, keep=1)
    state, _ = checkpoints.restore(_like, set_aside=True)
    jax.tree.map(np.testing.assert_array_equal, state, _state(newest))
    for line, path in zip(capsys.readouterr().err.splitlines(), damaged, strict=True):
        assert line.endswith(f"delete it with rm -r {path}.damaged")
        assert Path(f"{path}.damaged").is_dir() and not path.exists()
    checkpoints.save(_state(8), _PROGRESS)
    restored, _ = Checkpoints(workdir, keep=1).restore(_like)
    jax.tree.map(np.testing.assert_array_equal, restored, _state(8))
    assert capsys.readouterr().err == ""


def test_a_checkpoint_may_be_damaged_twice(two_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(two_checkpoints, tmp_path / "run")
    for _ in range(2):
        checkpoints = Checkpoints(tmp_path / "run", keep=2)
        _empty(*_files(tmp_path / "run" / "checkpoints" / "8"))
        checkpoints.restore(_like, set_aside=True)
        checkpoints.save(_state(8), _PROGRESS)
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert {"6", "8", "8.damaged", "8.damaged2"} <= names


def test_without_a_whole_checkpoint_one_line_says_so(two_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(two_checkpoints, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    _empty(*_files(folder / "8"))
    shutil.rmtree(folder / "6" / "progress")
    with pytest.raises(RunError) as caught:
        Checkpoints(tmp_path / "run", keep=2).restore(_like, set_aside=True)
    line = str(caught.value)
    assert line.startswith(f"expected a whole checkpoint in {folder}, found only damaged ones (8: ")
    assert "; 6: progress is missing)" in line and f"delete them with rm -r {folder} and" in line
    assert sorted(path.name for path in folder.iterdir()) == ["6", "8"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\0\xff\xfe", b"3"])
def test_a_damaged_configuration_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config.json: expected (a configuration|settings by name)"):
        load_config(tmp_path)


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
