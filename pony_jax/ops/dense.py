"""Dense layers on normalised rows."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pony_jax.ops.substitution import substitutable

EPSILON = 1e-5
"""Added to variances."""


class NormDenseWeights(NamedTuple):
    """Of the normalisation, and of the layer."""

    scale: Float[Array, " c"]
    shift: Float[Array, " c"]
    kernel: Float[Array, "c o"]
    bias: Float[Array, " o"]


@substitutable
def norm_dense(x: Float[Array, "*n c"], weights: NormDenseWeights) -> Float[Array, "*n o"]:
    """A dense layer on layer-normalised rows: `layer_norm(x) @ kernel + bias`."""
    return layer_norm(x, weights.scale, weights.shift) @ weights.kernel + weights.bias


def layer_norm(
    x: Float[Array, "*n c"], scale: Float[Array, " c"], shift: Float[Array, " c"]
) -> Float[Array, "*n c"]:
    """Rows of mean 0 and variance 1, scaled and shifted."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + EPSILON) * scale + shift
