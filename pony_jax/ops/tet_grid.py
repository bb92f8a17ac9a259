"""Tetrahedral grids: tables of any grid, and a body-centred cubic lattice that fills a box."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# The six edges of a tetrahedron as pairs of its corners, in the order of marching tetrahedra.
TET_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


@dataclasses.dataclass(frozen=True, eq=False)
class TetGrid:
    """A tetrahedral grid with the topology that marching tetrahedra need, made once on the host.

    Attributes:
      verts: grid vertices, object frame, world units.
      tets: corners of each tetrahedron, positively oriented.
      edges: every edge once, smaller vertex first, in lexicographic order.
      tet_edges: rows of `edges` for the edges 01, 02, 03, 12, 13, 23 of each tetrahedron.
    """

    verts: Float[np.ndarray, "n 3"]
    tets: Int[np.ndarray, "t 4"]
    edges: Int[np.ndarray, "e 2"]
    tet_edges: Int[np.ndarray, "t 6"]


def grid_from_tets(verts: Float[np.ndarray, "n 3"], tets: Int[np.ndarray, "t 4"]) -> TetGrid:
    """Adds the edge tables to tetrahedra."""
    pairs = np.sort(tets[:, np.array(TET_EDGES)], axis=-1).reshape(-1, 2).astype(np.int64)
    keys, tet_edges = np.unique(pairs[:, 0] * len(verts) + pairs[:, 1], return_inverse=True)
    edges = np.stack([keys // len(verts), keys % len(verts)], axis=-1)
    return TetGrid(
        np.asarray(verts, np.float32),
        np.asarray(tets, np.int32),
        edges.astype(np.int32),
        tet_edges.reshape(-1, 6).astype(np.int32),
    )


class Lattice(NamedTuple):
    """A body-centred cubic lattice in a box centred on the origin: corners and centres of cubes.

    Cell (i, j, k) stands for a cube's lowest corner and its centre; the cells at the upper ends
    have a corner only. Vertices are numbered cell by cell, k fastest, corner before centre.

    Attributes:
      num_cubes: along x, y, z.
      side: of a cube, world units.
    """

    num_cubes: tuple[int, int, int]
    side: float

    @property
    def num_cells(self) -> tuple[int, int, int]:
        """One more than cubes: the last layer of corners has no cube above it."""
        x, y, z = self.num_cubes
        return x + 1, y + 1, z + 1


def box_lattice(resolution: int, extent: tuple[float, float, float]) -> Lattice:
    """The lattice for a box.

    Args:
      resolution: number of layers (corners and centres alternate) along the longest side; even, at
        least 2.
      extent: full side lengths of the box (x, y, z), world units. Each is rounded to a whole number
        of cubes, at least one.

    Raises:
      ValueError: for an odd or too small resolution, or a side that is not positive.
    """
    if resolution < 2 or resolution % 2:
        raise ValueError(f"grid resolution: expected an even number >= 2, got {resolution}")
    if min(extent) <= 0:
        raise ValueError(f"grid extent: expected three positive lengths, got {extent}")
    side = 2 * max(extent) / resolution
    return Lattice(tuple(max(round(length / side), 1) for length in extent), side)


@functools.cache
def lattice_grid(lattice: Lattice) -> TetGrid:
    """The tetrahedra of a lattice: four around the line between the centres of adjacent cubes.

    They fill the box up to its outermost centres, and between those up to its faces. They come cell
    by cell (that of the lower centre), then by axis x, y, z, then around the line.
    """
    exists = np.ones((*lattice.num_cells, 2), bool)
    for axis in range(3):
        np.moveaxis(exists, axis, 0)[-1, ..., 1] = False
    number = np.where(exists, np.cumsum(exists).reshape(exists.shape) - 1, -1)
    number = np.pad(number, [(0, 1)] * 3 + [(0, 0)], constant_values=-1)
    near = np.argwhere(exists[..., 1])[:, None] + LOCAL_POINTS[:, :3]
    near = number[near[..., 0], near[..., 1], near[..., 2], LOCAL_POINTS[:, 3]]
    tets = near[:, LOCAL_TETS].reshape(-1, 4)

    points = np.argwhere(exists)
    middle = np.array(lattice.num_cubes) / 2
    verts = (points[:, :3] + points[:, 3:] / 2 - middle) * lattice.side
    return grid_from_tets(verts, tets[np.all(tets >= 0, axis=-1)])


# The twelve vertices that the edges and tetrahedra of a cell touch, in the order of their numbers:
# steps along x, y, z to the vertex's own cell, and whether it is a corner (0) or a centre (1).
LOCAL_POINTS = np.array(
    sorted(
        [(*corner, 0) for corner in np.ndindex(2, 2, 2)]
        + [(0, 0, 0, 1), (1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1)]
    )
)


def _local_tets() -> Int[np.ndarray, "12 4"]:
    """The tetrahedra between a cell's centre and the next centres, as rows of `LOCAL_POINTS`."""
    row = {tuple(point): i for i, point in enumerate(LOCAL_POINTS)}
    tets = []
    for axis in range(3):
        step = np.eye(3, dtype=int)
        square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) @ np.delete(step, axis, axis=0)
        around = [row[*(step[axis] + corner), 0] for corner in square]
        line = row[0, 0, 0, 1], row[*step[axis], 1]
        tets += [(*line, around[i], around[(i + 1) % 4]) for i in range(4)]
    tets = np.array(tets)
    position = LOCAL_POINTS[:, :3] + LOCAL_POINTS[:, 3:] / 2
    corners = position[tets]
    flipped = np.linalg.det(corners[:, 1:] - corners[:, :1]) < 0
    tets[flipped] = tets[flipped][:, [0, 1, 3, 2]]
    return tets


LOCAL_TETS = _local_tets()
