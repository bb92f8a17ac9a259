"""The template of a species: one surface mesh, its skinning, its keypoints, and its parts.

Every individual of the species is this mesh deformed, so a vertex means the same place on all.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from pony_jax.data.synthetic.anatomy import (
    BONE_INDEX,
    BONE_NAMES,
    SEGMENTS,
    SIDES,
    SPECIES,
    Limb,
    mirrored,
    without_side,
)
from pony_jax.data.synthetic.proportions import chain, follow, follow_bones, pitch, stretches
from pony_jax.data.synthetic.surface import (
    CELL,
    limb_distance,
    smooth_union,
    surface_nets,
)

BODY_SIZE = 3.85
"""Longest side of a template's bounding box in object units. At distance 10 and 25 degrees field of
view an animal seen from the side fills the crop a little too much, one from in front too little: so
both are within reach of the camera's small shifts."""
ORIGIN_HEIGHT = 0.44  # of the box: between the middles of a standing and of a grazing animal

_CENTRE_KEYPOINTS = {
    # name: bone that carries it, place on the horse in the frame of `anatomy`
    "nose": ("head", (0.0, 1.53, 1.52)),
    "poll": ("head", (0.0, 2.03, 1.06)),
    "withers": ("chest", (0.0, 1.56, 0.34)),
    "back": ("hips", (0.0, 1.51, -0.12)),
    "tail_base": ("tail_dock", (0.0, 1.43, -0.80)),
    "tail_tip": ("tail_hair", (0.0, 0.50, -1.00)),
}
_PAIRED_KEYPOINTS = {
    "eye": ("head", (0.10, 1.87, 1.20)),
    "elbow": ("forearm", (0.24, 0.88, 0.38)),
    "knee": ("fore_cannon", (0.18, 0.50, 0.44)),
    "fore_hoof": ("fore_hoof", (0.17, 0.03, 0.50)),
    "stifle": ("gaskin", (0.26, 0.90, -0.36)),
    "hock": ("hind_cannon", (0.18, 0.57, -0.75)),
    "hind_hoof": ("hind_hoof", (0.17, 0.03, -0.60)),
}
_KEYPOINTS = {name: place for name, place in _CENTRE_KEYPOINTS.items()} | {
    f"{side}_{name}": (bone if bone == "head" else f"{side}_{bone}", mirrored(place, side))
    for side in SIDES
    for name, (bone, place) in _PAIRED_KEYPOINTS.items()
}
KEYPOINT_NAMES: tuple[str, ...] = tuple(_KEYPOINTS)
"""Names in the order of `Template.keypoints`; left is the animal's own left (+x)."""


class Template(NamedTuple):
    """Rest surface of a species, object frame: the plane x = 0 is its plane of symmetry, the
    origin about the middle of its bounding box, the longest side of that box `BODY_SIZE`."""

    verts: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]  # (v1 - v0) x (v2 - v0) points outwards
    weights: Float[np.ndarray, "v k"]  # of the bones, sum 1
    segments: Float[np.ndarray, "k 2 3"]
    parts: Float[np.ndarray, "v l"]  # membership in PART_NAMES, sum 1
    keypoints: Int[np.ndarray, " n"]  # vertices
    keypoint_faces: Int[np.ndarray, "n j"]  # faces around each keypoint, padded by repetition


PART_NAMES = (
    *("trunk", "neck", "mane", "head", "muzzle", "ear", "horn", "tail"),
    *("foreleg", "fore_cannon", "fore_hoof", "hind_leg", "hind_cannon", "hind_hoof"),
)
"""Parts of the surface: legs down to knee or hock, cannons below, hooves."""

_NODE_SPREAD = 0.03  # metres over which a node shares itself between two bones
_LIMB_SPREAD = 0.025  # metres over which a point shares itself between two limbs
_SMOOTHING_STEPS = 12


