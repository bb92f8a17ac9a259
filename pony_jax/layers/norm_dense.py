"""Dense layers on normalised rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels

EPSILON = 1e-5
"""Added to variances."""

CHANNEL_MULTIPLE = 16
"""What the normalised channels have to be a multiple of for a kernel; as in cpu/kernels.h."""


class NormDenseWeights(NamedTuple):
    """Of the normalisation, and of the layer."""

    scale: Float[Array, " c"]
    shift: Float[Array, " c"]
    kernel: Float[Array, "c o"]
    bias: Float[Array, " o"]


def norm_dense(x: Float[Array, "*n c"], weights: NormDenseWeights) -> Float[Array, "*n o"]:
    """`norm(x) @ kernel + bias`; differentiable once.

    `norm` brings each row to mean 0 and variance 1, then scales and shifts it.
    """
    if uses_kernels(x, *weights) and x.shape[-1] % CHANNEL_MULTIPLE == 0:
        rows = _norm_dense(x.reshape(-1, x.shape[-1]), weights)
        return rows.reshape(*x.shape[:-1], rows.shape[-1])
    return normalised(x, weights.scale, weights.shift) @ weights.kernel + weights.bias


def normalised(
    x: Float[Array, "*n c"], scale: Float[Array, " c"], shift: Float[Array, " c"]
) -> Float[Array, "*n c"]:
    """Rows of mean 0 and variance 1, scaled and shifted."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + EPSILON) * scale + shift


@jax.custom_vjp
def _norm_dense(x: Array, weights: NormDenseWeights) -> Array:
    out = len(x), weights.kernel.shape[1]
    return call("norm_dense", [out], x, *weights, epsilon=np.float32(EPSILON))[0]


def _forward(x: Array, weights: NormDenseWeights) -> tuple[Array, tuple]:
    return _norm_dense(x, weights), (x, weights)


def _backward(residuals: tuple, grad_out: Array) -> tuple[Array, NormDenseWeights]:
    x, weights = residuals
    shapes = [array.shape for array in (x, *weights)]
    grad_x, *grads = call(
        "norm_dense_grad", shapes, x, *weights, grad_out, epsilon=np.float32(EPSILON)
    )
    return grad_x, NormDenseWeights(*grads)


_norm_dense.defvjp(_forward, _backward)
