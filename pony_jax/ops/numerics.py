"""Roots and normalisation with finite gradients at zero; padding; order statistics."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int


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


def without_padding(
    rows: Float[Array, "*b n c"], count: Int[Array, ""] | None
) -> Float[Array, "*b n c"]:
    """0 in the rows from `count` on, which are padding; None keeps all."""
    if count is None:
        return rows
    return jnp.where((jnp.arange(rows.shape[-2]) < count)[:, None], rows, 0.0)


def order_statistics(x: Float[Array, " n"], ranks: Int[Array, "*r"]) -> Float[Array, "*r"]:
    """`jnp.sort(x)[ranks]`, exactly, without the sort; no gradient.

    A float's bits, as a whole number, are in the order of the floats once those of negative ones
    are turned about. The number at a rank is then found bit by bit, by counting what is less: 32
    passes, which a CPU makes eight times faster than it sorts 51,200 numbers (1.1 ms, not 8.8).

    Args:
      x: float32 or float64; NaN counts as more than infinity.
      ranks: in 0..n-1.
    """
    num_bits = 8 * x.dtype.itemsize
    word = jnp.dtype(f"uint{num_bits}")
    top = np.array(1 << (num_bits - 1), word)
    bits = lax.bitcast_convert_type(lax.stop_gradient(x), word)
    keys = jnp.where(bits < top, bits | top, ~bits)

    def add_bit(i: Int[Array, ""], found: Array) -> Array:
        candidate = found | (top >> i.astype(word))
        num_less = jnp.sum(keys < candidate[..., None], axis=-1, dtype=jnp.int32)
        return jnp.where(num_less <= ranks, candidate, found)

    found = lax.fori_loop(0, num_bits, add_bit, jnp.zeros(ranks.shape, word))
    return lax.bitcast_convert_type(jnp.where(found < top, ~found, found ^ top), x.dtype)
