"""Imports point one way, and running needs neither TensorFlow nor PyTorch."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent

# Package -> the packages of this repository that it may import.
_MAY_IMPORT = {
    "rasterizer_ffi": set(),
    "pony_jax.ops": {"rasterizer_ffi"},
    "pony_jax.kernels": {"pony_jax.ops", "rasterizer_ffi"},
    "pony_jax.modules": {"pony_jax.ops"},
    "pony_jax.model": {"pony_jax.modules", "pony_jax.ops", "rasterizer_ffi"},
    "pony_jax.data": {
        "pony_jax.errors",
        "pony_jax.ops",
        "pony_jax.command_line",  # render_rigged is one
        "pony_jax.path_flags",
        "rasterizer_ffi",
    },
    "pony_jax.features": {
        "pony_jax.errors",
        "pony_jax.data",
        "pony_jax.interop",  # the reader of weights, which imports nothing
        "pony_jax.modules",
        "pony_jax.ops",
    },
    "pony_jax.evaluation": {"pony_jax.model", "pony_jax.ops", "pony_jax.data"},
    "pony_jax.training": {
        "pony_jax.errors",
        "pony_jax.model",
        "pony_jax.ops",
        "pony_jax.data",
        "pony_jax.evaluation",
    },
    "pony_jax.reconstruction": {
        "pony_jax.data",
        "pony_jax.errors",
        "pony_jax.evaluation",
        "pony_jax.features",
        "pony_jax.model",
        "pony_jax.ops",
        "pony_jax.training",  # reads runs
        "rasterizer_ffi",
    },
    "pony_jax.interop": {
        "pony_jax.errors",
        "pony_jax.model",
        "pony_jax.modules",
        "pony_jax.ops",
        "pony_jax.training",
        "pony_jax.command_line",
        "pony_jax.path_flags",
    },
}


def _package(module: str) -> str | None:
    """The package of this repository that a module belongs to."""
    parts = module.split(".")
    if parts[0] in ("rasterizer_ffi", "configs"):
        return parts[0]
    if parts[0] == "pony_jax":
        return ".".join(parts[:2])
    return None


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", _MAY_IMPORT)
def test_imports_point_one_way(package):
    folder = _ROOT / package.replace(".", "/")
    files = sorted(folder.rglob("*.py"))
    assert files
    for file in files:
        used = {_package(module) for module in _imports(file)} - {None, package}
        wrong = used - _MAY_IMPORT[package]
        assert not wrong, f"{file.relative_to(_ROOT)} may not import {sorted(wrong)}"


def test_the_directions_have_no_cycle():
    graphlib.TopologicalSorter(_MAY_IMPORT).prepare()


def test_every_package_has_a_rule():
    packages = {f"pony_jax.{p.parent.name}" for p in (_ROOT / "pony_jax").glob("*/__init__.py")}
    assert packages <= set(_MAY_IMPORT)


def test_training_imports_neither_tensorflow_nor_pytorch():
    code = (
        "import sys, pony_jax.training.loop, pony_jax.evaluation.protocol\n"
        "print(sorted({'tensorflow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
