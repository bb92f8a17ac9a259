"""Linear blend skinning."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pony_jax.ops.cameras import transform_points


def skinning_weights(
    verts: Float[Array, "b v 3"], bones: Float[Array, "b k 2 3"], temperature: float
) -> Float[Array, "b v k"]:
    """Share of each bone in each vertex: softmax over bones of -distance / temperature.

    MagicPony@e4a8b20:magicpony/geometry/skinning.py. The distance to the bone's segment is
    sqrt(d^2 + 1e-6). No gradient flows: neither to the vertices nor to the bones.

    Args:
      temperature: world units.
    """
    verts, bones = lax.stop_gradient((verts, bones))
    near, along = bones[:, :, 0], bones[:, :, 1] - bones[:, :, 0]
    square_length = jnp.maximum(jnp.sum(along * along, axis=-1), 1e-12)
    # One coordinate at a time, so that no [b, v, k, 3] array is ever made.
    offsets = [verts[..., None, i] - near[:, None, :, i] for i in range(3)]
    dot = sum(offset * along[:, None, :, i] for i, offset in enumerate(offsets))
    share = jnp.clip(dot / square_length[:, None], 0.0, 1.0)
    square = sum((offset - share * along[:, None, :, i]) ** 2 for i, offset in enumerate(offsets))
    return jax.nn.softmax(-jnp.sqrt(square + 1e-6) / temperature, axis=-1)


def skin(
    verts: Float[Array, "b v 3"],
    weights: Float[Array, "b v k"],
    world_from_rest: Float[Array, "b k 4 4"],
) -> Float[Array, "b v 3"]:
    """Moves each vertex by the weighted mean of the bones' motions."""
    b, k = world_from_rest.shape[:2]
    blended = weights @ world_from_rest[:, :, :3].reshape(b, k, 12)
    blended = blended.reshape(*blended.shape[:2], 3, 4)
    return jnp.sum(blended[..., :3] * verts[..., None, :], axis=-1) + blended[..., 3]


def pose_bones(
    bones: Float[Array, "b k 2 3"], world_from_rest: Float[Array, "b k 4 4"]
) -> Float[Array, "b k 2 3"]:
    """Moves both ends of each bone with the bone; no gradient to the rest bones."""
    return transform_points(world_from_rest, lax.stop_gradient(bones))[..., :3]
