"""The cells of a lattice that a surface passes, and the triangles in them.

A code has one bit for the sign of each of `LOCAL_POINTS`, the vertices that a cell touches.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from pony_jax.ops.marching_tets import compact, triangulate
from pony_jax.ops.substitution import substitutable
from pony_jax.ops.tet_grid import LOCAL_POINTS, LOCAL_TETS, TET_EDGES


def _edge_tables() -> tuple[np.ndarray, np.ndarray]:
    """Edges that a cell owns, and where to find those of its tetrahedra.

    A cell owns the edges whose first end is its corner or its centre.

    Returns:
      Their ends as rows of `LOCAL_POINTS`, in lexicographic order; and for each of the edges of
      `LOCAL_TETS` the step to the cell that owns it, with its place among that cell's edges.
    """
    row = {tuple(point): i for i, point in enumerate(LOCAL_POINTS)}
    ends = np.sort(LOCAL_TETS[:, np.array(TET_EDGES)].reshape(-1, 2), axis=-1)
    first, second = LOCAL_POINTS[ends[:, 0]], LOCAL_POINTS[ends[:, 1]]
    step = first * [1, 1, 1, 0]
    seen = [(row[*a], row[*b]) for a, b in zip(first - step, second - step, strict=True)]
    edges = sorted(set(seen))
    place = np.array([edges.index(edge) for edge in seen])
    owners = np.concatenate([step[:, :3], place[:, None]], axis=-1)
    return np.array(edges), owners.reshape(len(LOCAL_TETS), len(TET_EDGES), 4)


EDGES, EDGE_OWNERS = _edge_tables()
_SIGNS = np.arange(1 << len(LOCAL_POINTS))[:, None] >> np.arange(len(LOCAL_POINTS)) & 1
_CROSSING = _SIGNS[:, EDGES[:, 0]] != _SIGNS[:, EDGES[:, 1]]
_TET_CASES = (_SIGNS[:, LOCAL_TETS] @ [1, 2, 4, 8]).astype(np.uint8)


class Cells(NamedTuple):
    """The cells whose neighbourhood has both signs, in order, packed (`n` is a capacity).

    Attributes:
      index: number in the whole lattice.
      code: signs of the neighbourhood; 0 for padding.
      row: of every cell of the lattice, its place among these (wrong for all others).
      count: wanted.
    """

    index: Int[Array, " n"]
    code: Int[Array, " n"]
    row: Int[Array, " c"]
    count: Int[Array, ""]


@substitutable
def cells_at_surface(
    inside: Bool[Array, "2 x1 y1 z1"],
    block_of_vertex: Int[Array, "2 x1 y1 z1"],
    *,
    max_cells: int,
    num_blocks: int,
) -> tuple[Cells, Bool[Array, " b"]]:
    """The cells that a surface passes, and the blocks whose vertices they touch.

    Args:
      inside: signs of corners and centres; along each axis one layer more than there are cells.
      block_of_vertex: of 0 .. num_blocks - 1.
    """
    x, y, z = (size - 1 for size in inside.shape[1:])
    code = jnp.zeros((x, y, z), jnp.uint16)
    for bit, (i, j, k, kind) in enumerate(LOCAL_POINTS):
        code |= inside[kind, i : i + x, j : j + y, k : k + z].astype(jnp.uint16) << bit
    passed = (code > 0) & (code < len(_SIGNS) - 1)
    near = jnp.zeros_like(inside)  # vertices that the cells touch
    for i, j, k, kind in LOCAL_POINTS:
        near |= jnp.pad(passed[None], [(kind, 1 - kind), (i, 1 - i), (j, 1 - j), (k, 1 - k)])
    prefix, index = compact(passed.reshape(-1), max_cells)
    packed = code.reshape(-1).at[index].get(mode="fill", fill_value=0).astype(jnp.int32)
    cells = Cells(jnp.minimum(index, code.size - 1), packed, prefix - 1, prefix[-1])
    return cells, jnp.zeros(num_blocks, bool).at[block_of_vertex].max(near)


@substitutable
def march_cells(
    cells: Cells, *, strides: tuple[int, int, int], max_verts: int, max_faces: int
) -> tuple[Int[Array, " v"], Int[Array, ""], Int[Array, "f 3"], Int[Array, ""]]:
    """The edges that the surface crosses, in order, and the faces; with the numbers wanted.

    Edges are numbered cell by cell of `cells`, as `EDGES` of each.

    Args:
      strides: between the numbers of neighbouring cells along each axis.
    """
    owners = owners_of_edges(strides)
    crossing = jnp.asarray(_CROSSING)[cells.code]
    prefix, edge = compact(crossing.reshape(-1), max_verts)
    verts_of_cell = jnp.sum(crossing, axis=-1, dtype=jnp.int32)
    first_vert = jnp.cumsum(verts_of_cell) - verts_of_cell

    cases = jnp.asarray(_TET_CASES)[cells.code]
    tet, edge_in_tet, face_count = triangulate(cases.reshape(-1), max_faces)
    cell, tet = tet // len(LOCAL_TETS), tet % len(LOCAL_TETS)
    step, place = jnp.moveaxis(jnp.asarray(owners)[tet[:, None], edge_in_tet], -1, 0)
    row = cells.row[cells.index[cell][:, None] + step]
    # Place of the edge among the crossing edges of its cell.
    before = jnp.cumsum(crossing, axis=-1, dtype=jnp.int32) - crossing
    faces = first_vert[row] + before[row, place]
    complete = jnp.all(faces < max_verts, axis=-1) & (jnp.arange(max_faces) < face_count)
    return edge, prefix[-1], jnp.where(complete[:, None], faces, -1), face_count


def owners_of_edges(strides: tuple[int, int, int]) -> Int[np.ndarray, "12 6 2"]:
    """`EDGE_OWNERS` with steps in numbers of cells."""
    return np.stack([EDGE_OWNERS[..., :3] @ np.array(strides), EDGE_OWNERS[..., 3]], axis=-1)
