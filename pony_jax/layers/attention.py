"""Attention among a few tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.norm_dense import CHANNEL_MULTIPLE


def attention(qkv: Float[Array, "b k 3*c"], num_heads: int) -> Float[Array, "b k c"]:
    """Values mixed by the softmax of queries times keys, each head by itself; differentiable once.

    Args:
      qkv: queries, then keys, then values; the channels of each head are neighbours.

    Raises:
      ValueError: unless queries, keys and values are as many whole heads.
    """
    channels, rest = divmod(qkv.shape[-1], 3 * num_heads)
    if rest:
        raise ValueError(
            f"qkv: expected a multiple of 3 x {num_heads} channels for {num_heads} heads, "
            f"got {qkv.shape[-1]}"
        )
    if uses_kernels(qkv) and channels % CHANNEL_MULTIPLE == 0:
        return _attention(qkv, num_heads)
    b, k, _ = qkv.shape
    q, key, v = jnp.moveaxis(qkv.reshape(b, k, 3, num_heads, channels), 2, 0)
    logits = jnp.einsum("bqhd,bkhd->bhqk", q, key) * channels**-0.5
    return jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(logits), v).reshape(b, k, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _attention(qkv: Array, num_heads: int) -> Array:
    b, k, width = qkv.shape
    return call("attention", [(b, k, width // 3)], qkv, num_heads=np.int64(num_heads))[0]


def _forward(qkv: Array, num_heads: int) -> tuple[Array, Array]:
    return _attention(qkv, num_heads), qkv


def _backward(num_heads: int, qkv: Array, grad_out: Array) -> tuple[Array]:
    return (call("attention_grad", [qkv.shape], qkv, grad_out, num_heads=np.int64(num_heads))[0],)


_attention.defvjp(_forward, _backward)
