"""Two trainings never write to one folder."""

from pathlib import Path

import pytest

from pony_jax.training.errors import RunError
from pony_jax.training.lock import only_training_in


def test_the_second_training_in_a_folder_is_refused(tmp_path: Path) -> None:
    with only_training_in(tmp_path):
        with pytest.raises(RunError, match=r"workdir: expected a folder that no other training"):
            with only_training_in(tmp_path):
                raise AssertionError
        (tmp_path / "other").mkdir()
        with only_training_in(tmp_path / "other"):
            pass


def test_a_training_that_failed_lets_go_of_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_training_in(tmp_path):
        1 / 0  # noqa: B018
    with only_training_in(tmp_path):
        pass


def test_where_files_cannot_be_locked_training_goes_on(tmp_path, monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with only_training_in(tmp_path):
        pass
