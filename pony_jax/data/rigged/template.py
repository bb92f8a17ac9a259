"""What all individuals of a rigged model share: skin, skeleton, keypoints, poses; object frame.

The rest mesh is scaled and centred as the synthetic animal's: the longest side of its box is
`BODY_SIZE`, x = 0 its plane of symmetry, z forward, y up.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pony_jax.data.gltf_file import GltfError
from pony_jax.data.rigged.body_parts import name_parts, part_of
from pony_jax.data.rigged.model import RiggedModel
from pony_jax.data.rigged.poses import Poses, upright_poses
from pony_jax.data.synthetic.template import BODY_SIZE, ORIGIN_HEIGHT

FORWARD = {"+z": (0, 1), "-z": (0, -1), "+x": (1, 1), "-x": (1, -1)}
"""Directions in the file's world in which an animal may look: (whether along x, sign)."""

CHAINS = ("front", "rear", "left_fore", "left_hind", "right_fore", "right_hind")
_SAME_PLACE = 1e-5
"""Vertices closer than this share of the body's size are one."""


class RiggedTemplate(NamedTuple):
    """The skin has two forms: welded, the surface that is compared (`verts`, `faces`), and split
    at seams of colour, as it is drawn (`drawn_*`, each one a copy of `verts[welded]`)."""

    name: str
    verts: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]  # (v1 - v0) x (v2 - v0) points outwards
    weights: Float[np.ndarray, "v k"]
    drawn_faces: Int[np.ndarray, "f 3"]
    welded: Int[np.ndarray, " d"]
    materials: Int[np.ndarray, " d"]
    colours: Float[np.ndarray, "d 3"]  # linear
    uv: Float[np.ndarray, "d 2"]
    textures: dict[int, Float[np.ndarray, "t t 3"]]
    material_names: tuple[str, ...]
    bone_names: tuple[str, ...]
    parents: tuple[int, ...]  # earlier bones; -1 for the root alone
    segments: Float[np.ndarray, "k 2 3"]
    keypoint_names: tuple[str, ...]
    keypoints: Int[np.ndarray, " n"]  # of `verts`
    keypoint_faces: Int[np.ndarray, "n j"]  # around each keypoint, padded by repetition
    chain_points: Int[np.ndarray, "6 j"] | None  # rows of `segments.reshape(-1, 3)`, by `CHAINS`
    poses: Poses


def make_template(model: RiggedModel, forward: str = "+z") -> RiggedTemplate:
    """Brings a model into the object frame and finds its bones and keypoints.

    Args:
      forward: where its head points in the file's world, out of `FORWARD`; y is up.

    Raises:
      GltfError: where the names of joints contradict `forward`, or no pose is upright.
    """
    turn = _turn_to_object(forward)
    verts, bind, ends = (x @ turn.T for x in (model.verts, model.bind, model.ends))
    low, high = verts.min(axis=0), verts.max(axis=0)
    size = (high - low).max()
    if not size > 0:
        raise GltfError(f"{model.name}: expected a mesh with an extent, got a point")
    scale = BODY_SIZE / size
    centre = low + np.array([0.5, ORIGIN_HEIGHT, 0.5]) * (high - low)
    verts, bind, ends = ((x - centre) * scale for x in (verts, bind, ends))
    clips = {name: _moved(m, turn, centre, scale) for name, m in model.clips.items()}

    welded_of, first = _weld(verts, model.weights, size * scale)
    drawn_faces = _with_area(model.faces, welded_of)
    verts, weights = verts[first], model.weights[first]
    order, parents = _one_tree(model.parents, bind, weights)
    bind, ends, weights = bind[order], ends[order], weights[:, order]
    joints = tuple(model.joints[i] for i in order)
    clips = {name: matrices[:, order] for name, matrices in clips.items()}
    faces = _outwards(verts, welded_of[drawn_faces])
    segments = np.stack([bind, _tails(joints, bind, ends, parents, verts, weights)], axis=1)
    named = name_parts(joints)
    if named is not None:
        _check_directions(model.name, bind, named.chains, forward)
    names, keypoints = _keypoints(joints, named, bind, verts, weights)
    around = [np.flatnonzero((faces == vert).any(axis=1)) for vert in keypoints]
    longest = max(map(len, around))
    return RiggedTemplate(
        name=model.name,
        verts=verts.astype(np.float32),
        faces=faces.astype(np.int32),
        weights=weights.astype(np.float32),
        drawn_faces=drawn_faces.astype(np.int32),
        welded=welded_of.astype(np.int32),
        materials=model.materials,
        colours=model.colours.astype(np.float32),
        uv=model.uv.astype(np.float32),
        textures=model.textures,
        material_names=model.material_names,
        bone_names=joints,
        parents=parents,
        segments=segments.astype(np.float32),
        keypoint_names=names,
        keypoints=keypoints.astype(np.int32),
        keypoint_faces=np.stack([np.resize(rows, longest) for rows in around]).astype(np.int32),
        chain_points=None if named is None else _chain_points(named.chains),
        poses=upright_poses(model.name, clips, verts, weights, bind),
    )


