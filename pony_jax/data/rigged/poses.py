"""Poses out of a model's clips: how every joint moves the rest mesh, the animal upright, in place.

Joint k at rest in `bind[k]` moves the skin by x -> place[k] + turn[k] (x - bind[k]). A clip that
walks away, turns or jumps would move the animal out of its own frame: so the turn about the
vertical and the shift of the whole animal are taken out of every pose. Poses in which it lies or
falls are left out; `count_poses` says how many there are of each clip.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from pony_jax.data.gltf_file import GltfError

_MAX_TILT_DEG = 35.0
"""An animal whose back is turned by more than that is not upright; one that rears is by less."""


class Poses(NamedTuple):
    """All upright poses of a model, clip by clip."""

    turns: Float[np.ndarray, "p k 3 3"]
    places: Float[np.ndarray, "p k 3"]
    clip: Int[np.ndarray, " p"]  # index into `clip_names`
    frame: Int[np.ndarray, " p"]  # of the clip, at 30 a second
    first: Int[np.ndarray, " c"]  # where the poses of each clip that has any start,
    count: Int[np.ndarray, " c"]  # and how many it has
    clip_names: tuple[str, ...]


def upright_poses(
    name: str,
    clips: dict[str, Float[np.ndarray, "t k 4 4"]],
    verts: Float[np.ndarray, "v 3"],
    weights: Float[np.ndarray, "v k"],
    bind: Float[np.ndarray, "k 3"],
) -> Poses:
    """The poses of `clips` (world from rest, all in one frame and scale with `verts`).

    Raises `GltfError` where the animal, called `name`, is upright in none.
    """
    turns, places, clip, frame = [], [], [], []
    mean = verts.mean(axis=0)
    for number, matrices in enumerate(clips.values()):
        moved_bind = np.einsum("tkij,kj->tki", matrices[..., :3, :3], bind) + matrices[..., :3, 3]
        for t, (matrix, place) in enumerate(zip(matrices, moved_bind, strict=True)):
            posed = skin(verts, weights, bind, matrix[:, :3, :3], place)
            whole, _ = Rotation.align_vectors(posed - posed.mean(axis=0), verts - mean)
            tilt_deg = np.degrees(np.arccos(np.clip(whole.as_matrix()[1, 1], -1, 1)))
            if tilt_deg > _MAX_TILT_DEG:
                continue
            forward = whole.apply([0.0, 0.0, 1.0])
            back = Rotation.from_rotvec([0.0, -np.arctan2(forward[0], forward[2]), 0.0])
            shift = mean - back.apply(posed.mean(axis=0))
            turns.append(back.as_matrix() @ matrix[:, :3, :3])
            places.append(back.apply(place) + shift)
            clip.append(number)
            frame.append(t)
    if not turns:
        raise GltfError(
            f"{name}: expected clips in which the animal stands upright, got none; is y up and z "
            "forward in the file?"
        )
    _, first, count = np.unique(clip, return_index=True, return_counts=True)
    return Poses(
        turns=np.array(turns, np.float32),
        places=np.array(places, np.float32),
        clip=np.array(clip),
        frame=np.array(frame),
        first=first,
        count=count,
        clip_names=tuple(clips),
    )


def count_poses(poses: Poses) -> dict[str, int]:
    """How many poses each clip gives; 0 for one in which the animal is never upright."""
    return {name: int(np.sum(poses.clip == i)) for i, name in enumerate(poses.clip_names)}


def skin(
    verts: Float[np.ndarray, "v 3"],
    weights: Float[np.ndarray, "v k"],
    bind: Float[np.ndarray, "k 3"],
    turns: Float[np.ndarray, "k 3 3"],
    places: Float[np.ndarray, "k 3"],
) -> Float[np.ndarray, "v 3"]:
    """Linear blend skinning: the weighted mean of what every joint does to a vertex."""
    shifts = places - np.einsum("kij,kj->ki", turns, bind)
    blended = np.tensordot(weights, turns, axes=1)
    return np.einsum("vij,vj->vi", blended, verts) + weights @ shifts
