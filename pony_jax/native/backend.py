"""The door to compiled kernels, shared by the packages that have some."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rasterizer_ffi.library import load_library

_plain = False


def uses_kernels(*arrays: Array) -> bool:
    """Whether what is traced now is computed by our kernels.

    Args:
      arrays: of floats that it is made from; kernels take float32 alone.
    """
    is_single = all(array.dtype == jnp.float32 for array in arrays)
    return not _plain and jax.default_backend() == "cpu" and is_single


@contextlib.contextmanager
def plain_xla() -> Iterator[None]:
    """Leaves to XLA what is traced inside: the reference, and what a GPU runs.

    Compiled functions are forgotten at both ends.
    """
    global _plain
    before, _plain = _plain, True
    jax.clear_caches()
    try:
        yield
    finally:
        _plain = before
        jax.clear_caches()


class Kernels:
    """The ops of one compiled library, known to XLA.

    Args:
      library: file in the folder of `package`.
      symbols: name of each op -> its handler in the library.
      thread_limit: the library's function that limits the threads of its ops.
    """

    def __init__(self, library: str, package: str, symbols: Mapping[str, str], thread_limit: str):
        loaded = load_library(library, package=package)
        self._limit_threads = getattr(loaded, thread_limit)
        for op, symbol in symbols.items():
            capsule = jax.ffi.pycapsule(getattr(loaded, symbol))
            jax.ffi.register_ffi_target(f"pony_jax_{op}", capsule, platform="cpu")

    def call(
        self,
        op: str,
        results: Sequence[tuple[int, ...] | jax.ShapeDtypeStruct],
        *args: Array,
        in_place: Mapping[int, int] | None = None,
        **attributes: Any,
    ) -> list[Array]:
        """Calls a kernel; a result given by its shape alone is float32.

        Args:
          in_place: number of an argument -> that of the result that takes its place.
        """
        shapes = [
            jax.ShapeDtypeStruct(result, jnp.float32) if isinstance(result, tuple) else result
            for result in results
        ]
        call = jax.ffi.ffi_call(
            f"pony_jax_{op}", shapes, vmap_method="sequential", input_output_aliases=in_place
        )
        return call(*args, **attributes)

    def set_max_threads(self, num_threads: int | None) -> None:
        """Limits the threads that kernels use; None means all that XLA has.

        No result depends on it.
        """
        self._limit_threads(0 if num_threads is None else int(num_threads))
