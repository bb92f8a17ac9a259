"""The prior: one shape and one feature field for the whole category."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pony_jax.modules.fields import FeatureField, SDFField
from pony_jax.ops.sparse_marching_tets import (
    SparseMesh,
    dense_marching_tets,
    sparse_marching_tets,
)
from pony_jax.ops.tet_grid import box_lattice

MARCHES = ("auto", "sparse", "dense")


class Prior(nn.Module):
    """Shape and feature fields of a category.

    Attributes:
      grid_extent: side lengths of the box that holds the shape, world units. The mesh is closed
        where the shape reaches the box.
      sdf_start, ellipsoid, sdf_constant: see `SDFField`.
      sdf_mirror, feature_mirror: whether shape and features are symmetric in x = 0.
      feature_dim: channels of the feature field.
      march: how the mesh is made: 'sparse' follows the surface and may miss a piece where the field
        is steep (`SparseMesh.steep_count`), 'dense' looks everywhere; 'auto' is sparse on a CPU and
        dense elsewhere.
    """

    grid_scale: float
    grid_extent: tuple[float, float, float]
    sdf_start: str
    ellipsoid: tuple[float, float, float]
    sdf_constant: float
    sdf_hidden: int
    sdf_layers: int
    sdf_frequencies: int
    sdf_mirror: bool
    feature_dim: int
    feature_hidden: int
    feature_layers: int
    feature_frequencies: int
    feature_mirror: bool
    march: str

    def setup(self) -> None:
        self.sdf = SDFField(
            self.sdf_start,
            self.ellipsoid,
            self.sdf_constant,
            self.sdf_hidden,
            self.sdf_layers,
            self.sdf_frequencies,
            self.grid_scale,
            self.sdf_mirror,
        )
        self.feature = FeatureField(
            self.feature_dim,
            self.feature_hidden,
            self.feature_layers,
            self.feature_frequencies,
            self.grid_scale,
            self.feature_mirror,
        )

    @property
    def start_half_axes(self) -> tuple[float, float, float]:
        """Half axes of the starting shape, world units; a constant may fill the whole box."""
        if self.sdf_start == "constant":
            return tuple(side / 2 for side in self.grid_extent)
        if self.sdf_start == "sphere":
            return (0.25 * self.grid_scale,) * 3
        return tuple(0.15 * self.grid_scale * axis for axis in self.ellipsoid)

    def __call__(self, points: Float[Array, "n 3"]) -> tuple[Array, Array]:
        """Both fields at some points; makes all parameters."""
        return self.sdf(points), self.feature(points)

    def shape(
        self,
        resolution: int,
        *,
        max_blocks: int,
        max_points: int,
        max_verts: int,
        max_faces: int,
        shift_yz: Float[Array, ""] | float = 0.0,
    ) -> SparseMesh:
        """The prior mesh, in the object frame.

        Args:
          max_blocks, max_points, max_verts, max_faces: see `sparse_marching_tets`.
          shift_yz: added to y and z of all grid vertices (training jitter, world units). The
            original shifts x as well and so samples its symmetric field off-centre, which leaves
            the mesh without its symmetry.
        """
        # A plain function of points, which loops may call.
        sdf, variables = self.sdf.unbind()

        def field(points: Array, count: Array | int) -> Array:
            return sdf.apply(variables, points, count)

        lattice = box_lattice(resolution, self.grid_extent)
        shift = jnp.array([0.0, 1.0, 1.0]) * shift_yz
        how = {"mirror": self.sdf_mirror, "max_verts": max_verts, "max_faces": max_faces}
        if self._marches_densely():
            return dense_marching_tets(field, lattice, shift, **how)
        how |= {"max_blocks": max_blocks, "max_points": max_points}
        return sparse_marching_tets(field, lattice, shift, **how)

    def _marches_densely(self) -> bool:
        if self.march == "auto":
            return jax.default_backend() != "cpu"
        if self.march not in MARCHES:
            raise ValueError(f"march: expected one of {MARCHES}, got {self.march!r}")
        return self.march == "dense"

    def sdf_gradients(self, points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        """Gradient of the signed distance; see `SDFField.gradient`."""
        return self.sdf.gradient(points)
