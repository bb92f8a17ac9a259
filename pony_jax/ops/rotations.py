"""Rotation matrices, for column vectors: `x_new = matrix @ x_old`."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pony_jax.ops.numerics import safe_normalize


def small_matmul(a: Float[Array, "*#n i j"], b: Float[Array, "*#n j k"]) -> Float[Array, "*#n i k"]:
    """`a @ b` for stacks of matrices of three or four rows, whose outer axes broadcast.

    Written out: for each matrix of a stack XLA's CPU backend calls a library, which takes 5 us.
    """
    return sum(a[..., j, None] * b[..., None, j, :] for j in range(a.shape[-1]))


def euler_xyz_to_matrix(angles_rad: Float[Array, "*#n 3"]) -> Float[Array, "*#n 3 3"]:
    """Rx(a) @ Ry(b) @ Rz(c) for angles (a, b, c), radians.

    MagicPony@e4a8b20:magicpony/geometry/skinning.py, convention XYZ.
    """
    (ca, cb, cc), (sa, sb, sc) = (jnp.moveaxis(f(angles_rad), -1, 0) for f in (jnp.cos, jnp.sin))
    entries = [
        [cb * cc, -cb * sc, sb],
        [ca * sc + sa * sb * cc, ca * cc - sa * sb * sc, -sa * cb],
        [sa * sc - ca * sb * cc, sa * cc + ca * sb * sc, ca * cb],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in entries], axis=-2)


def quaternion_to_matrix(quaternion: Float[Array, "*n 4"]) -> Float[Array, "*n 3 3"]:
    """Rotation matrices of unit quaternions (w, x, y, z), w the real part."""
    w, x, y, z = jnp.moveaxis(quaternion, -1, 0)
    entries = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in entries], axis=-2)


def look_at_rotation(
    forward: Float[Array, "*n 3"], up: tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> Float[Array, "*n 3 3"]:
    """Rotation whose rows are the unit right, up and forward vectors.

    MagicPony@e4a8b20:magicpony/predictor.py: right = unit(up x forward), then up = unit(forward x
    right).

    Args:
      forward: unit vectors. One parallel to `up` has no right: its rows right and up are 0.
      up: direction that the second row is closest to.
    """
    right = safe_normalize(jnp.cross(jnp.array(up), forward))
    return jnp.stack([right, safe_normalize(jnp.cross(forward, right)), forward], axis=-2)
