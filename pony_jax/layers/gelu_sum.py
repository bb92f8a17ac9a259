"""The gelu of sums."""

import jax
from jax import nn
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.norm_dense import CHANNEL_MULTIPLE


def gelu_sum(
    first: Float[Array, "*n c"], second: Float[Array, "*n c"], bias: Float[Array, " c"]
) -> Float[Array, "*n c"]:
    """`gelu(first + second + bias)` with the gelu by tanh; differentiable once.

    Raises:
      ValueError: for terms of different shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"second: expected shape {first.shape} as of first, got {second.shape}")
    if first.shape[-1] % CHANNEL_MULTIPLE or not uses_kernels(first, second, bias):
        return nn.gelu(first + second + bias)
    rows = [term.reshape(-1, first.shape[-1]) for term in (first, second)]
    return _gelu_sum(*rows, bias).reshape(first.shape)


@jax.custom_vjp
def _gelu_sum(first: Array, second: Array, bias: Array) -> Array:
    return call("gelu_sum", [first.shape, (0,)], first, second, bias)[0]


def _forward(first: Array, second: Array, bias: Array) -> tuple[Array, Array]:
    out, slopes = call("gelu_sum", [first.shape, first.shape], first, second, bias)
    return out, slopes


def _backward(slopes: Array, grad_out: Array) -> tuple[Array, Array, Array]:
    grad, grad_bias = call("gelu_sum_grad", [slopes.shape, slopes.shape[1:]], slopes, grad_out)
    return grad, grad, grad_bias


_gelu_sum.defvjp(_forward, _backward)
