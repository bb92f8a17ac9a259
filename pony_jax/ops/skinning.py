"""Linear blend skinning."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from pony_jax.ops.cameras import transform_points
from pony_jax.ops.numerics import without_padding
from pony_jax.ops.substitution import substitutable


def skinning_weights(
    verts: Float[Array, "b v 3"],
    bones: Float[Array, "b k 2 3"],
    temperature: float,
    count: Int[Array, ""] | None = None,
) -> Float[Array, "b v k"]:
    """Share of each bone in each vertex: softmax over bones of -distance / temperature.

    MagicPony@e4a8b20:magicpony/geometry/skinning.py. The distance to the bone's segment is
    sqrt(d^2 + 1e-6). No gradient flows: neither to the vertices nor to the bones.

    Args:
      temperature: world units.
      count: vertices from this one on are padding, without weights: 0. None uses all.
    """
    return bone_shares(verts, bones, count, temperature=float(temperature))


@substitutable
def bone_shares(
    verts: Float[Array, "b v 3"],
    bones: Float[Array, "b k 2 3"],
    count: Int[Array, ""] | None,
    *,
    temperature: float,
) -> Float[Array, "b v k"]:
    """`skinning_weights` with all of its arrays by position."""
    verts, bones = lax.stop_gradient((verts, bones))
    near, along = bones[:, :, 0, :, None], (bones[:, :, 1] - bones[:, :, 0])[..., None]
    square_length = jnp.maximum(jnp.sum(along * along, axis=2), 1e-12)
    # One coordinate at a time and vertices last: a CPU vectorises over them, and no [b, k, v, 3]
    # array is ever made.
    offsets = [verts[:, None, :, i] - near[:, :, i] for i in range(3)]
    dot = sum(offset * along[:, :, i] for i, offset in enumerate(offsets))
    share = jnp.clip(dot / square_length, 0.0, 1.0)
    square = sum((offset - share * along[:, :, i]) ** 2 for i, offset in enumerate(offsets))
    # Bones last: here a CPU is three times slower on a sum over an axis in the middle.
    logits = jnp.swapaxes(-jnp.sqrt(square + 1e-6) / temperature, 1, 2)
    return without_padding(jax.nn.softmax(logits, axis=-1), count)


@substitutable
def skin(
    verts: Float[Array, "b v 3"],
    weights: Float[Array, "b v k"],
    world_from_rest: Float[Array, "b k 4 4"],
    count: Int[Array, ""] | None = None,
) -> Float[Array, "b v 3"]:
    """Moves each vertex by the weighted mean of the bones' motions; no gradient to the weights.

    Args:
      count: vertices from this one on are padding, and go to the origin. None uses all.
    """
    weights = lax.stop_gradient(weights)
    b, k = world_from_rest.shape[:2]
    blended = weights @ world_from_rest[:, :, :3].reshape(b, k, 12)
    # Written out: XLA's CPU backend is five times slower on a sum over an axis of three.
    x, y, z = jnp.moveaxis(verts, -1, 0)
    rows = [blended[..., 4 * i : 4 * i + 4] for i in range(3)]
    moved = [r[..., 0] * x + r[..., 1] * y + r[..., 2] * z + r[..., 3] for r in rows]
    return without_padding(jnp.stack(moved, axis=-1), count)


def pose_bones(
    bones: Float[Array, "b k 2 3"], world_from_rest: Float[Array, "b k 4 4"]
) -> Float[Array, "b k 2 3"]:
    """Moves both ends of each bone with the bone; no gradient to the rest bones."""
    return transform_points(world_from_rest, lax.stop_gradient(bones))[..., :3]
