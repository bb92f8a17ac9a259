"""Who computes the layers: our kernels on a CPU, XLA elsewhere or where it is asked to.

XLA's CPU backend computes one layer after the other, through memory, and a convolution on one core.
Our kernels (`cpu/`) keep a block of points in the cache through all layers, and use all cores.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rasterizer_ffi.library import load_library

_SYMBOLS = {
    "mlp": "LayersMlp",
    "mlp_grad": "LayersMlpGrad",
    "conv_block": "LayersConvBlock",
    "conv_block_grad": "LayersConvBlockGrad",
    "convolution": "LayersConvolution",
    "convolution_grad_x": "LayersConvolutionGradX",
    "convolution_grad_kernel": "LayersConvolutionGradKernel",
}

_LIBRARY = load_library("liblayers_cpu.so", package=__package__)
for _op, _symbol in _SYMBOLS.items():
    _capsule = jax.ffi.pycapsule(getattr(_LIBRARY, _symbol))
    jax.ffi.register_ffi_target(f"pony_jax_{_op}", _capsule, platform="cpu")

_plain = False


def uses_kernels() -> bool:
    """Whether what is traced now is computed by our kernels."""
    return not _plain and jax.default_backend() == "cpu"


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


def call(
    op: str, shapes: Sequence[tuple[int, ...]], *args: Array, **attributes: Any
) -> list[Array]:
    """Calls a kernel; its results are float32 arrays of these shapes."""
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.ffi.ffi_call(f"pony_jax_{op}", results, vmap_method="sequential")(
        *args, **attributes
    )


def set_max_threads(num_threads: int | None) -> None:
    """Limits the threads that kernels use; None means all that XLA has. No result depends on it."""
    _LIBRARY.LayersSetMaxThreads(0 if num_threads is None else int(num_threads))
