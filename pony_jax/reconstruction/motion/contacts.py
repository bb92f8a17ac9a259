"""Measures whether hooves that stand on the ground slide on it or sink into it."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation, Slerp

from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.motion.legs import find_legs
from pony_jax.reconstruction.motion.soles import (
    body_length,
    find_sole,
    ground_height,
    skeleton_of,
)
from pony_jax.reconstruction.skeleton import LEGS, Skeleton

PLANTED_HEIGHT = 0.003
"""Share of the body's length: a hoof that is no higher than this above the ground is planted."""


class Contacts(NamedTuple):
    """How hooves meet the ground, in shares of the body's length.

    Attributes:
      slide: farthest that a planted hoof gets from where it was while it stays planted.
      sink: deepest that a hoof gets below the ground.
      times_s: that were looked at, seconds.
      planted: whether each hoof touches the ground, in the order of `LEGS`.
    """

    slide: float
    sink: float
    times_s: Float[np.ndarray, " n"]
    planted: Bool[np.ndarray, "n 4"]

    def duty_factors(self) -> dict[str, float]:
        """Share of the time that each hoof is on the ground."""
        # The last time is the first of the next cycle.
        return dict(zip(LEGS, self.planted[:-1].mean(axis=0).tolist(), strict=True))


def measure_contacts(
    subject: Animal | Skeleton,
    clip: Clip,
    *,
    ground_speed: float = 0.0,
    samples_per_frame: int = 4,
) -> Contacts:
    """Looks at the soles of all hooves during a clip.

    The soles are the lowest vertices of the skinned hooves of an animal, or the ends of the foot
    bones of a skeleton. The ground is the plane on which the animal stands at rest; a hoof is
    planted while its lowest point is within `PLANTED_HEIGHT` of it. It slides by the largest
    distance between two places of the middle of its sole during one contact.

    Args:
      subject: what moves.
      clip: of that skeleton.
      ground_speed: how fast the ground goes backwards, world units per second: the speed of a gait
        that was made with `in_place`.
      samples_per_frame: also looks between frames, where viewers interpolate.

    Raises:
      ValueError: without four legs, or for a clip of another skeleton.
    """
    skeleton = skeleton_of(subject)
    soles = [find_sole(subject, leg) for leg in find_legs(skeleton)]
    times_s, transforms = _interpolated(skeleton, clip, samples_per_frame)
    scale = max(body_length(subject), 1e-9)
    ground = ground_height(soles)
    planted, slides, sinks = [], [], []
    for sole in soles:
        places = sole.posed(transforms)
        places[..., 2] += ground_speed * times_s[:, None]
        height = places[..., 1].min(axis=1) - ground
        contact = height <= PLANTED_HEIGHT * scale
        planted.append(contact)
        sinks.append(max(0.0, -float(height.min())))
        slides += [_spread(places[run].mean(axis=1)) for run in _runs(contact)]
    return Contacts(
        slide=max(slides, default=0.0) / scale,
        sink=max(sinks) / scale,
        times_s=times_s,
        planted=np.stack(planted, axis=1),
    )


def ground_speed(subject: Animal | Skeleton, clip: Clip) -> float:
    """Speed at which an animal that steps in place would move ahead, world units per second.

    The median over all planted hooves of how fast they go backwards; 0 where none stays planted.
    """
    skeleton = skeleton_of(subject)
    soles = [find_sole(subject, leg) for leg in find_legs(skeleton)]
    times_s, transforms = _interpolated(skeleton, clip, 1)
    limit = ground_height(soles) + PLANTED_HEIGHT * body_length(subject)
    speeds = []
    for sole in soles:
        places = sole.posed(transforms)
        contact = places[..., 1].min(axis=1) <= limit
        speed = -np.diff(places[..., 2].mean(axis=1)) / np.diff(times_s)
        speeds.append(speed[contact[:-1] & contact[1:]])
    speeds = np.concatenate(speeds)
    return float(np.median(speeds)) if len(speeds) else 0.0


def travelling(clip: Clip, speed: float) -> Clip:
    """The same clip, its animal moving ahead (+z) at a speed in world units per second."""
    way = speed * clip.times_s[:, None] * np.array([0.0, 0.0, 1.0])
    return dataclasses.replace(clip, root_translation=clip.root_translation + way)


def _interpolated(
    skeleton: Skeleton, clip: Clip, samples_per_frame: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n k 4 4"]]:
    """Times between the frames too, and where each bone is then."""
    frames = np.arange(len(clip.times_s))
    fine = np.linspace(0, frames[-1], samples_per_frame * frames[-1] + 1)
    times_s = np.interp(fine, frames, clip.times_s)
    before = np.minimum(np.floor(fine).astype(int), max(frames[-1] - 1, 0))
    share = (fine - before)[:, None]
    after = np.minimum(before + 1, frames[-1])
    angles = _blend(clip.angles_rad, before, after, share[..., None])
    translation = _blend(clip.root_translation, before, after, share)
    rotations = clip.root_rotation
    if len(frames) > 1:
        rotations = Slerp(clip.times_s, Rotation.from_matrix(rotations))(times_s).as_matrix()
    return times_s, skeleton.world_from_rest(angles, translation, rotations)


def _blend(values: np.ndarray, before: np.ndarray, after: np.ndarray, share: np.ndarray):
    return values[before] * (1 - share) + values[after] * share


def _runs(contact: Bool[np.ndarray, " n"]) -> list[slice]:
    """Stretches of consecutive true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], contact, [0]])))
    return [slice(start, stop) for start, stop in edges.reshape(-1, 2)]


def _spread(places: Float[np.ndarray, "n 3"]) -> float:
    """Largest horizontal distance between two of the places."""
    flat = places[:, [0, 2]]
    return float(np.linalg.norm(flat[:, None] - flat[None], axis=-1).max())
