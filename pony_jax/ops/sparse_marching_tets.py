"""Marching tetrahedra on a lattice, at the cost of its surface instead of its volume.

The field is evaluated twice. First without gradient, in blocks of cells: a block's middle tells
whether the surface may pass through it, and the surface is followed into every block that it turns
out to enter. That gives signs, and signs give triangles. Then with gradient, at the ends of
crossing edges only: positions of vertices depend on nothing else.

`marching_tets` on `lattice_grid` is the dense reference: the same vertices and faces in the same
order. Only a piece of surface that lies within blocks that were all passed over can be missed; the
field must be steeper than `_STEEPEST` there.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pony_jax.native import geometry, uses_kernels
from pony_jax.ops.marching_tets import TRIANGLES, compact, triangulate
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.numerics import compute_once
from pony_jax.ops.tet_grid import LOCAL_POINTS, LOCAL_TETS, TET_EDGES, Lattice

_BLOCK = 2  # cells along each side of a block
# How steep the field may be where blocks are passed over at first sight. A distance has slope 1;
# where it is steeper, following the surface costs another pass.
_STEEPEST = 1.5

Field = Callable[[Float[Array, "n 3"], Int[Array, ""] | int], Float[Array, " n"]]
"""Values at points; those from the given one on are padding, whose values nothing reads."""


class SparseMesh(NamedTuple):
    """A mesh, and how many blocks and lattice vertices its making wanted, whatever the capacities.

    A count above its capacity means that the mesh is not to be used.
    """

    mesh: Mesh
    block_count: Int[Array, ""]
    point_count: Int[Array, ""]


def sparse_marching_tets(
    field: Field,
    lattice: Lattice,
    shift: Float[Array, "3"],
    *,
    mirror: bool,
    max_blocks: int,
    max_points: int,
    max_verts: int,
    max_faces: int,
) -> SparseMesh:
    """The zero level set of a field on a lattice; see `marching_tets` for the mesh.

    The mesh is closed: outside starts at the lattice's outermost centres (`closing_distance`).

    Args:
      field: positive inside, world units; pure and differentiable.
      shift: added to all lattice vertices, world units.
      mirror: whether the field is symmetric in x = 0; then `shift` must have no x.
      max_blocks: capacity of blocks of 2 x 2 x 2 cells that the surface may pass through.
      max_points: capacity of ends of crossing edges (those with x >= 0 if `mirror`).
      max_verts, max_faces: capacities of the mesh.
    """
    folded = _FoldedLattice(lattice, mirror)

    def values(halves: Int[Array, "*n 3"], count: Int[Array, ""] | int) -> Float[Array, "*n"]:
        """At coordinates in halves of the lattice's side; rows from `count` on are padding."""
        points = halves.astype(jnp.float32) * np.float32(lattice.side / 2) + shift
        in_row = math.prod(halves.shape[1:-1])
        sdf = field(points.reshape(-1, 3), count * in_row).reshape(halves.shape[:-1])
        return jnp.minimum(sdf, closing_distance(halves, lattice))

    cells, block_count = _follow_surface(values, folded, max_blocks, max_cells=max_verts)

    edge, vert_count, faces, face_count = _march(cells, folded, max_verts, max_faces)
    # Every cell has a crossing edge, so cells beyond the capacity mean vertices beyond it too.
    vert_count = jnp.maximum(vert_count, cells.count)

    used = jnp.arange(max_verts) < vert_count
    edge = jnp.minimum(edge, len(cells.code) * len(_EDGES) - 1)
    ends = jnp.asarray(LOCAL_POINTS[_EDGES])[edge % len(_EDGES)]  # [v, 2, 4]
    kind = ends[..., 3]
    cell = folded.unravel(cells.index[edge // len(_EDGES)])[:, None] + ends[..., :3]
    end_values, point_count = _values_at_ends(values, folded, kind, cell, used, max_points)
    a, b = jnp.moveaxis(folded.whole_halves(kind, cell), 1, 0).astype(jnp.float32) * np.float32(
        lattice.side / 2
    )
    s_a, s_b = end_values[:, :1], end_values[:, 1:]
    weight_b = s_a / jnp.where(used[:, None], s_a - s_b, 1.0)
    positions = compute_once(jnp.where(used[:, None], a + shift + (b - a) * weight_b, 0.0))
    return SparseMesh(Mesh(positions, faces, vert_count, face_count), block_count, point_count)


def closing_distance(
    halves: Int[Array, "*n 3"] | Int[np.ndarray, "*n 3"], lattice: Lattice
) -> Array:
    """Distance of lattice vertices from the box through the outermost centres, positive inside.

    Exactly 0 on it: the minimum with a field is a closed shape.

    Args:
      halves: coordinates in halves of the lattice's side.
    """
    steps = jnp.min(np.array(lattice.num_cubes) - 1 - abs(halves), axis=-1)
    return steps * np.float32(lattice.side / 2)


class _FoldedLattice:
    """Index arithmetic of a lattice, folded along x = 0 where the field is symmetric.

    A vertex is a kind (0 corner, 1 centre) and a cell. Coordinates count halves of a side, so
    along an axis of n cubes cell i has 2i - n + kind. Folding keeps what has no negative x.
    """

    def __init__(self, lattice: Lattice, mirror: bool):
        self.mirror = mirror
        self.num_cubes = np.array(lattice.num_cubes)
        self.side = lattice.side
        self.num_cells = lattice.num_cells
        x, y, z = lattice.num_cells
        cells = np.array([x // 2 + 1 if mirror else x, y, z])
        self.num_blocks = tuple(-(-cells // _BLOCK))
        self.shape = tuple(np.array(self.num_blocks) * _BLOCK)

    def unravel(self, index: Int[Array, "*n"]) -> Int[Array, "*n 3"]:
        """Cells of the whole lattice by their number."""
        return jnp.stack(jnp.unravel_index(index, self.num_cells), axis=-1)

    def whole_halves(self, kind: Array, cell: Array) -> Array:
        """Coordinates of vertices of the whole lattice."""
        return 2 * cell - self.num_cubes + kind[..., None]

    def halves(self, kind: Array, cell: Array) -> Array:
        """Coordinates of vertices of the folded lattice."""
        if not self.mirror:
            return self.whole_halves(kind, cell)
        x = 2 * cell[..., 0] + (kind + self.num_cubes[0]) % 2
        return jnp.concatenate([x[..., None], self.whole_halves(kind, cell)[..., 1:]], axis=-1)

    def fold(self, kind: Array, cell: Array) -> Array:
        """Cells where vertices of the whole lattice lie in the folded one."""
        if not self.mirror:
            return cell
        x = abs(2 * cell[..., 0] - self.num_cubes[0] + kind) // 2
        return jnp.concatenate([x[..., None], cell[..., 1:]], axis=-1)

    def unfolded(self, inside: Bool[Array, "2 i j k"]) -> Bool[Array, "2 x y z"]:
        """Signs of the whole lattice from those of the folded one."""
        x, y, z = self.num_cells
        column = np.arange(x)[:, None] * [1, 0, 0]
        rows = [self.fold(np.array(kind), column)[:, 0] for kind in (0, 1)]
        return jnp.stack([inside[kind, rows[kind], :y, :z] for kind in (0, 1)])

    def block_of_vertex(self) -> Int[Array, "2 x1 y1 z1"]:
        """Number of the block that each vertex of the whole lattice lies in.

        With a layer more along each axis, which cells touch but no surface reaches.
        """
        kind, *cell = np.indices((2, *(n + 1 for n in self.num_cells)))
        block = self.fold(kind, np.stack(cell, axis=-1)) // _BLOCK
        block = tuple(jnp.moveaxis(block, -1, 0))
        return jnp.ravel_multi_index(block, self.num_blocks, mode="clip").astype(jnp.int32)


# ------------------------------------------------------------------------------
# Tables of a cell's neighbourhood. A code has one bit for the sign of each of `LOCAL_POINTS`.
# ------------------------------------------------------------------------------


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


_EDGES, _EDGE_OWNERS = _edge_tables()
_SIGNS = np.arange(1 << len(LOCAL_POINTS))[:, None] >> np.arange(len(LOCAL_POINTS)) & 1
_CROSSING = _SIGNS[:, _EDGES[:, 0]] != _SIGNS[:, _EDGES[:, 1]]
_TET_CASES = (_SIGNS[:, LOCAL_TETS] @ [1, 2, 4, 8]).astype(np.uint8)


# ------------------------------------------------------------------------------
# Where the surface is
# ------------------------------------------------------------------------------


class _Cells(NamedTuple):
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


def _follow_surface(
    values: Callable[..., Array], folded: _FoldedLattice, max_blocks: int, max_cells: int
) -> tuple[_Cells, Int[Array, ""]]:
    """The cells at the surface, and the number of blocks that had to be evaluated."""
    corners = np.array(list(np.ndindex(2, _BLOCK, _BLOCK, _BLOCK)))

    def block_halves(block: Int[Array, " m"]) -> Int[Array, "m p 3"]:
        first = jnp.stack(jnp.unravel_index(block, folded.num_blocks), axis=-1) * _BLOCK
        return folded.halves(jnp.asarray(corners[:, 0]), first[:, None] + corners[:, 1:])

    num_blocks = int(np.prod(folded.num_blocks))
    with jax.ensure_compile_time_eval():
        middle_halves = jnp.mean(block_halves(jnp.arange(num_blocks)), axis=1)
        block_of_vertex = folded.block_of_vertex()
    middle = values(middle_halves, num_blocks)
    # From a block's middle to its outermost vertices: half of 2 `_BLOCK` layers along each axis.
    radius = np.sqrt(3) * (2 * _BLOCK - 1) / 4 * folded.side
    wanted = abs(middle) <= _STEEPEST * radius

    # Our kernels leave out what is padding; otherwise few go to waste.
    num_at_once = max_blocks if uses_kernels() else max(1, max_blocks // 8)

    def look(state: tuple[Array, Array]) -> tuple[Array, Array]:
        """Makes the signs exact in some of the blocks that are pending."""
        inside, pending = state
        prefix, block = compact(pending, num_at_once)
        exact = values(block_halves(block), jnp.minimum(prefix[-1], num_at_once)) > 0
        unique = {"mode": "drop", "unique_indices": True, "indices_are_sorted": True}
        return inside.at[block].set(exact, **unique), pending.at[block].set(False, **unique)

    def cells_of(inside: Bool[Array, "m p"]) -> tuple[_Cells, Array]:
        inside = inside.reshape(*folded.num_blocks, 2, _BLOCK, _BLOCK, _BLOCK)
        inside = inside.transpose(3, 0, 4, 1, 5, 2, 6).reshape(2, *folded.shape)
        inside = folded.unfolded(inside)
        return _cells_at_surface(inside, block_of_vertex, max_cells, num_blocks)

    def follow(state: tuple[Any, ...]) -> tuple[Any, ...]:
        wanted, pending, inside, _ = state
        inside, _ = lax.while_loop(lambda state: jnp.any(state[1]), look, (inside, pending))
        cells, touched = cells_of(inside)
        more = wanted | touched
        return more, more & ~wanted, inside, cells

    def goes_on(state: tuple[Any, ...]) -> Bool[Array, ""]:
        wanted, pending, *_ = state
        return jnp.any(pending) & (jnp.sum(wanted) <= max_blocks)

    # Outside of the blocks that are wanted, a block has the sign of its middle.
    inside = jnp.broadcast_to(middle[:, None] > 0, (num_blocks, len(corners)))
    state = follow((wanted, wanted, inside, None))
    wanted, _, _, cells = lax.while_loop(goes_on, follow, state)
    return cells, jnp.sum(wanted, dtype=jnp.int32)


def _cells_at_surface(
    inside: Bool[Array, "2 x y z"],
    block_of_vertex: Int[Array, "2 x1 y1 z1"],
    max_cells: int,
    num_blocks: int,
) -> tuple[_Cells, Bool[Array, " b"]]:
    """The cells, and the blocks whose vertices they touch."""
    padded = jnp.pad(inside, [(0, 0), (0, 1), (0, 1), (0, 1)])
    if uses_kernels():
        points = jnp.asarray(LOCAL_POINTS, jnp.int32)
        sizes = max_cells, num_blocks
        *cells, touched = geometry.lattice_cells(padded, points, block_of_vertex, *sizes)
        return _Cells(*cells), touched
    x, y, z = inside.shape[1:]
    code = jnp.zeros((x, y, z), jnp.uint16)
    for bit, (i, j, k, kind) in enumerate(LOCAL_POINTS):
        code |= padded[kind, i : i + x, j : j + y, k : k + z].astype(jnp.uint16) << bit
    passed = (code > 0) & (code < len(_SIGNS) - 1)
    near = jnp.zeros_like(padded)  # vertices that the cells touch
    for i, j, k, kind in LOCAL_POINTS:
        near |= jnp.pad(passed[None], [(kind, 1 - kind), (i, 1 - i), (j, 1 - j), (k, 1 - k)])
    prefix, index = compact(passed.reshape(-1), max_cells)
    packed = code.reshape(-1).at[index].get(mode="fill", fill_value=0).astype(jnp.int32)
    cells = _Cells(jnp.minimum(index, code.size - 1), packed, prefix - 1, prefix[-1])
    return cells, jnp.zeros(num_blocks, bool).at[block_of_vertex].max(near)


# ------------------------------------------------------------------------------
# What the mesh is made of
# ------------------------------------------------------------------------------


def _values_at_ends(
    values: Callable[..., Array],
    folded: _FoldedLattice,
    kind: Int[Array, "v 2"],
    cell: Int[Array, "v 2 3"],
    used: Bool[Array, " v"],
    max_points: int,
) -> tuple[Float[Array, "v 2"], Int[Array, ""]]:
    """The field at both ends of each edge, each lattice vertex evaluated once; their number."""
    shape = (2, *folded.shape)
    place = (kind, *jnp.moveaxis(folded.fold(kind, cell), -1, 0))
    place = jnp.ravel_multi_index(place, shape, mode="clip")
    place = jnp.where(used[:, None], place, int(np.prod(shape)))
    is_end = jnp.zeros(np.prod(shape), bool).at[place].set(True, mode="drop")
    prefix, point = compact(is_end, max_points)
    kind, *cell = jnp.unravel_index(point, shape)
    at_points = values(folded.halves(kind, jnp.stack(cell, axis=-1)), prefix[-1])
    row = prefix.at[place].get(mode="fill", fill_value=1) - 1
    return at_points[jnp.minimum(row, max_points - 1)], prefix[-1]


def _march(
    cells: _Cells, folded: _FoldedLattice, max_verts: int, max_faces: int
) -> tuple[Int[Array, " v"], Int[Array, ""], Int[Array, "f 3"], Int[Array, ""]]:
    """The edges that the surface crosses, in order, and the faces; with the numbers wanted.

    Edges are numbered cell by cell of `cells`, as `_EDGES` of each.
    """
    strides = np.array([folded.num_cells[1] * folded.num_cells[2], folded.num_cells[2], 1])
    owners = np.stack([_EDGE_OWNERS[..., :3] @ strides, _EDGE_OWNERS[..., 3]], axis=-1)
    if uses_kernels():
        tables = [jnp.asarray(t, jnp.int32) for t in (_EDGES, LOCAL_TETS, owners, TRIANGLES)]
        return geometry.lattice_march(cells[:3], tables, max_verts, max_faces)
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
