"""The door to compiled kernels, shared by the packages that have some."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rasterizer_ffi.library import load_library

# Part of the key of JAX's caches, so that both kinds of a compiled function are kept.
_plain = jax.make_user_context(default_value=False)


def uses_kernels(*arrays: Array) -> bool:
    """Whether what is traced now is computed by our kernels.

    Args:
      arrays: of floats that it is made from; kernels take float32 alone.
    """
    is_single = all(array.dtype == jnp.float32 for array in arrays)
    return not _plain.value and jax.default_backend() == "cpu" and is_single


def plain_xla() -> AbstractContextManager[None]:
    """Leaves to XLA what is traced inside: the reference, and what a GPU runs."""
    return _plain(True)


class Kernels:
    """The ops of one compiled library, known to XLA.

    Args:
      library: file in the folder of `package`.
      symbols: name of each op -> its handler in the library.
      thread_limit: the library's function that limits the threads of its ops.
    """

    def __init__(self, library: str, package: str, symbols: Mapping[str, str], thread_limit: str):
        loaded = load_library(library, package=package, isa_variable="PONY_JAX_ISA")
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
