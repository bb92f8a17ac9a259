"""The network behind every field, from points to values."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Float, Int

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.ops.harmonic import harmonic_embedding
from pony_jax.ops.numerics import without_padding

# As in cpu/kernels.h: points that are worked on together, and what kept layers' width is a
# multiple of.
_BLOCK = 96
_WIDTH_MULTIPLE = 16


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
      count: the points from this one on are padding: their values are 0, without a gradient, and
        cost nothing. None uses all.
      num_frequencies: octaves of the embedding; 0 feeds the bare point.
      scale: angular frequency of the first octave, radians per unit of the points.

    Raises:
      ValueError: for a condition without a layer that it could be added to.
    """
    if condition is not None and len(weights.middle) == 0:
        raise ValueError("weights: expected a middle layer to add the condition to, got none")
    if not uses_kernels(points, *weights):
        out = _by_xla(points, weights, condition, image, num_frequencies, scale)
        return without_padding(out, count)
    if condition is None:
        condition = jnp.zeros((0, weights.last.shape[0]))
    if image is None:
        image = jnp.zeros(0, jnp.int32)
    if count is None:
        count = jnp.zeros(0, jnp.int32)
    return _mlp(points, weights, condition, image, count, num_frequencies, float(scale))


def num_kept(num_points: int, num_images: int, num_middle: int, width: int) -> int:
    """How many values of hidden layers a gradient keeps.

    Args:
      num_images: that see every point; 1 where each point belongs to one, or to none.
    """
    blocks = -(-num_points // _BLOCK)
    layers = 1 + min(num_middle, 1) + max(num_middle - 1, 0) * num_images
    return blocks * _BLOCK * layers * (-(-width // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE)


def _by_xla(
    points: Array,
    weights: MLPWeights,
    condition: Array | None,
    image: Array | None,
    num_frequencies: int,
    scale: float,
) -> Array:
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
    return h @ weights.last


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _mlp(
    points: Array,
    weights: MLPWeights,
    condition: Array,
    image: Array,
    count: Array,
    num_frequencies: int,
    scale: float,
) -> Array:
    return _run(points, weights, condition, image, count, num_frequencies, scale, keep=False)[0]


def _forward(
    points: Array,
    weights: MLPWeights,
    condition: Array,
    image: Array,
    count: Array,
    num_frequencies: int,
    scale: float,
) -> tuple[Array, tuple]:
    out, kept = _run(points, weights, condition, image, count, num_frequencies, scale, keep=True)
    return out, (points, weights, condition, image, count, kept)


def _run(
    points: Array,
    weights: MLPWeights,
    condition: Array,
    image: Array,
    count: Array,
    num_frequencies: int,
    scale: float,
    *,
    keep: bool,
) -> list[Array]:
    n, (width, features) = len(points), weights.last.shape
    every = len(condition) > 0 and len(image) == 0
    out = (len(condition), n, features) if every else (n, features)
    num_images = len(condition) if every else 1
    kept = num_kept(n, num_images, len(weights.middle), width) if keep else 0
    how = {"num_frequencies": num_frequencies, "scale": np.float64(scale)}
    return call("mlp", [out, (kept,)], points, *weights, condition, image, count, **how)


def _backward(num_frequencies: int, scale: float, residuals: tuple, grad_out: Array) -> tuple:
    points, weights, condition, image, count, kept = residuals
    inputs = (points, *weights, condition)
    shapes = [array.shape for array in inputs]
    how = {"num_frequencies": num_frequencies, "scale": np.float64(scale)}
    grads = call("mlp_grad", shapes, *inputs, image, count, kept, grad_out, **how)
    return grads[0], MLPWeights(*grads[1:5]), grads[5], None, None


_mlp.defvjp(_forward, _backward)
