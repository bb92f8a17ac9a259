"""The gelu of sums."""

import jax
import jax.numpy as jnp
from jax import nn
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.norm_dense import CHANNEL_MULTIPLE


def gelu_sum(
    first: Float[Array, "*n c"], second: Float[Array, "*n c"] | None, bias: Float[Array, " c"]
) -> Float[Array, "*n c"]:
    """`gelu(first + second + bias)` with the gelu by tanh; differentiable once.

    Args:
      second: None is nothing.

    Raises:
      ValueError: for terms of different shapes.
    """
    terms = [first] if second is None else [first, second]
    if second is not None and first.shape != second.shape:
        raise ValueError(f"second: expected shape {first.shape} as of first, got {second.shape}")
    if first.shape[-1] % CHANNEL_MULTIPLE or not uses_kernels(*terms, bias):
        return nn.gelu(sum(terms) + bias)
    rows = [term.reshape(-1, first.shape[-1]) for term in terms]
    return _gelu_sum(tuple(rows), bias).reshape(first.shape)


@jax.custom_vjp
def _gelu_sum(terms: tuple[Array, ...], bias: Array) -> Array:
    return _run(terms, bias, kept=(0,))[0]


def _run(terms: tuple[Array, ...], bias: Array, kept: tuple[int, ...]) -> list[Array]:
    first, second = *terms, *[jnp.zeros(0)] * (2 - len(terms))
    return call("gelu_sum", [first.shape, kept], first, second, bias)


def _forward(terms: tuple[Array, ...], bias: Array) -> tuple[Array, tuple]:
    out, slopes = _run(terms, bias, kept=terms[0].shape)
    return out, (slopes, ((),) * len(terms))  # how many there were, without their values


def _backward(kept: tuple, grad_out: Array) -> tuple[tuple[Array, ...], Array]:
    slopes, terms = kept
    grad, grad_bias = call("gelu_sum_grad", [slopes.shape, slopes.shape[1:]], slopes, grad_out)
    return (grad,) * len(terms), grad_bias


_gelu_sum.defvjp(_forward, _backward)
