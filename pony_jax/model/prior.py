"""The prior: one shape and one feature field for the whole category."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pony_jax.modules.fields import FeatureField, SDFField
from pony_jax.ops.marching_tets import marching_tets
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.tet_grid import TetGrid, lattice_grid


class Prior(nn.Module):
    """Shape and feature fields of a category.

    Attributes:
      grid_extent: side lengths of the box that holds the shape, world units. The mesh is closed
        where the shape reaches the box.
      sdf_start, ellipsoid, sdf_constant: see `SDFField`.
      sdf_mirror, feature_mirror: whether shape and features are symmetric in x = 0.
      feature_dim: channels of the feature field.
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
        max_verts: int,
        max_faces: int,
        shift_yz: Float[Array, ""] | float = 0.0,
    ) -> Mesh:
        """The prior mesh, in the object frame.

        Args:
          shift_yz: added to y and z of all grid vertices (training jitter, world units). The
            original shifts x as well and so samples its symmetric field off-centre, which leaves
            the mesh without its symmetry.
        """
        lattice = _lattice(resolution, self.grid_extent, self.sdf_mirror)
        shift = jnp.array([0.0, 1.0, 1.0]) * shift_yz
        sdf = self.sdf(lattice.verts + shift)
        # The box's own distance closes the mesh at the boundary, where it is exactly zero: outside.
        sdf = jnp.minimum(sdf, lattice.box_distance)[lattice.row_of_vert]
        return marching_tets(sdf, lattice.grid.verts + shift, lattice.grid, max_verts, max_faces)

    def sdf_gradients(self, points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        """Gradient of the signed distance at some points; differentiable once more."""
        return jax.grad(lambda p: jnp.sum(self.sdf(p)))(points)


class _Lattice(NamedTuple):
    """A grid, and the points where the field must be known.

    Those are its vertices, or for a field that is symmetric in x = 0 only the ones with x >= 0.
    """

    grid: TetGrid
    verts: Float[np.ndarray, "h 3"]
    row_of_vert: Int[np.ndarray, " n"]
    box_distance: Float[np.ndarray, " h"]


@functools.cache
def _lattice(resolution: int, extent: tuple[float, float, float], mirror: bool) -> _Lattice:
    grid = lattice_grid(resolution, extent)
    folded = grid.verts
    if mirror:
        folded = np.concatenate([np.abs(grid.verts[:, :1]), grid.verts[:, 1:]], axis=1)
    # Lattice coordinates are multiples of a quarter of the cube, so rounding identifies them.
    _, first, row_of_vert = np.unique(
        np.rint(folded * 1e4).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    verts = folded[first]
    half_size = grid.verts.max(axis=0)
    box_distance = np.min(half_size - np.abs(verts), axis=-1)
    return _Lattice(grid, verts, row_of_vert.reshape(-1).astype(np.int32), box_distance)
