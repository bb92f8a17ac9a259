"""What a user sees who mistypes or asks for what is not there: one line, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--config=configs/horse.py:phots", "did you mean 'photos'?"),
        ("--config=configs/hors.py", "found none at configs/hors.py; there are configs/base.py"),
        ("--config=configs/horse.py --config.model.hiden=4", 'did you mean "hidden"'),
        ("--config=configs/horse.py --config.seed=x", "--config.seed: invalid literal"),
        ("--config=configs/horse.py --wrkdir=x", "Did you mean: workdir"),
        ("--config=configs/horse.py:test resume", "expected flags only, got 'resume'"),
        (
            "--config=configs/horse.py:photos --config.data.data_dir=/nowhere",
            "expected data set 'weizmann_horse' in /nowhere/weizmann_horse",
        ),
        (
            "--config=configs/horse.py:test --config.data.name=synthetic_quadruped/unicorn",
            "unicorn",
        ),
    ],
)
def test_train_says_what_is_wrong_in_one_line(
    arguments: str, expected: str, tmp_path: Path
) -> None:
    result = run_module("train", f"--workdir={tmp_path}", *arguments.split())
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and expected in last, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_evaluate_says_that_there_is_no_run(tmp_path: Path) -> None:
    result = run_module("evaluate", f"--workdir={tmp_path}")
    assert result.returncode == 1
    assert "expected a run's config.json" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_evaluate_says_before_it_starts_that_a_page_has_nowhere_to_go(tmp_path: Path) -> None:
    page = tmp_path / "missing" / "page.html"
    result = run_module("evaluate", f"--workdir={tmp_path}", f"--html={page}")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == f"error: expected a folder to write {page} into, found none; make it first"
