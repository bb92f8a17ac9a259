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
_M_ARENA_MAX = -8


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
    """Asks glibc to keep freed memory instead of returning it to the system.

    Every step frees and wants the same large buffers. Those that were returned come back page by
    page, each zeroed by the kernel: measured on two cores, 45,000 page faults and 90 ms of system
    time beside 120 ms of work in each gradient of a small MLP on 60,000 points, and none in four
    of five with these settings. All threads share one arena, since other arenas unmap their heaps
    whatever the thresholds are. Returns whether it was done (glibc only). Call before XLA starts
    its threads.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {
        _M_ARENA_MAX: 1,
        _M_MMAP_MAX: 0,
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_TOP_PAD: 64 * 2**20,
    }
    return all([mallopt(name, value) == 1 for name, value in settings.items()])