def _flesh_of_species(name: str) -> tuple[np.ndarray, list[tuple[Limb, np.ndarray, np.ndarray]]]:
    """Bones of the species, and per limb its nodes [m,5] and their bone weights [m,k]; metres."""
    species = SPECIES[name]
    segments = SEGMENTS.astype(np.float32)
    factors = species.factors().astype(np.float32)
    linear, heads = chain(
        segments, stretches(segments, factors), pitch(species.pitch_rad().astype(np.float32))
    )
    limbs = []
    for limb in species.flesh():
        nodes = np.array(limb.nodes, np.float64)
        weights = _node_weights(limb, nodes)
        moved = np.asarray(
            follow(nodes[:, :3].astype(np.float32), weights, segments, linear, heads)
        )
        # The cross section grows across the animal with the width, in its plane with the depth.
        radii = nodes[:, 3:] * (weights @ species.factors()[:, :2])
        limbs.append((limb, np.concatenate([moved, radii], 1).astype(np.float64), weights))
    return np.asarray(follow_bones(segments, linear, heads), np.float64), limbs


def _node_weights(limb: Limb, nodes: np.ndarray) -> Float[np.ndarray, "m k"]:
    bones = [BONE_INDEX[bone] for bone in limb.bones]
    start, end = SEGMENTS[bones, 0], SEGMENTS[bones, 1]
    along, offset = end - start, nodes[:, None, :3] - start
    share = np.clip(np.sum(offset * along, -1) / np.sum(along * along, -1), 0, 1)[..., None]
    distance = np.linalg.norm(offset - share * along, axis=-1)
    weights = np.zeros((len(nodes), len(BONE_NAMES)))
    weights[:, bones] = _soft_nearest(distance, _NODE_SPREAD)
    return weights


def _soft_nearest(distance: np.ndarray, spread: float) -> np.ndarray:
    weights = np.exp((distance.min(-1, keepdims=True) - distance) / spread)
    return weights / weights.sum(-1, keepdims=True)


def _body_distance(points: np.ndarray, limbs: list) -> np.ndarray:
    """Smooth union of all limbs. Those of a pair are joined first, so that neither side leads."""
    distances: dict[str, np.ndarray] = {}
    blends: dict[str, float] = {}
    for limb, nodes, _ in limbs:
        name, (distance, _) = without_side(limb.name), limb_distance(points, nodes)
        distances[name] = np.minimum(distances.get(name, distance), distance)
        blends[name] = limb.blend
    names = list(distances)
    total = distances[names[0]]
    for name in names[1:]:
        total = smooth_union(total, distances[name], blends[name])
    return total