def _turn_to_object(forward: str) -> Float[np.ndarray, "3 3"]:
    """Rows are the animal's left, up and forward in the file's world."""
    along_x, sign = FORWARD[forward]
    z = np.array([sign, 0, 0] if along_x else [0, 0, sign], np.float64)
    y = np.array([0.0, 1.0, 0.0])
    return np.stack([np.cross(y, z), y, z])


def _moved(
    matrices: Float[np.ndarray, "t k 4 4"], turn: np.ndarray, centre: np.ndarray, scale: float
) -> Float[np.ndarray, "t k 4 4"]:
    """The same motions of points in the object frame."""
    object_from_file = np.eye(4)
    object_from_file[:3, :3] = scale * turn
    object_from_file[:3, 3] = -scale * centre
    return object_from_file @ matrices @ np.linalg.inv(object_from_file)


def _weld(
    verts: np.ndarray, weights: np.ndarray, size: float
) -> tuple[Int[np.ndarray, " d"], Int[np.ndarray, " v"]]:
    """For each vertex the number of the place it is in, and of each place the first vertex.

    Vertices of one place that joints move differently stay apart.
    """
    places = np.round(verts / (_SAME_PLACE * size)).astype(np.int64)
    keys = np.concatenate([places, np.round(weights * 1000).astype(np.int64)], axis=1)
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # as the file has them
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[number.reshape(-1)], first[order]


def _with_area(faces: np.ndarray, welded_of: np.ndarray) -> np.ndarray:
    """The faces whose corners stay three after welding; the others are lines and points."""
    corners = np.sort(welded_of[faces], axis=1)
    return faces[(np.diff(corners, axis=1) > 0).all(axis=1)]


