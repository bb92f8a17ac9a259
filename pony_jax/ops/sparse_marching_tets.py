"""Marching tetrahedra on a lattice, at the cost of its surface instead of its volume.

The field is evaluated twice. First without gradient, in blocks of cells: a block's middle tells
whether the surface may pass through it, and the surface is followed into every block that it turns
out to enter. That gives signs, and signs give triangles. Then with gradient, at the ends of
crossing edges only: positions of vertices depend on nothing else.

`dense_marching_tets` is the dense reference: the same vertices and faces in the same order. Only a
piece of surface that lies within blocks that were all passed over can be missed; the field must be
steeper than `_STEEPEST` there.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pony_jax.ops.lattice_cells import EDGES, Cells, cells_at_surface, march_cells
from pony_jax.ops.marching_tets import compact, marching_tets
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.tet_grid import LOCAL_POINTS, Lattice, lattice_grid

_BLOCK = 2  # cells along each side of a block
# How steep the field may be where blocks are passed over at first sight. A distance has slope 1;
# where it is steeper, following the surface costs another pass.
_STEEPEST = 1.5

Field = Callable[[Float[Array, "n 3"], Int[Array, ""] | int], Float[Array, " n"]]
"""Values at points; those from the given one on are padding, whose values nothing reads."""


class SparseMesh(NamedTuple):
    """A mesh, and how many blocks and lattice vertices its making wanted, whatever the capacities.

    A count above its capacity means that the mesh is not to be used.

    Attributes:
      steep_count: blocks that were passed over although the field seems steep enough there for
        some surface: a mesh that may lack a piece.
    """

    mesh: Mesh
    block_count: Int[Array, ""]
    point_count: Int[Array, ""]
    steep_count: Int[Array, ""]


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

    found = _follow_surface(values, folded, max_blocks, max_cells=max_verts)
    cells = found.cells
    _, y, z = folded.num_cells
    edge, vert_count, faces, face_count = march_cells(
        cells, strides=(y * z, z, 1), max_verts=max_verts, max_faces=max_faces
    )
    # Every cell has a crossing edge, so cells beyond the capacity mean vertices beyond it too.
    vert_count = jnp.maximum(vert_count, cells.count)

    used = jnp.arange(max_verts) < vert_count
    edge = jnp.minimum(edge, len(cells.code) * len(EDGES) - 1)
    ends = jnp.asarray(LOCAL_POINTS[EDGES])[edge % len(EDGES)]  # [v, 2, 4]
    kind = ends[..., 3]
    cell = folded.unravel(cells.index[edge // len(EDGES)])[:, None] + ends[..., :3]
    end_values, point_count = _values_at_ends(values, folded, kind, cell, used, max_points)
    a, b = jnp.moveaxis(folded.whole_halves(kind, cell), 1, 0).astype(jnp.float32) * np.float32(
        lattice.side / 2
    )
    s_a, s_b = end_values[:, :1], end_values[:, 1:]
    weight_b = s_a / jnp.where(used[:, None], s_a - s_b, 1.0)
    positions = jnp.where(used[:, None], a + shift + (b - a) * weight_b, 0.0)
    mesh = Mesh(positions, faces, vert_count, face_count)
    return SparseMesh(mesh, found.block_count, point_count, found.steep_count)


def dense_marching_tets(
    field: Field,
    lattice: Lattice,
    shift: Float[Array, "3"],
    *,
    mirror: bool,
    max_verts: int,
    max_faces: int,
) -> SparseMesh:
    """`sparse_marching_tets` at the cost of the volume: no surface can be missed.

    The field is evaluated at every lattice vertex (of x >= 0 if `mirror`), with its gradient: what
    a GPU does quickly. There are no blocks and no ends of edges to count: 0.
    """
    grid = lattice_grid(lattice)
    halves = np.rint(grid.verts / (lattice.side / 2)).astype(np.int32)
    folded = abs(halves) if mirror else halves
    if mirror:
        folded[:, 1:] = halves[:, 1:]
    unique, place = np.unique(folded, axis=0, return_inverse=True)
    points = unique.astype(np.float32) * np.float32(lattice.side / 2) + shift
    sdf = jnp.minimum(field(points, len(points)), closing_distance(unique, lattice))
    verts = halves.astype(np.float32) * np.float32(lattice.side / 2) + shift
    mesh = marching_tets(sdf[place.reshape(-1)], verts, grid, max_verts, max_faces)
    return SparseMesh(mesh, jnp.int32(0), jnp.int32(0), jnp.int32(0))


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
# Where the surface is
# ------------------------------------------------------------------------------


class _Found(NamedTuple):
    """The cells at the surface, the number of blocks that had to be evaluated, `steep_count`."""

    cells: Cells
    block_count: Int[Array, ""]
    steep_count: Int[Array, ""]


def _follow_surface(
    values: Callable[..., Array], folded: _FoldedLattice, max_blocks: int, max_cells: int
) -> _Found:
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

    num_at_once = max(1, max_blocks // 4)  # of the last ones that are evaluated, few are padding

    def look(state: tuple[Array, Array]) -> tuple[Array, Array]:
        """Makes the signs exact in some of the blocks that are pending."""
        inside, pending = state
        prefix, block = compact(pending, num_at_once)
        exact = values(block_halves(block), jnp.minimum(prefix[-1], num_at_once)) > 0
        unique = {"mode": "drop", "unique_indices": True, "indices_are_sorted": True}
        return inside.at[block].set(exact, **unique), pending.at[block].set(False, **unique)

    def cells_of(inside: Bool[Array, "m p"]) -> tuple[Cells, Array]:
        inside = inside.reshape(*folded.num_blocks, 2, _BLOCK, _BLOCK, _BLOCK)
        inside = inside.transpose(3, 0, 4, 1, 5, 2, 6).reshape(2, *folded.shape)
        inside = jnp.pad(folded.unfolded(inside), [(0, 0), (0, 1), (0, 1), (0, 1)])
        return cells_at_surface(inside, block_of_vertex, max_cells=max_cells, num_blocks=num_blocks)

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
    slope = _slopes(middle.reshape(folded.num_blocks), _BLOCK * folded.side).reshape(-1)
    steep = ~wanted & (slope > _STEEPEST) & (abs(middle) <= slope * radius)
    return _Found(cells, *(jnp.sum(flags, dtype=jnp.int32) for flags in (wanted, steep)))


def _slopes(values: Float[Array, "i j k"], step: float) -> Float[Array, "i j k"]:
    """The steepest difference of each value from its neighbours, `step` apart along the axes."""
    slope = jnp.zeros_like(values)
    for axis in range(3):
        along = abs(jnp.diff(values, axis=axis)) / step
        for side in ((1, 0), (0, 1)):
            slope = jnp.maximum(
                slope, jnp.pad(along, [side if a == axis else (0, 0) for a in range(3)])
            )
    return slope


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
