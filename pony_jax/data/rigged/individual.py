"""One individual of a rigged model: its proportions, and a pose of the clips put on them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from pony_jax.data.rigged.body_parts import part_of
from pony_jax.data.rigged.template import RiggedTemplate
from pony_jax.data.synthetic.proportions import DEPTH, LENGTH, WIDTH

_VARIATIONS = (
    # part of the body, what varies, largest change (a factor of e to that power)
    ("trunk", (LENGTH,), 0.08),
    ("trunk", (WIDTH,), 0.14),
    ("trunk", (DEPTH,), 0.10),
    ("neck", (LENGTH,), 0.18),
    ("neck", (WIDTH, DEPTH), 0.12),
    ("head", (WIDTH, DEPTH, LENGTH), 0.08),
    ("head", (LENGTH,), 0.06),
    ("leg", (LENGTH,), 0.14),
    ("leg", (WIDTH, DEPTH), 0.14),
    ("tail", (LENGTH,), 0.20),
    ("tail", (WIDTH, DEPTH), 0.15),
    ("ear", (LENGTH,), 0.20),
)
_SIDEWAYS_SHARE = 0.5
"""A bone with less of its length in the plane of symmetry is stretched as if it pointed down."""


class Individual(NamedTuple):
    """In the object frame. Bones are (head, tail) in the template's order."""

    verts_rest: Float[Array, "v 3"]
    verts_posed: Float[Array, "v 3"]
    bones_rest: Float[Array, "k 2 3"]
    bones_posed: Float[Array, "k 2 3"]


def sample_factors(key: PRNGKeyArray, template: RiggedTemplate) -> Float[Array, "k 3"]:
    """Factors of width, depth and length of one individual's bones, the same left and right."""
    amounts = jax.random.uniform(key, (len(_VARIATIONS),), minval=-1.0)
    return jnp.exp(jnp.tensordot(amounts, _variation_table(template), axes=1))


def _variation_table(template: RiggedTemplate) -> Float[np.ndarray, "n k 3"]:
    parts = [part_of(name) for name in template.bone_names]
    parts[0] = "trunk"  # the root may stand on the ground, and has to be where it is
    table = np.zeros((len(_VARIATIONS), len(parts), 3), np.float32)
    moves_most = np.isin(np.arange(len(parts)), template.weights.argmax(axis=1))
    for row, (part, axes, change) in enumerate(_VARIATIONS):
        bones = [i for i, its in enumerate(parts) if its == part and moves_most[i]]
        table[np.ix_([row], bones, axes)] = change
    return table


def sample_pose(key: PRNGKeyArray, template: RiggedTemplate) -> Int[Array, ""]:
    """A row of `template.poses`: every clip that has upright poses is as likely, then every pose
    of it."""
    poses = template.poses
    which, when = jax.random.uniform(key, (2,))
    clip = (which * len(poses.first)).astype(int)
    first, count = jnp.asarray(poses.first)[clip], jnp.asarray(poses.count)[clip]
    return first + jnp.minimum((when * count).astype(int), count - 1)


def pose_individual(
    template: RiggedTemplate, factors: Float[Array, "k 3"], pose: Int[Array, ""]
) -> Individual:
    """The individual of given proportions in a pose.

    With factors of 1 the posed skin is that of the file. In others a joint stands where its
    parent's flesh takes it, and keeps the distance to it that the clip has beyond that.
    """
    bind = jnp.asarray(template.segments[:, 0])
    maps = _stretches(template.segments, factors)
    still = jnp.broadcast_to(jnp.eye(3), maps.shape)
    heads = _hang(template.parents, still, maps, bind, jnp.zeros_like(bind).at[0].set(bind[0]))
    verts_rest = _follow(template.verts, template.weights, bind, maps, heads)
    tails = heads + jnp.einsum("kij,kj->ki", maps, template.segments[:, 1] - bind)
    bones_rest = jnp.stack([heads, tails], axis=1)

    turns, beyond = jnp.asarray(template.poses.turns)[pose], jnp.asarray(_beyond(template))[pose]
    places = _hang(template.parents, turns, still, heads, beyond)
    verts_posed = _follow(verts_rest, template.weights, heads, turns, places)
    ends = places + jnp.einsum("kij,kj->ki", turns, tails - heads)
    return Individual(verts_rest, verts_posed, bones_rest, jnp.stack([places, ends], axis=1))


def _beyond(template: RiggedTemplate) -> Float[np.ndarray, "p k 3"]:
    """How far from where its parent takes it every joint is, in every pose; the root's place."""
    poses, bind = template.poses, template.segments[:, 0]
    parents = np.array(template.parents)
    carried = np.einsum("pkij,kj->pki", poses.turns[:, parents], bind - bind[parents])
    beyond = poses.places - poses.places[:, parents] - carried
    beyond[:, 0] = poses.places[:, 0]
    return beyond


def _stretches(
    segments: Float[np.ndarray, "k 2 3"], factors: Float[Array, "k 3"]
) -> Float[Array, "k 3 3"]:
    """Per bone the map that scales along x, across the bone in the plane of symmetry, along it."""
    axis = segments[:, 1] - segments[:, 0]
    along = axis * np.array([0.0, 1.0, 1.0], np.float32)
    length = np.linalg.norm(along, axis=1, keepdims=True)
    is_sideways = length < _SIDEWAYS_SHARE * np.linalg.norm(axis, axis=1, keepdims=True) + 1e-6
    down = np.array([0.0, -1.0, 0.0])
    along = np.where(is_sideways, down, along / np.maximum(length, 1e-6))
    sideways = np.broadcast_to(np.array([1.0, 0.0, 0.0]), along.shape)
    frame = jnp.asarray(np.stack([sideways, np.cross(along, sideways), along], 1), jnp.float32)
    return jnp.einsum("kai,ka,kaj->kij", frame, factors, frame)


def _hang(
    parents: tuple[int, ...],
    turns: Float[Array, "k 3 3"],
    maps: Float[Array, "k 3 3"],
    heads: Float[Array, "k 3"],
    beyond: Float[Array, "k 3"],
) -> Float[Array, "k 3"]:
    """Places of the joints, each hung on its parent: turned, stretched, and moved on by `beyond`.
    The root's `beyond` is its place."""
    matrices = turns @ maps
    parent_of = jnp.array(parents)

    def hang(places: Array, bone: Array) -> tuple[Array, None]:
        parent = parent_of[bone]
        place = places[parent] + matrices[parent] @ (heads[bone] - heads[parent]) + beyond[bone]
        return places.at[bone].set(place), None

    # A loop, since dozens of bones written out take XLA seconds to compile.
    places = jnp.zeros_like(heads).at[0].set(beyond[0])
    return jax.lax.scan(hang, places, jnp.arange(1, len(parents)))[0]


def _follow(
    verts: Float[Array, "v 3"],
    weights: Float[Array, "v k"],
    bind: Float[Array, "k 3"],
    maps: Float[Array, "k 3 3"],
    places: Float[Array, "k 3"],
) -> Float[Array, "v 3"]:
    """Linear blend skinning: bone k takes x to places[k] + maps[k] (x - bind[k])."""
    shifts = places - jnp.einsum("kij,kj->ki", maps, bind)
    blended = weights @ jnp.concatenate([maps.reshape(-1, 9), shifts], axis=-1)
    return jnp.einsum("vij,vj->vi", blended[:, :9].reshape(-1, 3, 3), verts) + blended[:, 9:]
