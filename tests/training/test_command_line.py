"""What a user sees who mistypes or asks for what is not there: one line, no traceback."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pony_jax import command_line
from pony_jax.errors import UserError
from pony_jax.training import loop
from pony_jax.training.errors import RunError, SettingError
from tests.training.command_flags import command_module, forget_values, refusal

_ROOT = Path(__file__).parents[2]


def run_module(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m pony_jax.<module>` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", f"pony_jax.{module}", *arguments],
        cwd=_ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def train_module() -> Iterator[ModuleType]:
    with command_module("pony_jax.train") as module:
        yield module


@pytest.fixture
def train_command(
    train_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable]:
    """Runs the training command in this process, from flags to where it trains; its last words."""
    monkeypatch.chdir(_ROOT)
    # Settings of the process stay as they are for the tests that follow.
    monkeypatch.setattr(loop, "prepare_process", lambda folder: None)

    def run(*arguments: str) -> str:
        return refusal(
            train_module, monkeypatch, "train", f"--workdir={tmp_path / 'run'}", *arguments
        )

    forget_values()
    yield run
    forget_values()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--config=configs/horse.py:phots", "did you mean 'photos'?"),
        ("--config=configs/hors.py", "found none at configs/hors.py; there are configs/base.py"),
        ("--config configs/hors.py", "found none at configs/hors.py; there are configs/base.py"),
        ("--config=", "--config: expected a configuration file, found none at .; there are"),
        ("--config=configs", "--config: expected a configuration file, found none at configs;"),
        ("--config=README.md", "--config: expected a configuration file (.py), got README.md"),
        ("--config=setup.py", "--config: expected a configuration file, found none at setup.py"),
        ("--config=configs/base.py:x", "--config: TypeError: get_config() takes 0 positional"),
        ("--config=configs/horse.py --config.model.hiden=4", 'did you mean "hidden"'),
        ("--config=configs/horse.py --config.modle.hidden=4", "unknown configuration key 'modle'"),
        ("--config=configs/horse.py --config.hidden=4", "unknown configuration key 'hidden'"),
        ("--config=configs/horse.py --config.model=4", "--config.model: Failed to parse '4' as a"),
        ("--config=configs/horse.py --config.seed=x", "--config.seed: invalid literal"),
        ("--config=configs/horse.py --config.num_steps=4.5", "--config.num_steps: invalid literal"),
        ("--config=configs/horse.py --config.model.grid_extent=(1,", "--config.model.grid_extent:"),
        ("--config=configs/horse.py --config.model.sdf_mirror=maybe", "model.sdf_mirror: "),
        ("--config=configs/horse.py --config.model.samples=0", "model.samples: expected a whole"),
        ("--config=configs/horse.py --config.checkpoint.keep=0", "checkpoint.keep: expected a"),
        ("--config=configs/horse.py --config.model.grid_extent=(1,2)", "expected 3 values in"),
        ("--config=configs/horse.py --config.model.coarse_resolution=13", "a multiple of 2, at"),
        ("--config=configs/horse.py --config.optimizer.decay_from=nan", "at most 1, got nan"),
        ("--config=configs/horse.py --wrkdir=x", "Did you mean: workdir"),
        ("--config=configs/horse.py:test resume", "expected flags only, got 'resume'"),
        (
            "--config=configs/horse.py:photos --config.data.data_dir=/nowhere",
            "expected data set 'weizmann_horse' in /nowhere/weizmann_horse",
        ),
        (  # a home that nobody has is a plain name
            "--config=configs/horse.py:photos --config.data.data_dir=~nobody_of_this_name/x",
            "expected data set 'weizmann_horse' in ~nobody_of_this_name/x/weizmann_horse",
        ),
        (
            "--config=configs/horse.py:test --config.data.name=synthetic_quadruped/unicorn",
            "expected synthetic_quadruped/ and one of",
        ),
        (
            "--config=configs/horse.py --config.start.share=1.0",
            "start.share: expected a number, at",
        ),
    ],
)
def test_train_says_what_is_wrong_in_one_line(
    train_command: Callable[..., str], arguments: str, expected: str
) -> None:
    line = train_command(*arguments.split())
    assert line.startswith("error: ") and expected in line, line


def test_a_configuration_file_may_lie_in_the_home_folder(
    train_command: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(
        "from configs import horse\ndef get_config(variant):\n  return horse.get_config(variant)"
    )
    line = train_command("--config=~/mine.py:photos", "--config.data.data_dir=~/data")
    assert f"expected data set 'weizmann_horse' in {tmp_path}/data/weizmann_horse" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def get_config(:", "--config: SyntaxError: invalid syntax (mine.py, line 1)"),
        (
            "\n\ndef get_config():\n  return 1 / 0",
            "ZeroDivisionError: division by zero ({file}, li",
        ),
        ("def get_config():\n  return {}['key']", "--config: KeyError: 'key' ({file}, line 2)"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this"),
        ("x = 1", "has no attribute 'get_config'"),
        ("def get_config():\n  return 3", "expected a ConfigDict from get_config() in {file}, got"),
        ("from configs import horse\nget_config = lambda: horse.get_config('phots')", "'photos'?"),
    ],
)
def test_a_wrong_configuration_file_is_one_line(
    train_command: Callable[..., str], tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    line = train_command(f"--config={file}")
    assert expected.format(file=file) in line, line


@pytest.mark.parametrize("how", ["--debug", "PONY_JAX_DEBUG=1"])
def test_debugging_shows_where_a_mistake_was_found(
    train_command: Callable[..., str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if "=" in how:
        monkeypatch.setenv(*how.split("="))
    more = [how] if how.startswith("-") else []
    with pytest.raises(SettingError, match=r"checkpoint.keep: expected"):
        train_command("--config=configs/horse.py:test", "--config.checkpoint.keep=0", *more)


@pytest.mark.parametrize(
    "bug",
    [
        ValueError("shapes do not fit"),
        TypeError("missing argument"),
        KeyError("key"),
        FileNotFoundError(errno.ENOENT, "No such file", "/usr/lib/ours/template.npz"),
        OSError("no file is named"),
        RuntimeError("INTERNAL: something"),
    ],
)
def test_a_fault_of_this_project_keeps_its_traceback(
    train_command: Callable[..., str], monkeypatch: pytest.MonkeyPatch, bug: Exception
) -> None:
    def fail(*args: object) -> None:
        raise bug

    monkeypatch.setattr(loop, "load_train_and_test", fail)
    with pytest.raises(type(bug)) as caught:
        train_command("--config=configs/horse.py:test")
    assert caught.value is bug


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("expected a,\n got b"), "expected a, got b"),
        (RunError("expected a"), "expected a"),
        (PermissionError(errno.EACCES, "Permission denied", "{run}/x"), "Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; check"),
        (OSError(errno.EROFS, "Read-only file system", "/usr/x"), "Read-only file system"),
        (MemoryError("Unable to allocate 3 TiB"), "not enough memory (Unable to allocate 3 TiB)"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "not enough memory (RESOURCE_EXH"),
    ],
)
def test_what_the_user_can_put_right_is_a_line(
    train_command: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: str,
) -> None:
    if getattr(error, "filename", None):
        error.filename = error.filename.format(run=tmp_path / "run")

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(loop, "load_train_and_test", fail)
    assert expected in train_command("--config=configs/horse.py:test")


def test_ctrl_c_ends_without_a_traceback(
    train_command: Callable[..., str],
    train_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "load_train_and_test", interrupt)
    monkeypatch.setattr(
        sys, "argv", ["train", f"--workdir={tmp_path}", "--config=configs/horse.py:test"]
    )
    with pytest.raises(SystemExit) as caught:
        command_line.run(train_module.main)
    assert caught.value.code == 130


@pytest.mark.parametrize(
    ("name", "value", "message", "is_explained"),
    [
        ("JAX_ENABLE_X64", "maybe", "invalid truth value 'maybe' for env 'JAX_ENABLE_X64'", True),
        ("JAX_DEFAULT_PRNG_IMPL", "x", 'Invalid value "x" for JAX flag jax_default_prng', True),
        ("PONY_JAX_ISA", "v9", "PONY_JAX_ISA: expected one of ('baseline',), got 'v9'", True),
        ("RASTERIZER_FFI_BACKEND", "x", "RASTERIZER_FFI_BACKEND: expected ('cpu',)", True),
        ("JAX_ENABLE_X64", "0", "a shape is wrong", False),
    ],
)
def test_wrong_variables_of_the_environment_are_a_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str, is_explained: bool
) -> None:
    monkeypatch.setenv(name, value)
    if name == "JAX_DEFAULT_PRNG_IMPL":
        message += "_impl"
    line = command_line.explain_import(ValueError(message))
    assert (line is not None) == is_explained
    if line:
        assert f"the environment has {name}={value}: correct or unset it" in line
    assert command_line.explain_import(TypeError(message)) is None


@pytest.mark.slow
def test_evaluate_says_before_it_starts_that_a_page_has_nowhere_to_go(tmp_path: Path) -> None:
    page = tmp_path / "missing" / "page.html"
    result = run_module("evaluate", f"--workdir={tmp_path}", f"--html={page}")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == f"error: expected a folder to write {page} into, found none; make it first"
