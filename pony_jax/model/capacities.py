"""Sizes of the padded buffers, and how they grow."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int

from pony_jax.ops.sparse_marching_tets import SparseMesh


class Capacities(NamedTuple):
    """Sizes of the padded buffers, or the sizes that are wanted of them.

    Attributes:
      verts: of the mesh.
      faces: of the mesh.
      pixels: of the foreground of a batch.
      blocks: of the grid's cells that the surface may pass through.
      points: grid vertices at the ends of crossing edges.
    """

    verts: int
    faces: int
    pixels: int
    blocks: int
    points: int

    def covers(self, wanted: "Capacities") -> bool:
        """Whether buffers of these sizes hold what was wanted."""
        return all(have >= want for have, want in zip(self, wanted, strict=True))

    def grown_to(self, wanted: "Capacities") -> "Capacities":
        """The same sizes if they hold `wanted`; else sizes that hold it with an eighth to spare.

        Where one buffer was too small, all are given room: they fill up together, and each change
        is a compilation. New sizes are multiples of an eighth of a power of two, so that they recur
        between runs and the compilation cache knows them. A whole power of two would leave the
        networks up to twice the pixels that are there.
        """
        if self.covers(wanted):
            return self

        def grow(have: int, want: int) -> int:
            roomy = int(want * 1.125)
            if have >= roomy:
                return have
            unit = max(1 << int(want).bit_length() >> 4, 1)
            return -(-roomy // unit) * unit

        return Capacities(*map(grow, self, wanted))


NO_CAPACITIES = Capacities(*(0 for _ in Capacities._fields))
"""Where buffers start from; they grow to what is wanted."""


def wanted_capacities(shape: SparseMesh, pixel_count: Int[Array, ""] | int = 0) -> Capacities:
    """The sizes that a prior shape and a foreground want, whatever sizes their buffers have."""
    return Capacities(
        verts=shape.mesh.vert_count,
        faces=shape.mesh.face_count,
        pixels=pixel_count,
        blocks=shape.block_count,
        points=shape.point_count,
    )


def expected_capacities(
    half_axes: tuple[float, float, float],
    *,
    cell_size: float,
    mirror: bool,
    num_pixels: int,
) -> Capacities:
    """The sizes that an ellipsoid wants, and images of which it fills a quarter.

    Args:
      half_axes: of the ellipsoid, world units.
      cell_size: side of a cube of the tetrahedral lattice, world units.
      mirror: whether the field is evaluated on half of the lattice alone.
      num_pixels: of all images of a batch.
    """
    x, y, z = half_axes
    # Thomsen's formula for the area of an ellipsoid, within 2 %.
    area = 4 * np.pi * (((x * y) ** 1.6 + (x * z) ** 1.6 + (y * z) ** 1.6) / 3) ** (1 / 1.6)
    verts = 8 * area / cell_size**2  # 6.4 a cell's face are used (measured), and legs are to come
    sides = 1 if mirror else 2
    blocks, points = 0.1 * sides * verts, 0.33 * sides * verts  # a tenth more than measured
    return Capacities(*map(int, (verts, 2 * verts, 0.24 * num_pixels, blocks, points)))
