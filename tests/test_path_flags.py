"""Flags that take a path."""

from pathlib import Path

import pytest
from absl import flags

from pony_jax import path_flags

_ROOT = Path(__file__).parent.parent


def _parse(argument, **options):
    values = flags.FlagValues()
    holder = path_flags.define_path("folder", None, "A folder.", flag_values=values, **options)
    values(["program", argument])
    return holder.value


def test_home_is_written_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert _parse("--folder=~/data") == "/home/anna/data"
    assert _parse("--folder=~") == "/home/anna"
    assert _parse("--folder=a/~/b") == "a/~/b"


@pytest.mark.parametrize("argument", ["--folder=", "--folder=a\0b"])
def test_no_path_is_refused(argument):
    with pytest.raises(flags.IllegalFlagValueError, match=r"flag --folder=.*: expected a path"):
        _parse(argument)


def test_required_paths_are_required():
    values = flags.FlagValues()
    path_flags.define_path("folder", None, "A folder.", required=True, flag_values=values)
    with pytest.raises(flags.IllegalFlagValueError, match="--folder must have a value"):
        values(["program"])


def test_every_flag_for_a_path_is_one_of_these():
    """A flag whose help speaks of a file or folder, in all command lines of the repository."""
    for file in [*(_ROOT / "pony_jax").rglob("*.py"), *(_ROOT / "experiments").rglob("*.py")]:
        for definition in file.read_text().split("flags.DEFINE_string(")[1:]:
            if "hf://" in definition.split(")")[0]:
                continue  # it may name a model instead, which is no path
            assert not {"Folder", "File", "file", "folder", "PNG"} & set(
                definition.split(")")[0].replace('"', " ").split()
            ), f"{file.relative_to(_ROOT)}: {definition.split(')')[0]}; use path_flags.define_path"


def test_unknown_homes_are_plain_names_wherever_paths_are_expanded():
    """`Path.expanduser` raises RuntimeError for ~nobody, and where a container has no home."""
    for file in [*(_ROOT / "pony_jax").rglob("*.py"), *(_ROOT / "experiments").rglob("*.py")]:
        assert ".expanduser()" not in file.read_text(), f"{file}: use os.path.expanduser"
