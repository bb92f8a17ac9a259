"""Normalisation of groups of channels in each image, with a rectifier."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.norm_dense import CHANNEL_MULTIPLE, EPSILON

_GROUP = 4  # as in cpu/kernels.h
_SLOPE = 0.2


def group_norm(
    x: Float[Array, "b h w c"], scale: Float[Array, " c"], shift: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """`leaky_relu(norm(x) * scale + shift)`; differentiable once.

    `norm` brings each four neighbouring channels of an image to mean 0 and variance 1 over its
    pixels; the rectifier's slope is 0.2.

    Raises:
      ValueError: for channels that are not a multiple of four.
    """
    if x.shape[3] % _GROUP:
        raise ValueError(f"x: expected a multiple of {_GROUP} channels, got {x.shape[3]}")
    if uses_kernels(x, scale, shift) and x.shape[3] % CHANNEL_MULTIPLE == 0:
        return _group_norm(x, scale, shift)
    b, h, w, c = x.shape
    groups = x.reshape(b, h * w, c // _GROUP, _GROUP)
    centred = groups - jnp.mean(groups, axis=(1, 3), keepdims=True)
    variance = jnp.mean(centred * centred, axis=(1, 3), keepdims=True)
    unit = (centred * lax.rsqrt(variance + EPSILON)).reshape(x.shape)
    return nn.leaky_relu(unit * scale + shift, _SLOPE)


@jax.custom_vjp
def _group_norm(x: Array, scale: Array, shift: Array) -> Array:
    return _call("group_norm", [x.shape], x, scale, shift)[0]


def _call(op: str, results: list[tuple[int, ...]], *args: Any) -> list[Array]:
    return call(op, results, *args, epsilon=np.float32(EPSILON), slope=np.float32(_SLOPE))


def _forward(x: Array, scale: Array, shift: Array) -> tuple[Array, tuple]:
    return _group_norm(x, scale, shift), (x, scale, shift)


def _backward(kept: tuple, grad_out: Array) -> tuple[Array, ...]:
    return tuple(_call("group_norm_grad", [array.shape for array in kept], *kept, grad_out))


_group_norm.defvjp(_forward, _backward)
