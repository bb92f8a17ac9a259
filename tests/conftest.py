"""What all tests share: checked shapes, the golden arrays, comparison, the table of fidelity."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from jaxtyping import install_import_hook

from tests.golden_arrays import GOLDEN_FOLDERS, golden_file

# Before anything of ours is imported: with PONY_JAX_CHECK_ANNOTATIONS=1, every call of a function
# in these packages is held to the types and shapes of its annotations, letters of dimensions
# included. It costs at calls and traces, nothing inside of compiled programs.
if os.environ.get("PONY_JAX_CHECK_ANNOTATIONS") == "1":
    install_import_hook(["pony_jax", "rasterizer_ffi"], "annotation_check.checked")


# Most of the tests' time is compilation. What one test, worker or command line has compiled, the
# others of this session read: children inherit the variables. The folder is new each time, so
# that no session depends on an earlier one; a person may name one of their own instead.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _CACHE = tempfile.mkdtemp(prefix="pony_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
    # Smaller programs compile as fast as they are read.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
else:
    _CACHE = None


# Folders of tests about whole models, or about code that XLA does not compile. XLA takes two to
# four times as long for such programs with all its optimisations as without. What is held to the
# original's numbers is optimised there too, and so are the command lines of the whole way.
_COMPILED_CHEAPLY = (
    "evaluation",
    "experiments",
    "kernels",
    "model",
    "rasterizer_ffi",
    "reconstruction",
    "training",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker starts a long one when others end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    import jax  # after the variables above, which it reads

    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    cheap = folder in _COMPILED_CHEAPLY and "equals_original" not in item.fixturenames
    cheap = cheap and item.get_closest_marker("optimized") is None
    jax.config.update("jax_disable_most_optimizations", cheap)


class _Row(NamedTuple):
    """One comparison with the original."""

    test: str
    what: str
    error: float
    tolerance: float


_ROWS = pytest.StashKey[list[_Row]]()


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Loads the golden arrays `<name>.npz`."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = golden_file(name)
        if path is None:
            pytest.skip(f"{name}.npz is neither in ../shared/golden nor in tests/golden")
        return dict(np.load(path))

    return load


@pytest.fixture(scope="session")
def golden_case(golden) -> Callable[[str, str], dict[str, Any]]:
    """Loads the arrays `<case>/...` of a golden file under their names without `<case>/`.

    JSON entries come parsed. A case that the committed subset leaves out skips the test.
    """

    def load(name: str, case: str) -> dict[str, Any]:
        prefix = f"{case}/"
        arrays = {
            k.removeprefix(prefix): v for k, v in golden(name).items() if k.startswith(prefix)
        }
        if not arrays:
            if (GOLDEN_FOLDERS[0] / f"{name}.npz").exists():
                raise KeyError(f"no case {case!r} in golden arrays {name}.npz")
            pytest.skip(f"case {case} of {name}.npz is only in the full golden set")
        return {k: json.loads(str(v)) if v.dtype.kind == "U" else v for k, v in arrays.items()}

    return load


@pytest.fixture
def equals_original(request) -> Callable[[str, Any, Any, float], None]:
    """Asserts `max |actual - expected| <= tolerance * max(1, max |expected|)`; notes the error."""

    def check(what: str, actual: Any, expected: Any, tolerance: float) -> None:
        actual, expected = np.asarray(actual), np.asarray(expected)
        assert actual.shape == expected.shape, f"{what}: {actual.shape} is not {expected.shape}"
        largest = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
        difference = np.abs(actual.astype(np.float64) - expected)
        error = float(np.max(difference, initial=0.0)) / largest
        test = request.node.nodeid.removeprefix("tests/")
        request.config.stash.setdefault(_ROWS, []).append(_Row(test, what, error, tolerance))
        assert error <= tolerance, f"{what}: off by {error:.2e} of the largest, not {tolerance:.0e}"

    return check


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fidelity", type=Path, help="write the comparisons with the original here")


def pytest_unconfigure() -> None:
    if _CACHE is not None:
        shutil.rmtree(_CACHE, ignore_errors=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--fidelity")
    rows = session.config.stash.get(_ROWS, [])
    if path is None or not rows:
        return
    worst: dict[tuple[str, float], _Row] = {}
    for row in rows:
        key = (row.test, row.tolerance)
        if key not in worst or not row.error <= worst[key].error:
            worst[key] = row
    lines = [
        "# Fidelity: this code against the original's numbers",
        "",
        "Made by `python -m pytest tests --fidelity=experiments/results/fidelity.md`. One row a",
        "test and tolerance. An error is the largest absolute difference, divided by the largest",
        "absolute value of the original's array where that exceeds 1. Integers must be equal.",
        "",
        "| test | worst quantity | worst error | tolerance | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(worst.values()):
        verdict = "pass" if row.error <= row.tolerance else "FAIL"
        lines.append(
            f"| {row.test} | {row.what} | {row.error:.1e} | {row.tolerance:.0e} | {verdict} |"
        )
    path.write_text("\n".join(lines) + "\n")
