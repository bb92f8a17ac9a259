"""The network behind every field: a function of a point and, possibly, of one vector per image."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from pony_jax.modules.linear import MLP, Linear, torch_kernel_init
from pony_jax.ops.mlp import MLPWeights, mlp

# Values of hidden layers that are kept for a gradient: 128 MiB of them. All layers of all points
# may be more than the memory holds.
_MOST_KEPT_VALUES = 1 << 25


class CoordinateMLP(nn.Module):
    """Harmonic embedding, a layer with bias, then layers without.

    Many points are worked on in pieces, whose hidden layers the gradient computes again.

    The rectifier after the first layer also meets the image's vector (a quirk of the original,
    MagicPony@e4a8b20:magicpony/networks.py, kept because its checkpoints expect it). The
    vector's share of the next layer is multiplied once per image, not once per point.

    Attributes:
      features: width of the output.
      hidden: width of all layers between.
      num_layers: layers after the first.
      num_frequencies: octaves of the embedding; 0 feeds the bare point.
      frequency_scale: angular frequency of the first octave, radians per world unit.
      mirror: evaluate at (|x|, y, z), so the field is symmetric in the plane x = 0.
    """

    features: int
    hidden: int
    num_layers: int
    num_frequencies: int
    frequency_scale: float
    mirror: bool

    def __call__(
        self,
        points: Float[Array, "n 3"],
        condition: Float[Array, "b c"] | None = None,
        image: Int[Array, " n"] | None = None,
        count: Int[Array, ""] | None = None,
    ) -> Float[Array, "*b n o"]:
        """Values at `points`; 0 at those from `count` on, which are padding.

        With a `condition` alone every point is seen by every image: `[b, n, o]`. With `image` too,
        point i belongs to image `image[i]`, and the values are `[n, o]`, as without both.
        """
        weights, condition = self._weights(condition)
        points = self._mirrored(points)

        def values(points: Array, image: Array | None, count: Array | None) -> Array:
            return mlp(
                points,
                weights,
                condition,
                image,
                count,
                num_frequencies=self.num_frequencies,
                scale=self.frequency_scale,
            )

        seen_by = len(condition) if condition is not None and image is None else 1
        num_shared = min(len(weights.middle), 1) + 1  # layers before what an image adds
        num_layers = num_shared + max(len(weights.middle) - 1, 0) * seen_by
        num_kept = len(points) * num_layers * self.hidden
        return _in_pieces(values, points, image, count, num_kept)

    @nn.compact
    def _weights(self, condition: Array | None) -> tuple[MLPWeights, Array | None]:
        """Those of all layers, and what is added for each image."""
        first, bias = Linear(self.hidden, name="input").weights(3 + 6 * self.num_frequencies)
        middle = []
        if condition is not None:
            kernel = self.param(
                "conditioned", torch_kernel_init, (self.hidden + condition.shape[-1], self.hidden)
            )
            condition = nn.relu(condition) @ kernel[self.hidden :]
            middle.append(kernel[: self.hidden])
        num_layers = self.num_layers - len(middle)
        *others, last = MLP(self.features, self.hidden, num_layers, name="mlp").kernels(self.hidden)
        middle = (
            jnp.stack(middle + others) if middle + others else jnp.zeros((0, *first.shape[1:] * 2))
        )
        return MLPWeights(first, bias, middle, last), condition

    def _mirrored(self, points: Array) -> Array:
        if not self.mirror:
            return points
        return jnp.concatenate([jnp.abs(points[..., :1]), points[..., 1:]], axis=-1)


def _in_pieces(
    values: Callable[..., Array],
    points: Array,
    image: Array | None,
    count: Array | None,
    num_kept: int,
) -> Array:
    """The values at as many points at a time as may be kept; the gradient computes them again.

    Args:
      num_kept: values that a gradient at all points at once would keep.
    """
    num_points = len(points)
    num_pieces = min(-(-num_kept // _MOST_KEPT_VALUES), num_points)
    if num_pieces <= 1:
        return values(points, image, count)
    size = -(-num_points // num_pieces)

    def cut(rows: Array) -> Array:
        rows = jnp.pad(rows, [(0, num_pieces * size - num_points)] + [(0, 0)] * (rows.ndim - 1))
        return rows.reshape(num_pieces, size, *rows.shape[1:])

    # Negative where all of a piece is padding.
    counts = None if count is None else count - size * jnp.arange(num_pieces, dtype=jnp.int32)
    piece = jax.checkpoint(lambda rows: values(*rows), prevent_cse=False)
    pieces = lax.map(piece, (*jax.tree.map(cut, (points, image)), counts))
    pieces = jnp.moveaxis(pieces, 0, -3)
    pieces = pieces.reshape(*pieces.shape[:-3], num_pieces * size, pieces.shape[-1])
    return pieces[..., :num_points, :]
