"""Settings of the process, made once at its start: JAX's, memory, compilation cache."""

import ctypes
import os
import sys
from pathlib import Path

import jax

from pony_jax.training.errors import RunError, user_files

# Settings of JAX that this project runs with. It computes in float32, broadcasts axes and hands
# arrays of numpy to compiled programs, as JAX allows by default; random numbers have to be the same
# in every process. Each can be set by an environment variable of its name in capitals.
_JAX_SETTINGS = {
    "jax_enable_x64": (False,),
    "jax_numpy_dtype_promotion": ("standard",),
    "jax_numpy_rank_promotion": ("allow", "warn"),
    "jax_disable_jit": (False,),
    "jax_threefry_partitionable": (True,),
    **{
        f"jax_transfer_guard{which}": (None, "allow", "log", "log_explicit")
        for which in ("", "_host_to_device", "_device_to_device", "_device_to_host")
    },
}

# Parameters of mallopt, from glibc's malloc.h.
_M_MXFAST = 1
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

_TOP_PAD_BYTES = 64 * 2**20


def prepare_process(compilation_cache_dir: str, *, keep_small_programs: bool = False) -> None:
    """Call before the first array is made.

    Args:
      compilation_cache_dir: where compiled programs are kept for later runs; '' keeps none.
      keep_small_programs: keep also what compiles in less than a second, which JAX leaves out; of
        use where a process ends after seconds and most of its programs are such.

    Raises:
      RunError: if JAX is set to what this project cannot run with, or finds no device.
    """
    check_jax_settings()
    check_devices()
    if compilation_cache_dir:
        folder = Path(os.path.expanduser(compilation_cache_dir))
        with user_files("compilation_cache_dir: expected a folder that can be made", folder):
            folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", os.fspath(folder))
        if keep_small_programs:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def check_jax_settings() -> None:
    """Raises `RunError` that names every setting of JAX that this project cannot run with."""
    wrong = []
    for name, allowed in _JAX_SETTINGS.items():
        value = getattr(jax.config, name, allowed[0])
        if value not in allowed:
            words = " or ".join(str(each) for each in allowed if each is not None)
            wrong.append(f"{name.upper()}: expected {words}, got {value}")
    if wrong:
        raise RunError(
            f"{'; '.join(wrong)}; unset the environment variable of this name, or do not change "
            "the setting in jax.config"
        )


def check_devices() -> None:
    """Raises `RunError` if JAX cannot start on the platform that it is told to use."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter for a plugin that is missing
        wanted = jax.config.jax_platforms or "any"
        raise RunError(
            f"JAX_PLATFORMS: expected a platform that JAX finds on this machine, got {wanted} "
            f"({str(error) or 'JAX is installed without it'}); unset the environment variable, or "
            "set it to cpu"
        ) from error


def keep_freed_memory() -> bool:
    """Asks glibc to keep freed memory instead of returning it to the system.

    Every step frees and wants the same large buffers. Those that were returned come back page by
    page, each zeroed by the kernel: measured on two cores, 45,000 page faults and 90 ms of system
    time beside 120 ms of work in each gradient of a small MLP on 60,000 points, and none in four
    of five with these settings. All threads share one arena, since other arenas unmap their heaps
    whatever the thresholds are; there are no fast bins, since every large block that is freed would
    merge what they hold (3 % of a default step). Returns whether it was done (not where memory is
    another allocator's). Call before XLA starts its threads.
    """
    libc = _glibc()
    if libc is None:
        return False
    settings = {
        _M_ARENA_MAX: 1,
        _M_MXFAST: 0,
        _M_MMAP_MAX: 0,
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_TOP_PAD: _TOP_PAD_BYTES,
    }
    return all([libc.mallopt(name, value) == 1 for name, value in settings.items()])


def _glibc() -> ctypes.CDLL | None:
    """None where memory is another allocator's, be it one that was loaded before glibc."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return None
    used, own = (
        ctypes.cast(library.malloc, ctypes.c_void_p).value
        for library in (libc, ctypes.CDLL("libc.so.6"))
    )
    return libc if used == own else None
