"""How far the joints of a quadruped turn: the limits that gaits keep."""

import numpy as np
from jaxtyping import Float

from pony_jax.reconstruction.motion.body_parts import body_parts
from pony_jax.reconstruction.skeleton import LEGS, Skeleton

# Degrees about the bone's own axes (x, y, z): smallest and largest. The rest pose is a standing
# animal, whose elbow, stifle and hock are bent: so these also straighten. About x, positive swings
# a leg backwards, the neck down and the tail up; about y, the far end goes to the left.
_LIMITS_DEG = {
    # Our choice, wide enough for a gallop. Legs of three straight bones turn more at hip and knee
    # than a horse's: they also do what shoulder blades, pelvis and fetlocks do there.
    "front_hip": ((-55, 60), (-15, 15), (-5, 5)),  # shoulder
    "front_knee": ((-100, 20), (-5, 5), (-5, 5)),  # elbow: folding brings the forearm forward
    "front_foot": ((-30, 120), (-5, 5), (-5, 5)),  # carpus, fetlock: folding takes the hoof back
    "rear_hip": ((-70, 50), (-15, 15), (-5, 5)),
    "rear_knee": ((-25, 100), (-5, 5), (-5, 5)),  # stifle: folding takes the hoof back
    "rear_foot": ((-90, 50), (-5, 5), (-5, 5)),  # hock, fetlock: folding brings the hoof forward
    "trunk": ((-20, 20), (-15, 15), (-10, 10)),
    "neck": ((-40, 60), (-30, 30), (-15, 15)),
    "head": ((-50, 50), (-25, 25), (-20, 20)),
    "tail": ((-40, 70), (-45, 45), (-20, 20)),
}


class OutOfReachError(ValueError):
    """A motion that the joints or legs of an animal cannot make."""


def joint_limits_rad(skeleton: Skeleton) -> Float[np.ndarray, "2 k 3"]:
    """Smallest and largest Euler angles (x, y, z) of each bone, radians."""
    limits = [_LIMITS_DEG[kind] for kind in _kinds(skeleton)]
    return np.radians(np.moveaxis(np.array(limits, np.float64), -1, 0))


def _kinds(skeleton: Skeleton) -> list[str]:
    """Rows of the table for each bone."""
    parts = body_parts(skeleton)
    kinds = [""] * skeleton.num_bones
    for kind, rows in {
        "trunk": parts.chest + parts.loin,
        "neck": parts.neck,
        "head": parts.neck[-1:],
        "tail": parts.tail,
    }.items():
        for row in rows:
            kinds[row] = kind
    for leg in LEGS:
        for row in skeleton.leg(leg):
            joint = skeleton.names[row].removeprefix(f"{leg}_").partition("_")[0]
            kinds[row] = f"{leg.partition('_')[0]}_{joint}"
    return kinds


def check_joint_limits(skeleton: Skeleton, angles_rad: Float[np.ndarray, "t k 3"]) -> None:
    """Raises `OutOfReachError` with the joint that leaves its limits most, if one does."""
    low, high = joint_limits_rad(skeleton)
    excess = np.maximum(low - angles_rad, angles_rad - high)
    if np.max(excess, initial=0.0) <= 1e-9:
        return
    frame, bone, axis = np.unravel_index(np.argmax(excess), excess.shape)
    span = np.degrees([low[bone, axis], high[bone, axis]]).round().astype(int).tolist()
    raise OutOfReachError(
        f"{skeleton.names[bone]}: expected angles about {'xyz'[axis]} within {span} degrees, got "
        f"{np.degrees(angles_rad[frame, bone, axis]):.0f}; take a shorter stride or less lift"
    )
