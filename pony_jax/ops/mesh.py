"""Padded triangle meshes and their normals."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pony_jax.ops.numerics import safe_normalize


class Mesh(NamedTuple):
    """A triangle mesh in buffers of fixed size.

    Attributes:
      verts: positions, rest frame; padding is at the origin.
      faces: rows of `verts`; padding is (-1, -1, -1).
      vert_count: vertices wanted; more than `len(verts)` means that the mesh was cut.
      face_count: faces wanted.
    """

    verts: Float[Array, "v 3"]
    faces: Int[Array, "f 3"]
    vert_count: Int[Array, ""]
    face_count: Int[Array, ""]


def _by_vertex(x: Float[Array, "*b v 3"]) -> Float[Array, "v m"]:
    """The batch behind the vertices: gathers and scatters then move whole rows, several times
    faster on a CPU than one coordinate triple at a time."""
    return jnp.moveaxis(x, -2, 0).reshape(x.shape[-2], -1)


def _face_crosses(verts: Float[Array, "*b v 3"], faces: Int[Array, "f 3"]) -> Float[Array, "f n 3"]:
    """(v1 - v0) x (v2 - v0): normals with twice the area as length; 0 for padding."""
    rows = _by_vertex(verts)
    a, b, c = (rows[jnp.maximum(corner, 0)].reshape(len(faces), -1, 3) for corner in faces.T)
    return jnp.where(faces[:, :1, None] >= 0, jnp.cross(b - a, c - a), 0.0)


def face_normals(
    verts: Float[Array, "b v 3"],
    faces: Int[Array, "f 3"],
    image: Int[Array, " n"],
    face: Int[Array, " n"],
) -> Float[Array, "n 3"]:
    """Unit normals of the face `face[i]` of the mesh `image[i]`, 0 for padding and without area."""
    return safe_normalize(_face_crosses(verts, faces)[face, image])


def vertex_normals(
    verts: Float[Array, "*b v 3"], faces: Int[Array, "f 3"]
) -> Float[Array, "*b v 3"]:
    """Unit vertex normals: sums of the adjoining faces' cross products, so large faces count more.

    Vertices without a face (padding among them), or whose faces cancel, have the normal (0, 0, 1)
    and no gradient, as in MagicPony@e4a8b20:magicpony/render/mesh.py:auto_normals.
    """
    crosses = _face_crosses(verts, faces).reshape(len(faces), -1)
    total = jnp.zeros((verts.shape[-2], crosses.shape[1]))
    for corner in faces.T:
        total = total.at[corner].add(crosses, mode="drop", wrap_negative_indices=False)
    total = jnp.moveaxis(total.reshape(-1, *verts.shape[:-2], 3), 0, -2)
    regular = jnp.sum(total * total, axis=-1, keepdims=True) > 1e-20
    return jnp.where(regular, safe_normalize(total), jnp.array([0.0, 0.0, 1.0]))
