"""Finds and loads the compiled libraries."""

import ctypes
from pathlib import Path

import rasterizer_ffi


def find_library(name: str) -> Path | None:
    """Path of a shared library of this package, or None if it was not built.

    An editable installation has two folders: the sources, and where the build put the libraries.
    """
    for folder in rasterizer_ffi.__path__:
        path = Path(folder) / name
        if path.exists():
            return path
    return None


def load_library(name: str) -> ctypes.CDLL:
    """Loads a shared library of this package.

    Raises:
      ImportError: the library was not built.
    """
    path = find_library(name)
    if path is None:
        raise ImportError(
            f"expected {name} in one of {list(rasterizer_ffi.__path__)}, found none: build it with "
            "`pip install -e .` in the project's folder"
        )
    return ctypes.CDLL(str(path))
