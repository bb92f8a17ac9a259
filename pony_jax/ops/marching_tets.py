"""Marching tetrahedra with static shapes: no sort, no unique, no host; XLA computes all of it."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pony_jax.ops.mesh import Mesh
from pony_jax.ops.tet_grid import TetGrid

# Per occupancy case (bit i: corner i inside) the crossing edges of up to two triangles: the table
# of Doi and Koide (1991) in the edge numbering and winding that DMTet uses, normals inwards.
TRIANGLES = np.array(
    [
        [-1, -1, -1, -1, -1, -1],
        [1, 0, 2, -1, -1, -1],
        [4, 0, 3, -1, -1, -1],
        [1, 4, 2, 1, 3, 4],
        [3, 1, 5, -1, -1, -1],
        [2, 3, 0, 2, 5, 3],
        [1, 4, 0, 1, 5, 4],
        [4, 2, 5, -1, -1, -1],
        [4, 5, 2, -1, -1, -1],
        [4, 1, 0, 4, 5, 1],
        [3, 2, 0, 3, 5, 2],
        [1, 3, 5, -1, -1, -1],
        [4, 1, 2, 4, 3, 1],
        [3, 0, 4, -1, -1, -1],
        [2, 0, 1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1],
    ],
    np.int32,
).reshape(16, 2, 3)
_TRIANGLE_COUNT = np.array([0, 1, 1, 2, 1, 2, 2, 1, 1, 2, 2, 1, 2, 1, 1, 0], np.int32)


def compact(flags: Bool[Array, " n"], capacity: int) -> tuple[Int[Array, " n"], Int[Array, " c"]]:
    """Inclusive prefix sum of `flags`, and the positions of its first `capacity` true entries.

    Positions past the last true entry are n. A search in the prefix sum costs c log n gathers,
    where a scatter would cost n writes one after the other on a CPU.
    """
    prefix = jnp.cumsum(flags, dtype=jnp.int32)
    return prefix, jnp.searchsorted(prefix, jnp.arange(1, capacity + 1, dtype=jnp.int32))


def marching_tets(
    sdf: Float[Array, " n"],
    verts: Float[Array, "n 3"],
    grid: TetGrid,
    max_verts: int,
    max_faces: int,
) -> Mesh:
    """The zero level set of a function given at the vertices of a tetrahedral grid.

    Vertices and faces come in the order of MagicPony@e4a8b20:magicpony/geometry/dmtet.py (vertices
    by lexicographic edge; first the tetrahedra with one triangle, then those with two). Faces are
    wound so that (v1 - v0) x (v2 - v0) points into the shape. Zero counts as outside.

    Args:
      sdf: value at the grid vertices, positive inside.
      verts: positions of the grid vertices (`grid.verts`, possibly moved).
      grid: topology.
      max_verts: capacity; vertices beyond it are lost, which `vert_count > max_verts` tells.
      max_faces: capacity of faces, likewise.

    Returns:
      The padded mesh; its counts are those wanted, whatever the capacities. Gradients reach `sdf`
      and `verts` through the positions of the mesh's vertices.
    """
    inside = sdf > 0
    edge_a, edge_b = grid.edges.T
    crossing = inside[edge_a] != inside[edge_b]
    vert_of_edge, edge = compact(crossing, max_verts)
    vert_count = vert_of_edge[-1]
    edge = jnp.minimum(edge, len(grid.edges) - 1)
    a, b = jnp.asarray(grid.edges)[edge].T
    used = (jnp.arange(max_verts) < vert_count)[:, None]
    s_a, s_b = sdf[a][:, None], sdf[b][:, None]
    weight_b = s_a / jnp.where(used, s_a - s_b, 1.0)
    positions = jnp.where(used, verts[a] + (verts[b] - verts[a]) * weight_b, 0.0)

    case = jnp.sum(inside[grid.tets] * np.array([1, 2, 4, 8], np.int32), axis=-1)
    tet, edge_in_tet, face_count = triangulate(case, max_faces)
    edge_of_face = jnp.take_along_axis(jnp.asarray(grid.tet_edges)[tet], edge_in_tet, axis=-1)
    faces = vert_of_edge[edge_of_face] - 1
    # A face whose vertex did not fit is padding too: the counts tell, nothing points nowhere.
    complete = jnp.all(faces < max_verts, axis=-1) & (jnp.arange(max_faces) < face_count)
    return Mesh(positions, jnp.where(complete[:, None], faces, -1), vert_count, face_count)


def triangulate(
    case: Int[Array, " t"], max_faces: int
) -> tuple[Int[Array, " f"], Int[Array, "f 3"], Int[Array, ""]]:
    """The triangles of tetrahedra of known occupancy (bit i: corner i inside).

    Returns:
      Of each triangle its tetrahedron and that one's edges (rows of `TET_EDGES`) that its corners
      lie on, both meaningless beyond the last triangle; and the number of triangles wanted.
    """
    triangles = jnp.asarray(_TRIANGLE_COUNT)[case]
    prefix_one, tets_one = compact(triangles == 1, max_faces)
    prefix_two, tets_two = compact(triangles == 2, (max_faces + 1) // 2)
    ones, twos = prefix_one[-1], prefix_two[-1]

    face = jnp.arange(max_faces)
    rest = jnp.clip(face - ones, 0)  # position among the triangles of two-triangle tetrahedra
    second = jnp.where(face < ones, 0, rest % 2)
    tet = jnp.where(face < ones, tets_one, tets_two[jnp.minimum(rest // 2, len(tets_two) - 1)])
    tet = jnp.minimum(tet, len(case) - 1)
    edge_in_tet = jnp.maximum(jnp.asarray(TRIANGLES)[case[tet], second], 0)
    return tet, edge_in_tet, ones + 2 * twos


def sign_change_edges(sdf: Float[Array, " n"], grid: TetGrid) -> Bool[Array, " e"]:
    """Edges whose ends differ in sign; zero has a sign of its own (as torch.sign)."""
    sign = jnp.sign(sdf)
    return sign[grid.edges[:, 0]] != sign[grid.edges[:, 1]]


def signed_volume(mesh: Mesh) -> Float[Array, ""]:
    """Volume inside a mesh; negative for faces wound inwards, as `marching_tets` makes them."""
    corners = mesh.verts[jnp.maximum(mesh.faces, 0)]
    volume = jnp.sum(corners[:, 0] * jnp.cross(corners[:, 1], corners[:, 2]), axis=-1) / 6
    return jnp.sum(jnp.where(mesh.faces[:, 0] >= 0, volume, 0.0))