def _outwards(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """glTF winds faces outwards; a file that does not is turned over as a whole."""
    corners = verts[faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return faces if volume >= 0 else faces[:, ::-1]


def _one_tree(
    parents: tuple[int, ...], bind: np.ndarray, weights: np.ndarray
) -> tuple[list[int], tuple[int, ...]]:
    """An order of the bones, parents first, and their parents in that order: one tree.

    Feet are often moved by targets of inverse kinematics that hang on nothing. Trees other than
    the largest are hung on the bone with which their root shares most of the skin, or is nearest.
    """
    parents = list(parents)
    roots = [_root_of(i, parents) for i in range(len(parents))]
    largest = max(sorted(set(roots)), key=roots.count)
    inside = {i for i, root in enumerate(roots) if root == largest}
    waiting = sorted(set(roots) - {largest})
    while waiting:
        candidates = [
            (-float(np.minimum(weights[:, root], weights[:, other]).sum()), distance, root, other)
            for root in waiting
            for other in sorted(inside)
            for distance in [float(np.linalg.norm(bind[root] - bind[other]))]
        ]
        *_, root, other = min(candidates)
        parents[root] = other
        inside |= {i for i, its_root in enumerate(roots) if its_root == root}
        waiting.remove(root)
    order = [largest]
    for bone in order:
        order += [i for i, parent in enumerate(parents) if parent == bone]
    place = {bone: i for i, bone in enumerate(order)}
    return order, tuple(-1 if bone == largest else place[parents[bone]] for bone in order)


def _root_of(bone: int, parents: list[int]) -> int:
    while parents[bone] >= 0:
        bone = parents[bone]
    return bone


def _tails(
    joints: tuple[str, ...],
    bind: np.ndarray,
    ends: np.ndarray,
    parents: tuple[int, ...],
    verts: np.ndarray,
    weights: np.ndarray,
) -> Float[np.ndarray, "k 3"]:
    """Where bones end: at the child with most bones behind it, at what the file hangs on a last
    bone, or as far beyond the middle of what it moves as that is from its head. Ears do not count
    as children of a head."""
    num_behind = np.ones(len(bind))
    for bone in range(len(bind) - 1, 0, -1):
        num_behind[parents[bone]] += num_behind[bone]
    strongest = weights.argmax(axis=1)
    tails = bind.copy()
    for bone in range(len(bind)):
        children = [
            c
            for c in range(bone + 1, len(bind))
            if parents[c] == bone and not (part_of(joints[c]) == "ear" != part_of(joints[bone]))
        ]
        apart = [c for c in children if np.linalg.norm(bind[c] - bind[bone]) > 1e-3]
        if apart:
            tails[bone] = bind[max(apart, key=lambda c: num_behind[c])]
        elif np.all(np.isfinite(ends[bone])):
            tails[bone] = ends[bone]
        elif np.any(strongest == bone):
            tails[bone] = 2 * verts[strongest == bone].mean(axis=0) - bind[bone]
    return tails


def _check_directions(name: str, bind: np.ndarray, chains: dict, forward: str) -> None:
    along = bind[chains["front"][-1]] - bind[chains["rear"][-1]]
    left = bind[chains["left_fore"][0]] - bind[chains["right_fore"][0]]
    if along[2] <= abs(along[0]) or left[0] <= 0:
        raise GltfError(
            f"{name}: expected the head towards {forward} and its joints named left on the "
            "animal's left, y up, got others; give another --forward"
        )


def _keypoints(
    joints: tuple[str, ...],
    named: object,
    bind: np.ndarray,
    verts: np.ndarray,
    weights: np.ndarray,
) -> tuple[tuple[str, ...], Int[np.ndarray, " n"]]:
    """Names of the keypoints, and their vertices."""
    strongest = weights.argmax(axis=1)
    if named is None:
        return joints, np.array(
            [np.argmin(np.linalg.norm(verts - place, axis=1)) for place in bind]
        )
    found = {}
    for name, (joint, direction, is_tip) in named.keypoints.items():
        axis = np.asarray(direction) / np.linalg.norm(direction)
        offset = verts - bind[joint]
        along = offset @ axis
        sideways = 0.5 * np.abs(offset[:, 0]) * (axis[0] == 0)  # neither inside nor outside
        if is_tip and np.any(strongest == joint):
            cost = np.where(strongest == joint, sideways - along, np.inf)
        else:
            beside = np.linalg.norm(offset - along[:, None] * axis, axis=1)
            cost = np.where(along > 0, beside + sideways - 0.1 * along, np.inf)
        found[name] = np.argmin(cost)
    return tuple(found), np.array(list(found.values()))


def _chain_points(chains: dict[str, tuple[int, ...]]) -> Int[np.ndarray, "6 j"]:
    """Heads of a chain's bones and the tail of the last, padded by repeating that."""
    points = [[2 * bone for bone in chains[name]] + [2 * chains[name][-1] + 1] for name in CHAINS]
    longest = max(map(len, points))
    return np.array([row + row[-1:] * (longest - len(row)) for row in points], np.int32)
