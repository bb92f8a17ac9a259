"""Dense layers of their own for each token of a fixed number."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.norm_dense import CHANNEL_MULTIPLE


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def token_dense(
    x: Float[Array, "b k i"], kernel: Float[Array, "k i o"], num_trained: int
) -> Float[Array, "b k o"]:
    """`x[:, k] @ kernel[k]`; differentiable once.

    Args:
      num_trained: so many of the first columns of x have a gradient, the others none.
    """
    if not _uses_kernels(x, kernel):
        # Tokens first: on a CPU twice as fast as the same by einsum.
        return jnp.swapaxes(jnp.swapaxes(x, 0, 1) @ kernel, 0, 1)
    (out,) = call("token_dense", [(*x.shape[:2], kernel.shape[2])], x, kernel)
    return out


def _uses_kernels(x: Array, kernel: Array) -> bool:
    return uses_kernels(x, kernel) and kernel.shape[2] % CHANNEL_MULTIPLE == 0


def _forward(x: Array, kernel: Array, num_trained: int) -> tuple[Array, tuple]:
    return token_dense(x, kernel, num_trained), (x, kernel)


def _backward(num_trained: int, kept: tuple, grad: Array) -> tuple[Array, Array]:
    x, kernel = kept
    if _uses_kernels(x, kernel):
        shapes = [(*x.shape[:2], num_trained), kernel.shape]
        grad_x, grad_kernel = call("token_dense_grad", shapes, x, kernel, grad)
    else:
        grad = jnp.swapaxes(grad, 0, 1)
        grad_x = jnp.swapaxes(grad @ jnp.swapaxes(kernel[:, :num_trained], 1, 2), 0, 1)
        grad_kernel = jnp.moveaxis(x, 0, 2) @ grad
    return jnp.pad(grad_x, [(0, 0), (0, 0), (0, x.shape[-1] - num_trained)]), grad_kernel


token_dense.defvjp(_forward, _backward)
