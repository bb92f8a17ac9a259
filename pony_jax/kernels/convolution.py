"""Convolutions of images on all cores, and residual blocks by Winograd's filtering."""

import numpy as np
from jaxtyping import Array

from pony_jax.kernels.dense import CHANNEL_MULTIPLE
from pony_jax.kernels.library import call
from pony_jax.ops.convolution import ConvBlockWeights
from pony_jax.ops.dense import EPSILON

_HOW = {"epsilon": np.float32(EPSILON)}


def forward(x: Array, kernel: Array, *, stride: int, padding: int) -> Array:
    kh, kw, _, features = kernel.shape
    h, w = (
        (n + 2 * padding - k) // stride + 1 for n, k in zip(x.shape[1:3], (kh, kw), strict=True)
    )
    shape = len(x), h, w, features
    return call("Convolution", [shape], x, kernel, stride=stride, padding=padding)[0]


def backward(
    args: tuple[Array, Array], kept: tuple, grads: tuple[Array, ...], *, stride: int, padding: int
) -> list[Array]:
    x, kernel = args
    how = {"stride": stride, "padding": padding}
    # Two calls: XLA drops the one whose result is not needed.
    (grad_x,) = call("ConvolutionGradX", [x.shape], kernel, *grads, **how)
    (grad_kernel,) = call("ConvolutionGradKernel", [kernel.shape], x, *grads, **how)
    return [grad_x, grad_kernel]


def accepts_block(x: Array, weights: ConvBlockWeights) -> bool:
    return len(weights.kernel) == 3 and x.shape[3] % CHANNEL_MULTIPLE == 0


def block_forward(x: Array, weights: ConvBlockWeights) -> Array:
    return call("ConvBlock", [x.shape, (0,)], x, *weights, **_HOW)[0]


def block_forward_keeping(x: Array, weights: ConvBlockWeights) -> tuple[Array, tuple[Array, ...]]:
    out, kept = call("ConvBlock", [x.shape, x.shape], x, *weights, **_HOW)
    return out, (kept,)


def block_backward(
    args: tuple[Array, ConvBlockWeights], kept: tuple[Array, ...], grads: tuple[Array, ...]
) -> list[Array]:
    x, weights = args
    shapes = [array.shape for array in (x, *weights)]
    return call("ConvBlockGrad", shapes, x, *weights, *kept, *grads, **_HOW)
