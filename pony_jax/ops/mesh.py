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


def _face_crosses(
    verts: Float[Array, "*b v 3"], faces: Int[Array, "f 3"]
) -> Float[Array, "*b f 3"]:
    """(v1 - v0) x (v2 - v0): normals with twice the area as length; 0 for padding."""
    a, b, c = (verts[..., jnp.maximum(corner, 0), :] for corner in faces.T)
    return jnp.where(faces[:, :1] >= 0, jnp.cross(b - a, c - a), 0.0)


def face_normals(verts: Float[Array, "*b v 3"], faces: Int[Array, "f 3"]) -> Float[Array, "*b f 3"]:
    """Unit normals of faces, 0 for padding and for faces without area."""
    return safe_normalize(_face_crosses(verts, faces))


def vertex_normals(
    verts: Float[Array, "*b v 3"], faces: Int[Array, "f 3"]
) -> Float[Array, "*b v 3"]:
    """Unit vertex normals: sums of the adjoining faces' cross products, so large faces count more.

    Vertices without a face (padding among them), or whose faces cancel, have the normal (0, 0, 1)
    and no gradient, as in MagicPony@e4a8b20:magicpony/render/mesh.py:auto_normals.
    """
    crosses = _face_crosses(verts, faces)
    total = jnp.zeros_like(verts)
    for corner in faces.T:
        total = total.at[..., corner, :].add(crosses, mode="drop", wrap_negative_indices=False)
    regular = jnp.sum(total * total, axis=-1, keepdims=True) > 1e-20
    return jnp.where(regular, safe_normalize(total), jnp.array([0.0, 0.0, 1.0]))
