"""The door to the compiled library: kernels become known to XLA when one is first lowered."""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rasterizer_ffi.library import load_library

INSTRUCTION_SETS = ("baseline", "v3", "v4")

# Each `PonyName` of the library is the target `pony_jax_name`.
_OPS = (
    "Mlp",
    "MlpGrad",
    "ConvBlock",
    "ConvBlockGrad",
    "Convolution",
    "ConvolutionGradX",
    "ConvolutionGradKernel",
    "NormDense",
    "NormDenseGrad",
    "Landmarks",
    "SkinningWeights",
    "Skin",
    "SkinGrad",
    "Surface",
    "SurfaceGrad",
    "LitValues",
    "LitValuesGrad",
    "LatticeCells",
    "LatticeMarch",
)


@functools.cache
def _library() -> ctypes.CDLL:
    library = load_library("libpony_cpu.so", package=__package__, isa_variable="PONY_JAX_ISA")
    for op in _OPS:
        capsule = jax.ffi.pycapsule(getattr(library, f"Pony{op}"))
        jax.ffi.register_ffi_target(f"pony_jax_{op}", capsule, platform="cpu")
    return library


def call(
    op: str,
    results: Sequence[tuple[int, ...] | jax.ShapeDtypeStruct],
    *args: Array,
    **attributes: Any,
) -> list[Array]:
    """Calls a kernel; a result given by its shape alone is float32."""
    _library()
    shapes = [
        jax.ShapeDtypeStruct(result, jnp.float32) if isinstance(result, tuple) else result
        for result in results
    ]
    return jax.ffi.ffi_call(f"pony_jax_{op}", shapes)(*args, **attributes)


def whole(*shape: int) -> jax.ShapeDtypeStruct:
    """A result of whole numbers."""
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def empty_or(array: Array | None) -> Array:
    """How kernels are told that a count or an index is not given: an array without elements."""
    return jnp.zeros(0, jnp.int32) if array is None else array


def set_max_threads(num_threads: int | None) -> None:
    """Limits the threads that kernels use; None means all that XLA has.

    No result depends on it.
    """
    _library().PonySetMaxThreads(0 if num_threads is None else int(num_threads))


def set_instruction_set(name: str) -> str:
    """Lets kernels use no wider instructions than these; returns those that they use.

    Those that the processor lacks, or that the environment variable PONY_JAX_ISA rules out, stay
    out. The last bits of results depend on it.

    Args:
      name: one of `INSTRUCTION_SETS`.
    """
    return INSTRUCTION_SETS[_library().PonySetInstructionSet(INSTRUCTION_SETS.index(name))]
