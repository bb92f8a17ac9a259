"""Bends an animal's front down to the ground."""

import numpy as np
from jaxtyping import Float

from pony_jax.reconstruction.motion.body_parts import body_parts
from pony_jax.reconstruction.skeleton import Skeleton

_LARGEST_DEG = {"chest": 8.0, "withers": 54.0, "neck": 18.0, "head": -8.0, "only": 44.0}
"""Turns of each bone that leave room, within the limits of joints, for movements on top. Most comes
from the first bone of the neck, at the withers: a horse lowers its neck straight."""
_MOUTH_HEIGHT = 0.03
"""Height of the mouth above the ground, as a share of what it is at rest."""


def lowered_head(skeleton: Skeleton, ground: float) -> Float[np.ndarray, " k"]:
    """Angles about x of each bone that bring the head's tip to the ground, or as low as they can.

    All 0 for a skeleton without a neck.

    Args:
      skeleton: at rest, standing.
      ground: its height, world units.
    """
    parts = body_parts(skeleton)
    if not parts.neck:
        return np.zeros(skeleton.num_bones)
    largest = np.zeros(skeleton.num_bones)
    largest[list(parts.chest)] = _LARGEST_DEG["chest"]
    largest[list(parts.neck)] = _LARGEST_DEG["neck"]
    largest[parts.neck[0]] = _LARGEST_DEG["withers"]
    largest[parts.neck[-1]] = _LARGEST_DEG["head" if len(parts.neck) > 1 else "only"]
    shares = np.linspace(0, 1, 201)
    angles = np.zeros((len(shares), skeleton.num_bones, 3))
    angles[..., 0] = shares[:, None] * np.radians(largest)
    tip = parts.neck[-1]
    height = skeleton.posed_bones(skeleton.world_from_rest(angles))[:, tip, 1, 1] - ground
    reached = np.flatnonzero(height <= _MOUTH_HEIGHT * height[0])
    return angles[reached[0] if len(reached) else int(np.argmin(height)), :, 0]
