"""Residual blocks of images."""

from typing import NamedTuple

import jax
import numpy as np
from jax import nn
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.convolution import convolution
from pony_jax.layers.norm_dense import CHANNEL_MULTIPLE, EPSILON, normalised


class ConvBlockWeights(NamedTuple):
    """Of the normalisation, and of the convolution (`k` is odd)."""

    scale: Float[Array, " c"]
    shift: Float[Array, " c"]
    kernel: Float[Array, "k k c c"]
    bias: Float[Array, " c"]


def conv_block(x: Float[Array, "b h w c"], weights: ConvBlockWeights) -> Float[Array, "b h w c"]:
    """`x + gelu(convolution(norm(x)) + bias)`; differentiable once.

    `norm` brings each pixel's channels to mean 0 and variance 1, then scales and shifts them; the
    gelu is the one by tanh.
    """
    ours = len(weights.kernel) == 3 and x.shape[3] % CHANNEL_MULTIPLE == 0
    if ours and uses_kernels(x, *weights):
        return _conv_block(x, weights)
    unit = normalised(x, weights.scale, weights.shift)
    u = convolution(unit, weights.kernel, stride=1, padding=len(weights.kernel) // 2)
    return x + nn.gelu(u + weights.bias)


@jax.custom_vjp
def _conv_block(x: Array, weights: ConvBlockWeights) -> Array:
    return _run(x, weights, kept=(0,))[0]


def _run(x: Array, weights: ConvBlockWeights, kept: tuple[int, ...]) -> list[Array]:
    return call("conv_block", [x.shape, kept], x, *weights, epsilon=np.float32(EPSILON))


def _forward(x: Array, weights: ConvBlockWeights) -> tuple[Array, tuple]:
    out, kept = _run(x, weights, kept=x.shape)
    return out, (x, weights, kept)


def _backward(residuals: tuple, grad_out: Array) -> tuple[Array, ConvBlockWeights]:
    x, weights, kept = residuals
    shapes = [array.shape for array in (x, *weights)]
    grad_x, *grads = call(
        "conv_block_grad", shapes, x, *weights, kept, grad_out, epsilon=np.float32(EPSILON)
    )
    return grad_x, ConvBlockWeights(*grads)


_conv_block.defvjp(_forward, _backward)
