"""The network behind every field: a function of a point and, possibly, of one vector per image."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pony_jax.modules.linear import MLP, Linear, torch_kernel_init
from pony_jax.ops.harmonic import harmonic_embedding

# Values of a hidden layer that are worked on at once. More than the caches hold are no faster, and
# all layers of all points may be more than the memory holds (experiments/results/speed.md).
_MOST_HIDDEN_VALUES = 1 << 20


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
    ) -> Float[Array, "*b n o"]:
        """Values at `points`.

        With a `condition` alone every point is seen by every image: `[b, n, o]`. With `image` too,
        point i belongs to image `image[i]`, and the values are `[n, o]`, as without both.
        """
        num_points = len(points)
        images_a_point = len(condition) if condition is not None and image is None else 1
        num_pieces = -(-num_points * images_a_point * self.hidden // _MOST_HIDDEN_VALUES)
        num_pieces = min(num_pieces, num_points)
        if num_pieces <= 1 or self.is_initializing():
            return self._values(points, condition, image)
        size = -(-num_points // num_pieces)
        pieces = jax.tree.map(
            lambda rows: jnp.pad(
                rows, [(0, num_pieces * size - num_points)] + [(0, 0)] * (rows.ndim - 1)
            ).reshape(num_pieces, size, *rows.shape[1:]),
            (points, image),
        )

        def piece(network: "CoordinateMLP", _: None, rows: tuple) -> tuple[None, Array]:
            return None, network._values(rows[0], condition, rows[1])

        recomputed = nn.remat(piece, prevent_cse=False)
        mapped = nn.scan(recomputed, variable_broadcast="params", split_rngs={"params": False})
        _, values = mapped(self, None, pieces)
        values = jnp.moveaxis(values, 0, -3)
        values = values.reshape(*values.shape[:-3], num_pieces * size, self.features)
        return values[..., :num_points, :]

    @nn.compact
    def _values(
        self,
        points: Float[Array, "n 3"],
        condition: Float[Array, "b c"] | None,
        image: Int[Array, " n"] | None,
    ) -> Float[Array, "*b n o"]:
        if self.mirror:
            points = jnp.concatenate([jnp.abs(points[..., :1]), points[..., 1:]], axis=-1)
        embedded = points
        if self.num_frequencies:
            waves = harmonic_embedding(points, self.num_frequencies, self.frequency_scale)
            embedded = jnp.concatenate([points, waves], axis=-1)
        h = nn.relu(Linear(self.hidden, name="input")(embedded))
        num_layers = self.num_layers
        if condition is not None:
            kernel = self.param(
                "conditioned", torch_kernel_init, (h.shape[-1] + condition.shape[-1], self.hidden)
            )
            per_image = nn.relu(condition) @ kernel[self.hidden :]
            h = h @ kernel[: self.hidden]
            # Products, because their transposes are products as well. That of a broadcast to all
            # images is a sum over a leading axis, on which XLA's CPU backend takes 60 times as
            # long; that of a gather is a scatter, which a CPU does one row after the other.
            if image is None:
                h = jnp.einsum("b,nh->bnh", jnp.ones(len(condition)), h) + per_image[:, None]
            else:
                h += nn.one_hot(image, len(condition), dtype=h.dtype) @ per_image
            h = nn.relu(h)
            num_layers -= 1
        return MLP(self.features, self.hidden, num_layers, name="mlp")(h)
