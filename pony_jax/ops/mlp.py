"""The network behind every field, from points to values."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import nn
from jaxtyping import Array, Float, Int

from pony_jax.ops.harmonic import harmonic_embedding
from pony_jax.ops.numerics import without_padding
from pony_jax.ops.substitution import substitutable


class MLPWeights(NamedTuple):
    """Of all layers; only the first has a bias.

    Attributes:
      first: from the embedding, e = 3 + 6 num_frequencies wide.
      middle: l layers.
    """

    first: Float[Array, "e d"]
    bias: Float[Array, " d"]
    middle: Float[Array, "l d d"]
    last: Float[Array, "d o"]


def mlp(
    points: Float[Array, "n 3"],
    weights: MLPWeights,
    condition: Float[Array, "b d"] | None = None,
    image: Int[Array, " n"] | None = None,
    count: Int[Array, ""] | None = None,
    *,
    num_frequencies: int,
    scale: float,
) -> Float[Array, "*b n o"]:
    """Harmonic embedding, then the layers with rectifiers between them.

    Args:
      condition: of each image, added before the rectifier of the first layer in the middle. Alone,
        every point is seen by every image: the result is [b, n, o].
      image: the image that each point belongs to; then the result is [n, o], as without condition.
        A point of no image has no condition.
      count: the points from this one on are padding: their values are 0, without a gradient. None
        uses all.
      num_frequencies: octaves of the embedding; 0 feeds the bare point.
      scale: angular frequency of the first octave, radians per unit of the points.

    Raises:
      ValueError: for a condition without a layer that it could be added to.
    """
    if condition is not None and len(weights.middle) == 0:
        raise ValueError("weights: expected a middle layer to add the condition to, got none")
    static = {"num_frequencies": num_frequencies, "scale": float(scale)}
    return conditioned_mlp(points, weights, condition, image, count, **static)


@substitutable
def conditioned_mlp(
    points: Float[Array, "n 3"],
    weights: MLPWeights,
    condition: Float[Array, "b d"] | None,
    image: Int[Array, " n"] | None,
    count: Int[Array, ""] | None,
    *,
    num_frequencies: int,
    scale: float,
) -> Float[Array, "*b n o"]:
    """`mlp` with all of its arrays by position."""
    embedded = points
    if num_frequencies:
        waves = harmonic_embedding(points, num_frequencies, scale)
        embedded = jnp.concatenate([points, waves], axis=-1)
    h = nn.relu(embedded @ weights.first + weights.bias)
    for i, kernel in enumerate(weights.middle):
        h = h @ kernel
        # Products, because their transposes are products as well. That of a broadcast to all
        # images is a sum over a leading axis, on which XLA's CPU backend takes 60 times as
        # long; that of a gather is a scatter, which a CPU does one row after the other.
        if i == 0 and condition is not None and image is None:
            h = jnp.einsum("b,nh->bnh", jnp.ones(len(condition)), h) + condition[:, None]
        elif i == 0 and condition is not None:
            h += nn.one_hot(image, len(condition), dtype=h.dtype) @ condition
        h = nn.relu(h)
    return without_padding(h @ weights.last, count)
