"""The fields of the prior and of the instance: functions of a point of the rest shape."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pony_jax.modules.coordinate_mlp import CoordinateMLP
from pony_jax.ops.substitution import without_substitutes

# Embedding frequencies start at 0.9 of the grid's own wave number (the original's choice).
_FREQUENCY = 0.9 * 2 * np.pi


def _network(field: nn.Module, *, features: int) -> CoordinateMLP:
    """The network of a field, of the sizes that all fields name alike."""
    return CoordinateMLP(
        features=features,
        hidden=field.hidden,
        num_layers=field.num_layers,
        num_frequencies=field.num_frequencies,
        frequency_scale=_FREQUENCY / field.grid_scale,
        mirror=field.mirror,
        name="network",
    )


class SDFField(nn.Module):
    """Signed distance of the prior shape, positive inside.

    MagicPony@e4a8b20:magicpony/geometry/dmtet.py. A simple shape starts it; the network adds to it.

    Attributes:
      start: 'ellipsoid', 'sphere' of radius 0.25 `grid_scale`, or 'constant'. (Only the sphere is a
        true distance: the ellipsoid's is to its surface squeezed to a ball.)
      ellipsoid: half axes of the start (x, y, z), in units of 0.15 `grid_scale`; (1, 1, 2) in the
        original.
      constant: the value everywhere of that start, world units; 0 leaves the network alone.
      mirror: whether the shape is symmetric in x = 0. Every start is.
    """

    start: str
    ellipsoid: tuple[float, float, float]
    constant: float
    hidden: int
    num_layers: int
    num_frequencies: int
    grid_scale: float
    mirror: bool

    def setup(self) -> None:
        self.network = _network(self, features=1)

    def __call__(
        self, points: Float[Array, "n 3"], count: Int[Array, ""] | None = None
    ) -> Float[Array, " n"]:
        """Values; points from `count` on are padding, where they mean nothing."""
        return self.network(points, count=count)[..., 0] + self._starting_shape(points)

    def gradient(self, points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        """Gradient of the values with respect to the points; differentiable like any function."""
        # What is differentiated twice is computed as it is written in any case: substitutes would
        # only compute the values once more.
        with without_substitutes():
            return jax.grad(lambda points: jnp.sum(self(points)))(points)

    def _starting_shape(self, points: Array) -> Array:
        if self.start == "constant":
            return jnp.full(points.shape[:-1], self.constant)
        sphere = self.start == "sphere"
        squeezed = points if sphere else points / jnp.array(self.ellipsoid)
        # Written out: XLA's CPU backend takes ten times as long for a sum of three (`jnp.sum`).
        x, y, z = jnp.moveaxis(squeezed, -1, 0)
        # The tiny constant keeps the gradient finite (zero) at the origin.
        radius = jnp.sqrt(x * x + y * y + z * z + 1e-12)
        return (0.25 if sphere else 0.15) * self.grid_scale - radius


class FeatureField(nn.Module):
    """Self-supervised feature of a surface point, one for the category, in 0..1.

    Attributes:
      mirror: whether features are the same left and right.
    """

    features: int
    hidden: int
    num_layers: int
    num_frequencies: int
    grid_scale: float
    mirror: bool

    @nn.compact
    def __call__(
        self, points: Float[Array, "n 3"], count: Int[Array, ""] | None = None
    ) -> Float[Array, "n c"]:
        """Values; points from `count` on are padding, where they mean nothing."""
        network = _network(self, features=self.features)
        return nn.sigmoid(network(points, count=count))


class TextureField(nn.Module):
    """Albedo of a surface point, given the appearance vector of its image; 0..1.

    Attributes:
      mirror: whether the albedo is the same left and right.
    """

    hidden: int
    num_layers: int
    num_frequencies: int
    grid_scale: float
    mirror: bool

    @nn.compact
    def __call__(
        self,
        points: Float[Array, "n 3"],
        appearance: Float[Array, "b c"],
        image: Int[Array, " n"],
        count: Int[Array, ""] | None = None,
    ) -> Float[Array, "n 3"]:
        """Values; points from `count` on are padding, where they mean nothing."""
        network = _network(self, features=3)
        return nn.sigmoid(network(points, appearance, image, count))


class DeformationField(nn.Module):
    """Offset of a vertex of the prior shape, given the shape vector of its image, world units.

    Attributes:
      mirror: whether both sides move the same way. The offset is then a function of (|x|, y, z), so
        its x part shifts them together instead of mirroring (a quirk of the original, kept: bodies
        do bend sideways).
    """

    hidden: int
    num_layers: int
    num_frequencies: int
    grid_scale: float
    mirror: bool

    @nn.compact
    def __call__(
        self,
        verts: Float[Array, "v 3"],
        shape_feature: Float[Array, "b c"],
        count: Int[Array, ""] | None = None,
    ) -> Float[Array, "b v 3"]:
        """Offsets; 0 for vertices from `count` on, which are padding."""
        network = _network(self, features=3)
        return 0.1 * network(verts, shape_feature, count=count)
