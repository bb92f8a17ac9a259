"""Roots and normalisation with gradients that stay finite at zero."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def safe_sqrt(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Square root; 0, with gradient 0, wherever x <= 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def safe_normalize(x: Float[Array, "*s"], axis: int = -1, eps: float = 1e-20) -> Float[Array, "*s"]:
    """`x / sqrt(max(x.x, eps))`: unit vectors, and 0 for the zero vector.

    The gradient is 0 wherever x.x <= eps (MagicPony@e4a8b20:magicpony/render/util.py has the same
    values, but a gradient of 1 / sqrt(eps) = 1e10 there, which one stray vector turns into NaN).
    """
    square = jnp.sum(x * x, axis=axis, keepdims=True)
    regular = square > eps
    # Two selections, one before the root and one after: `where` alone would still multiply the
    # unused branch's infinite derivative by zero.
    scale = jnp.where(regular, square, eps) ** -0.5
    tiny = jnp.broadcast_to(~regular, x.shape)
    return jnp.where(tiny, lax.stop_gradient(x * scale), x * scale)
