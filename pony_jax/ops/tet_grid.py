"""A tetrahedral grid: a body-centred cubic lattice that fills a box exactly."""

import dataclasses
import functools

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


@functools.cache
def lattice_grid(resolution: int, extent: tuple[float, float, float]) -> TetGrid:
    """A body-centred cubic lattice in a box centred on the origin.

    Layers of vertices alternate between cube corners and cube centres. Every face that two cubes
    share gives four tetrahedra around the line between their centres; a face on the boundary gives
    two, so the box is filled without gaps and the grid is its own mirror image in each axis up to
    the diagonals of boundary faces.

    Args:
      resolution: number of lattice layers along the longest side; even, at least 2.
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
    cells = np.maximum(np.rint(np.array(extent) / side), 1).astype(int)

    def lattice(shape: np.ndarray, first: float) -> tuple[np.ndarray, np.ndarray]:
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        return (index.reshape(-1, 3) + first - cells / 2) * side, index

    corners, _ = lattice(cells + 1, 0.0)
    centres, _ = lattice(cells, 0.5)
    corner_id = np.arange(len(corners)).reshape(cells + 1)
    centre_id = np.arange(len(centres)).reshape(cells) + len(corners)

    tets = []
    for axis in range(3):
        # Ids of the faces orthogonal to `axis`, as [layer, u, v] with the axis in front.
        corner = np.moveaxis(corner_id, axis, 0)
        centre = np.moveaxis(centre_id, axis, 0)
        quad = [
            corner[:, du : du + centre.shape[1], dv : dv + centre.shape[2]]
            for du, dv in ((0, 0), (1, 0), (1, 1), (0, 1))
        ]
        for k in range(4):
            tets.append([centre[:-1], centre[1:], quad[k][1:-1], quad[(k + 1) % 4][1:-1]])
        for apex, face in ((centre[0], 0), (centre[-1], -1)):
            a, b, c, d = (corner_ids[face] for corner_ids in quad)
            tets += [[apex, a, b, c], [apex, a, c, d]]
    tets = np.concatenate([np.stack(t, axis=-1).reshape(-1, 4) for t in tets])

    verts = np.concatenate([corners, centres])
    p = verts[tets]
    flipped = np.linalg.det(p[:, 1:] - p[:, :1]) < 0
    tets[flipped] = tets[flipped][:, [0, 1, 3, 2]]
    return grid_from_tets(verts, tets)
