"""The network behind every field: a function of a point and, possibly, of one vector per image."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pony_jax.modules.linear import MLP, Linear, torch_kernel_init
from pony_jax.ops.harmonic import harmonic_embedding


class CoordinateMLP(nn.Module):
    """Harmonic embedding, a layer with bias, then layers without.

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

    @nn.compact
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
            if image is None:
                per_point = per_image[:, None]
            else:
                # A product with one-hot rows, because its transpose is a product as well: the
                # transpose of a gather is a scatter, which a CPU does one row after the other.
                per_point = nn.one_hot(image, len(condition), dtype=h.dtype) @ per_image
            h = nn.relu(h @ kernel[: self.hidden] + per_point)
            num_layers -= 1
        return MLP(self.features, self.hidden, num_layers, name="mlp")(h)
