"""Proportions: bones made longer, thicker, turned, and the flesh that goes with them.

One mechanism serves twice: it makes a species out of the horse, and an individual out of the
species. Bone k carries an affine map, x -> head'_k + linear_k (x - head_k); flesh follows the
weighted mean of its bones' maps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from pony_jax.data.synthetic.anatomy import BONE_NAMES, PARENTS
from pony_jax.ops.rotations import euler_xyz_to_matrix

_SIDEWAYS = np.array([1.0, 0.0, 0.0], np.float32)


def stretches(
    segments: Float[Array, "k 2 3"], factors: Float[Array, "k 3"]
) -> Float[Array, "k 3 3"]:
    """Per bone the map that scales by (width, depth, length) factors: along x, across the bone in
    the plane of symmetry, and along the bone. Bones lie nearly in that plane."""
    along = (segments[:, 1] - segments[:, 0]) * (1.0 - _SIDEWAYS)
    along = along / jnp.linalg.norm(along, axis=-1, keepdims=True)
    across = jnp.cross(along, _SIDEWAYS)
    frame = jnp.stack([jnp.broadcast_to(_SIDEWAYS, along.shape), across, along], axis=1)
    return jnp.einsum("kai,ka,kaj->kij", frame, factors, frame)


def chain(
    segments: Float[Array, "k 2 3"], linear: Float[Array, "k 3 3"], turns: Float[Array, "k 3 3"]
) -> tuple[Float[Array, "k 3 3"], Float[Array, "k 3"]]:
    """Hangs every bone on its parent: (linear maps, new heads).

    A bone inherits the turns of its ancestors but not their stretch; the place where it starts
    moves with the flesh of its parent. The root bone's head stays.
    """
    segments, linear, turns = (jnp.asarray(array) for array in (segments, linear, turns))
    parents = jnp.array(PARENTS)

    def hang(state: tuple[Array, ...], bone: Array) -> tuple[tuple[Array, ...], None]:
        rotations, linears, heads = state
        parent = parents[bone]
        rotation = rotations[parent] @ turns[bone]
        offset = segments[bone, 0] - segments[parent, 0]
        return (
            rotations.at[bone].set(rotation),
            linears.at[bone].set(rotation @ linear[bone]),
            heads.at[bone].set(heads[parent] + linears[parent] @ offset),
        ), None

    # The root is in place; a loop, since 22 bones written out take XLA seconds to compile.
    state = (turns, turns @ linear, segments[:, 0])
    (_, linears, heads), _ = jax.lax.scan(hang, state, jnp.arange(1, len(PARENTS)))
    return linears, heads


def follow(
    points: Float[Array, "n 3"],
    weights: Float[Array, "n k"],
    segments: Float[Array, "k 2 3"],
    linear: Float[Array, "k 3 3"],
    heads: Float[Array, "k 3"],
) -> Float[Array, "n 3"]:
    """Points moved by the weighted mean of their bones' maps (linear blend skinning)."""
    offset = heads - jnp.einsum("kij,kj->ki", linear, segments[:, 0])
    maps = weights @ jnp.concatenate([linear.reshape(-1, 9), offset], axis=-1)
    return jnp.einsum("nij,nj->ni", maps[:, :9].reshape(-1, 3, 3), points) + maps[:, 9:]


def follow_bones(
    segments: Float[Array, "k 2 3"], linear: Float[Array, "k 3 3"], heads: Float[Array, "k 3"]
) -> Float[Array, "k 2 3"]:
    """The bones themselves, moved by `chain`'s result."""
    tails = heads + jnp.einsum("kij,kj->ki", linear, segments[:, 1] - segments[:, 0])
    return jnp.stack([heads, tails], axis=1)


def pitch(angles_rad: Float[Array, " k"]) -> Float[Array, "k 3 3"]:
    """Turns about x; positive lowers what points forward."""
    return euler_xyz_to_matrix(jnp.zeros((len(angles_rad), 3)).at[:, 0].set(angles_rad))


WIDTH, DEPTH, LENGTH = range(3)
_LEGS = ("arm", "forearm", "cannon", "hoof", "thigh", "gaskin")
_VARIATIONS = (
    # part of the bone's name, what varies, largest change (a factor of e to that power)
    (("hips", "chest"), (LENGTH,), 0.07),
    (("hips", "chest"), (WIDTH,), 0.12),
    (("hips", "chest"), (DEPTH,), 0.06),
    (("neck",), (LENGTH,), 0.12),
    (("neck",), (WIDTH, DEPTH), 0.10),
    (("head",), (WIDTH, DEPTH, LENGTH), 0.08),
    (("head",), (LENGTH,), 0.06),
    (_LEGS, (LENGTH,), 0.10),
    (_LEGS, (WIDTH, DEPTH), 0.12),
    (("upper_arm", "thigh"), (DEPTH,), 0.08),
    (("tail_hair",), (LENGTH,), 0.20),
    (("tail",), (WIDTH, DEPTH), 0.20),
)


def _variation_table() -> Float[np.ndarray, "n k 3"]:
    table = np.zeros((len(_VARIATIONS), len(BONE_NAMES), 3), np.float32)
    for row, (parts, axes, change) in enumerate(_VARIATIONS):
        bones = [i for i, name in enumerate(BONE_NAMES) if any(part in name for part in parts)]
        table[np.ix_([row], bones, axes)] = change
    return table


_VARIATION_TABLE = _variation_table()


def sample_individual(key: PRNGKeyArray) -> Float[Array, "k 3"]:
    """Factors of width, depth and length of one individual's bones, the same left and right."""
    amounts = jax.random.uniform(key, (len(_VARIATION_TABLE),), minval=-1.0)
    return jnp.exp(jnp.tensordot(amounts, _VARIATION_TABLE, axes=1))
