"""Settings of the process, made once at its start: memory allocator and compilation cache."""

import ctypes
import os
import sys
from pathlib import Path

import jax

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_KEPT_BYTES = 1 << 30


def prepare_process(compilation_cache_dir: str) -> None:
    """Call before the first array is made.

    Args:
      compilation_cache_dir: where compiled programs are kept for later runs; '' keeps none.
    """
    keep_freed_memory()
    if compilation_cache_dir:
        folder = Path(compilation_cache_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", os.fspath(folder))


def keep_freed_memory() -> bool:
    """Asks glibc to keep large freed buffers instead of returning them to the system.

    Every step frees and wants the same buffers. Returned ones come back page by page, each zeroed
    by the kernel, which on CPUs costs a sizeable part of a step. Returns whether it was done (glibc
    only). Environment variables would do the same, but only if set before the process starts.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _KEPT_BYTES, _M_TOP_PAD: _KEPT_BYTES // 16}
    return all([mallopt(name, value) == 1 for name, value in settings.items()])
