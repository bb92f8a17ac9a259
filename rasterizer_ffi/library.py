"""Finds and loads the compiled libraries of a package."""

import ctypes
import sys
from pathlib import Path


def find_library(name: str, package: str = "rasterizer_ffi") -> Path | None:
    """Path of a shared library of an imported package, or None if it was not built.

    An editable installation has two folders: the sources, and where the build put the libraries.
    """
    for folder in sys.modules[package].__path__:
        path = Path(folder) / name
        if path.exists():
            return path
    return None


def load_library(name: str, package: str = "rasterizer_ffi") -> ctypes.CDLL:
    """Loads a shared library of an imported package.

    Raises:
      ImportError: the library was not built.
    """
    path = find_library(name, package)
    if path is None:
        raise ImportError(
            f"expected {name} in one of {list(sys.modules[package].__path__)}, found none: build "
            "it with `pip install -e .` in the project's folder"
        )
    return ctypes.CDLL(str(path))
