"""Which pictures are reconstructed, with which masks, and what the files are called."""

from pathlib import Path

import pytest

from pony_jax.errors import UserError
from tests.training.command_flags import command_module


@pytest.fixture(scope="module")
def find_jobs():
    with command_module("pony_jax.reconstruct") as module:
        yield module.find_jobs


@pytest.mark.parametrize(
    ("pictures", "names"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["x/a.jpg", "y/a.jpg", "z/a.jpg"], ["a", "a_2", "a_3"]),
        (["x/a.jpg", "y/a.jpg", "a_2.jpg"], ["a", "a_3", "a_2"]),
        (["a_2.jpg", "x/a.jpg", "y/a.jpg"], ["a_2", "a", "a_3"]),
        (["x/A.jpg", "y/a.jpg"], ["A", "a_2"]),
    ],
)
def test_no_picture_takes_the_name_of_another(find_jobs, pictures, names):
    assert [job.name for job in find_jobs(pictures, None)] == names


def test_masks_are_found_by_name_and_two_are_refused(find_jobs, tmp_path: Path):
    for name in ("a.png", "b.png", "b.jpg"):
        (tmp_path / name).touch()
    (job,) = find_jobs(["x/a.jpg"], tmp_path)
    assert job.mask == tmp_path / "a.png"
    with pytest.raises(UserError, match=r"expected one mask for x/b.jpg, found b.jpg and b.png"):
        find_jobs(["x/b.jpg"], tmp_path)