def _mesh(limbs: list) -> tuple[np.ndarray, np.ndarray, float]:
    nodes = np.concatenate([n for _, n, _ in limbs])
    low = (nodes[:, :3] - nodes[:, 3:].max(1, keepdims=True)).min(0)
    high = (nodes[:, :3] + nodes[:, 3:].max(1, keepdims=True)).max(0)
    cell = CELL
    # The grid is the same on both sides of x = 0, hence so is the mesh.
    half_width = (np.ceil(high[0] / cell) + 2) * cell
    low, high = low - 2 * cell, high + 3 * cell
    axes = [
        np.linspace(-half_width, half_width, 2 * round(half_width / cell) + 1),
        np.arange(low[1], high[1], cell),
        np.arange(low[2], high[2], cell),
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    values = _body_distance(grid.reshape(-1, 3), limbs).reshape(grid.shape[:3])
    verts, faces = surface_nets(values)
    verts = verts * cell + np.array([axis[0] for axis in axes])
    return _settle(verts, faces, limbs, cell), faces, cell


def _settle(verts: np.ndarray, faces: np.ndarray, limbs: list, cell: float) -> np.ndarray:
    """Evens the mesh out and puts its vertices onto the surface, which the grid approximates."""
    mean = _neighbour_mean(faces, len(verts))
    step = 1e-3 * cell
    for _ in range(4):
        verts = 0.5 * (verts + mean @ verts)
        value = _body_distance(verts, limbs)
        ahead = [_body_distance(verts + step * axis, limbs) for axis in np.eye(3)]
        gradient = (np.stack(ahead, -1) - value[:, None]) / step
        squared = np.maximum(np.sum(gradient * gradient, -1), 0.25)
        move = np.clip(value / squared, -0.5 * cell, 0.5 * cell)
        verts = verts - move[:, None] * gradient
    return verts


def _neighbour_mean(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = sparse.csr_matrix((np.ones(len(edges)), edges.T), (count, count))
    links = ((links + links.T) > 0).astype(float)
    return sparse.diags(1.0 / links.sum(1).A1) @ links


def _memberships(
    verts: np.ndarray, segments: np.ndarray, limbs: list
) -> tuple[np.ndarray, np.ndarray]:
    """Bone weights [v,k] and part memberships [v,l] of the vertices."""
    fields = [limb_distance(verts, nodes) for _, nodes, _ in limbs]
    share = _soft_nearest(np.stack([distance for distance, _ in fields], -1), _LIMB_SPREAD)
    weights = sum(
        share[:, [i]] * (node_share @ limbs[i][2]) for i, (_, node_share) in enumerate(fields)
    )
    parts = np.zeros((len(verts), len(PART_NAMES)))
    for i, (limb, _, _) in enumerate(limbs):
        plain = without_side(limb.name)
        parts[:, PART_NAMES.index(plain if plain in PART_NAMES else "trunk")] += share[:, i]
    for leg, below in (("foreleg", "fore"), ("hind_leg", "hind")):
        for part in (f"{below}_cannon", f"{below}_hoof"):
            bones = [BONE_INDEX[f"{side}_{part}"] for side in SIDES]
            _move_share(parts, leg, part, weights[:, bones].sum(1))
    along_head = (verts - segments[BONE_INDEX["head"], 0]) @ _unit_axis(segments, "head")
    _move_share(parts, "head", "muzzle", parts[:, PART_NAMES.index("head")] * (along_head > 0.62))
    return weights, parts


def _unit_axis(segments: np.ndarray, bone: str) -> np.ndarray:
    """Axis of a bone divided by its length twice: a product with it runs from 0 to 1 along it."""
    axis = segments[BONE_INDEX[bone], 1] - segments[BONE_INDEX[bone], 0]
    return axis / (axis @ axis)


def _move_share(parts: np.ndarray, source: str, target: str, amount: np.ndarray) -> None:
    amount = np.minimum(amount, parts[:, PART_NAMES.index(source)])
    parts[:, PART_NAMES.index(source)] -= amount
    parts[:, PART_NAMES.index(target)] += amount


def _keypoints(name: str, verts: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    segments = SEGMENTS.astype(np.float32)
    species = SPECIES[name]
    linear, heads = chain(
        segments,
        stretches(segments, species.factors().astype(np.float32)),
        pitch(species.pitch_rad().astype(np.float32)),
    )
    places = np.array([place for _, place in _KEYPOINTS.values()], np.float32)
    carried = np.eye(len(BONE_NAMES))[[BONE_INDEX[bone] for bone, _ in _KEYPOINTS.values()]]
    moved = np.asarray(follow(places, carried, segments, linear, heads))
    nearest = np.argmin(np.linalg.norm(verts - moved[:, None], axis=-1), axis=-1)
    around = [np.flatnonzero((faces == vert).any(1)) for vert in nearest]
    longest = max(map(len, around))
    return nearest, np.stack([np.resize(faces_of, longest) for faces_of in around])


@functools.cache
def load_template(name: str) -> Template:
    """The template of a species out of `SPECIES`; made in about a second, then kept.

    Raises `ValueError` on an unknown name.
    """
    if name not in SPECIES:
        raise ValueError(
            f"expected a species out of {sorted(SPECIES)}, got {name!r}; correct the name"
        )
    segments, limbs = _flesh_of_species(name)
    verts, faces, _ = _mesh(limbs)
    weights, parts = _memberships(verts, segments, limbs)
    mean = _neighbour_mean(faces, len(verts))
    for _ in range(_SMOOTHING_STEPS):
        weights, parts = 0.5 * (weights + mean @ weights), 0.5 * (parts + mean @ parts)
    keypoints, keypoint_faces = _keypoints(name, verts, faces)

    low, high = verts.min(0), verts.max(0)
    share = np.array([0.5, ORIGIN_HEIGHT, 0.5])
    centre = (low + share * (high - low)) * np.array([0.0, 1.0, 1.0])
    scale = BODY_SIZE / (high - low).max()
    return Template(
        verts=((verts - centre) * scale).astype(np.float32),
        faces=faces.astype(np.int32),
        weights=weights.astype(np.float32),
        segments=((segments - centre) * scale).astype(np.float32),
        parts=parts.astype(np.float32),
        keypoints=keypoints.astype(np.int32),
        keypoint_faces=keypoint_faces.astype(np.int32),
    )
