"""Finds and loads the compiled libraries of a package."""

import ctypes
import os
import sys
from pathlib import Path

_INSTRUCTION_SETS = ("baseline", "v3", "v4")


def find_library(name: str, package: str = "rasterizer_ffi") -> Path | None:
    """Path of a shared library of an imported package, or None if it was not built.

    An editable installation has two folders: the sources, and where the build put the libraries.
    """
    for folder in sys.modules[package].__path__:
        path = Path(folder) / name
        if path.exists():
            return path
    return None


def load_library(
    name: str, package: str = "rasterizer_ffi", isa_variable: str | None = None
) -> ctypes.CDLL:
    """Loads a shared library of an imported package.

    Args:
      isa_variable: environment variable with which one chooses the library's instruction set.

    Raises:
      ImportError: the library was not built.
      ValueError: for a choice that there is not.
    """
    isa = os.environ.get(isa_variable, "") if isa_variable else ""
    if isa and isa not in _INSTRUCTION_SETS:
        raise ValueError(
            f"{isa_variable}: expected one of {_INSTRUCTION_SETS}, got {isa!r}; without it the "
            "widest that the processor has is taken"
        )
    path = find_library(name, package)
    if path is None:
        raise ImportError(
            f"expected {name} in one of {list(sys.modules[package].__path__)}, found none: build "
            "it with `pip install -e .` in the project's folder"
        )
    return ctypes.CDLL(str(path))
