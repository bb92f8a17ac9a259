"""Residual blocks of images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.convolution import convolution

_EPSILON = 1e-5
_CHANNEL_MULTIPLE = 16  # as in cpu/kernels.h


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
    if uses_kernels(x, *weights) and x.shape[3] % _CHANNEL_MULTIPLE == 0:
        return _conv_block(x, weights)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    unit = centred * lax.rsqrt(variance + _EPSILON)
    padding = len(weights.kernel) // 2
    u = convolution(unit * weights.scale + weights.shift, weights.kernel, stride=1, padding=padding)
    return x + nn.gelu(u + weights.bias)


@jax.custom_vjp
def _conv_block(x: Array, weights: ConvBlockWeights) -> Array:
    return _run(x, weights, kept=(0,))[0]


def _run(x: Array, weights: ConvBlockWeights, kept: tuple[int, ...]) -> list[Array]:
    return call("conv_block", [x.shape, kept], x, *weights, epsilon=np.float32(_EPSILON))


def _forward(x: Array, weights: ConvBlockWeights) -> tuple[Array, tuple]:
    out, kept = _run(x, weights, kept=x.shape)
    return out, (x, weights, kept)


def _backward(residuals: tuple, grad_out: Array) -> tuple[Array, ConvBlockWeights]:
    x, weights, kept = residuals
    shapes = [array.shape for array in (x, *weights)]
    grad_x, *grads = call(
        "conv_block_grad", shapes, x, *weights, kept, grad_out, epsilon=np.float32(_EPSILON)
    )
    return grad_x, ConvBlockWeights(*grads)


_conv_block.defvjp(_forward, _backward)
