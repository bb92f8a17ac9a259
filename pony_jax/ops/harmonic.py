"""Harmonic (positional) embedding of coordinates."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def harmonic_embedding(
    x: Float[Array, "*n c"], num_frequencies: int, scale: float
) -> Float[Array, "*n o"]:
    """Sines, then cosines, of x times `scale` * 2^k for k = 0 .. num_frequencies - 1.

    Channel `c * num_frequencies + k` of either half belongs to coordinate c, so the width is
    2 * c * num_frequencies. MagicPony@e4a8b20:magicpony/networks/MLPs.py:HarmonicEmbedding.

    Args:
      scale: angular frequency of the first octave, radians per unit of x.

    Raises:
      ValueError: if num_frequencies is less than 1.
    """
    if num_frequencies < 1:
        raise ValueError(
            f"num_frequencies: expected at least 1, got {num_frequencies}; "
            "feed the bare coordinates instead"
        )
    frequencies = (scale * 2.0 ** np.arange(num_frequencies)).astype(np.float32)
    phase = (x[..., None] * frequencies).reshape(*x.shape[:-1], -1)
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)
