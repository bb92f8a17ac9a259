"""Marching through the cells of a lattice."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pony_jax.kernels.library import call, whole
from pony_jax.ops.lattice_cells import EDGES, Cells, owners_of_edges
from pony_jax.ops.marching_tets import TRIANGLES
from pony_jax.ops.tet_grid import LOCAL_POINTS, LOCAL_TETS


def accepts_march(
    cells: Cells, *, strides: tuple[int, int, int], max_verts: int, max_faces: int
) -> bool:
    return len(cells.index) > 0


def cells_at_surface(
    inside: Array, block_of_vertex: Array, *, max_cells: int, num_blocks: int
) -> tuple[Cells, Array]:
    n, num_cells = max_cells, math.prod(size - 1 for size in inside.shape[1:])
    touched = jax.ShapeDtypeStruct((num_blocks,), jnp.bool_)
    results = [whole(n), whole(n), whole(num_cells), whole(), touched]
    points = jnp.asarray(LOCAL_POINTS, jnp.int32)
    *cells, touched = call("LatticeCells", results, inside, points, block_of_vertex)
    return Cells(*cells), touched


def march_cells(
    cells: Cells, *, strides: tuple[int, int, int], max_verts: int, max_faces: int
) -> tuple[Array, ...]:
    results = [whole(max_verts), whole(), whole(max_faces, 3), whole()]
    tables = EDGES, LOCAL_TETS, owners_of_edges(strides), TRIANGLES
    tables = [jnp.asarray(table, jnp.int32) for table in tables]
    return tuple(call("LatticeMarch", results, *cells[:3], *tables))
