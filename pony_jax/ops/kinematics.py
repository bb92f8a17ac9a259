"""Forward kinematics: the rigid motion of every bone."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from pony_jax.ops.bones import Skeleton
from pony_jax.ops.numerics import safe_normalize
from pony_jax.ops.rotations import euler_xyz_to_matrix, small_matmul


def bone_frames(forward: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Rotation from the frame of a bone to the rest frame; columns are right, up, forward.

    Right is as near to +x as the bone lets it be. A bone without length, or along x, gets the
    identity (the original a singular matrix).
    """
    forward = safe_normalize(forward)
    right = jnp.array([1.0, 0.0, 0.0])
    up = jnp.cross(forward, right)
    regular = jnp.sum(up * up, axis=-1, keepdims=True) > 1e-12
    up = jnp.where(regular, safe_normalize(up), jnp.array([0.0, 1.0, 0.0]))
    forward = jnp.where(regular, forward, jnp.array([0.0, 0.0, 1.0]))
    return jnp.stack([jnp.cross(up, forward), up, forward], axis=-1)


def hold_static_bones(
    angles_rad: Float[Array, "*b k 3"], skeleton: Skeleton
) -> Float[Array, "*b k 3"]:
    """The angles, 0 (with gradient 0) at the root bones if the skeleton's roots are static."""
    if not skeleton.static_roots:
        return angles_rad
    turns = np.ones((skeleton.num_bones, 1), np.float32)
    turns[list(skeleton.root_bones)] = 0.0
    return angles_rad * turns


def posed_bone_transforms(
    bones: Float[Array, "b k 2 3"],
    angles_rad: Float[Array, "b k 3"],
    skeleton: Skeleton,
    leg_attachments: Int[Array, "*r l"],
    attach_legs: bool,
) -> Float[Array, "b k 4 4"]:
    """World from rest: where each bone takes the points that are fixed to it.

    MagicPony@e4a8b20:magicpony/geometry/skinning.py:skinning. A bone turns about its end nearer the
    centre by Euler angles in its rest frame, then about all its ancestors' ends in their rest
    frames, nearest ancestor first: the product of those turns from the root outwards.

    Args:
      bones: rest bones, as `estimate_bones` makes them; no gradient flows to them.
      angles_rad: Euler angles (x, y, z) of each bone, radians.
      leg_attachments: body bone that each leg hangs from, one row for all or one each; may be
        traced.
      attach_legs: legs follow their body bone; otherwise they move on their own.

    Raises:
      ValueError: if the number of bones is not the skeleton's.
    """
    b, k = angles_rad.shape[:2]
    if k != skeleton.num_bones:
        raise ValueError(
            f"bones: expected {skeleton.num_bones} bones, as the skeleton has, got {k}; "
            "estimate them with the same skeleton"
        )
    turns = _turns(lax.stop_gradient(bones), angles_rad)
    n, num_legs = skeleton.num_body_bones, skeleton.num_legs
    body = _chain(turns[:, :n].reshape(b, 2, n // 2, 4, 4)).reshape(b, n, 4, 4)
    if not num_legs:
        return body
    legs = _chain(turns[:, n:].reshape(b, num_legs, skeleton.num_leg_bones, 4, 4))
    if attach_legs:
        rows = jnp.broadcast_to(leg_attachments, (b, num_legs))[..., None, None]
        legs = small_matmul(jnp.take_along_axis(body, rows, axis=1)[:, :, None], legs)
    return jnp.concatenate([body, legs.reshape(b, -1, 4, 4)], axis=1)


def _turns(
    bones: Float[Array, "b k 2 3"], angles_rad: Float[Array, "b k 3"]
) -> Float[Array, "b k 4 4"]:
    """Rotation of each bone about its near end, in the rest frame."""
    near = bones[..., 0, :]
    frame = bone_frames(bones[..., 1, :] - near)
    turn = small_matmul(frame, euler_xyz_to_matrix(angles_rad))
    rotation = small_matmul(turn, jnp.swapaxes(frame, -1, -2))
    shift = near[..., None] - small_matmul(rotation, near[..., None])
    upper = jnp.concatenate([rotation, shift], axis=-1)
    last_row = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0]), (*upper.shape[:2], 1, 4))
    return jnp.concatenate([upper, last_row], axis=-2)


def _chain(turns: Float[Array, "b c n 4 4"]) -> Float[Array, "b c n 4 4"]:
    """Products along chains of bones, whose last bone is the root."""
    transforms = [turns[:, :, -1]]
    for i in reversed(range(turns.shape[2] - 1)):
        transforms.insert(0, small_matmul(transforms[0], turns[:, :, i]))
    return jnp.stack(transforms, axis=2)
