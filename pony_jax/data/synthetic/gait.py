"""Poses: standing, walking, trotting, galloping and grazing, within the limits of the joints."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from pony_jax.data.synthetic.anatomy import BONE_INDEX, BONE_NAMES, SIDES, without_side

GAITS = ("stand", "walk", "trot", "gallop", "graze")
_SHARE = np.array([0.28, 0.26, 0.10, 0.20, 0.16], np.float32)

# Per gait, radians: stride of a leg to each side, bend of a lifted leg, and what neck and tail do.
_STRIDE = np.array([0.10, 0.36, 0.42, 0.72, 0.20], np.float32)
_LIFT = np.array([0.0, 0.55, 0.75, 1.0, 0.0], np.float32)
_NECK_LOW = np.array([0.0, 0.08, 0.0, 0.30, 1.42], np.float32)
_NECK_HIGH = np.array([0.0, 0.08, 0.0, 0.18, 0.62], np.float32)
_HEAD = np.array([0.0, 0.0, 0.05, -0.35, -0.75], np.float32)
_TAIL = np.array([0.0, 0.05, 0.25, 0.75, 0.0], np.float32)
# Phase of left fore, right fore, left hind, right hind, in turns; standing and grazing horses place
# each leg for itself.
_PHASE = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [0.25, 0.75, 0.0, 0.5],
        [0.5, 0.0, 0.0, 0.5],
        [0.55, 0.68, 0.0, 0.13],
        [0.0, 0.0, 0.0, 0.0],
    ],
    np.float32,
)
_PLACED = np.array([1.0, 0.0, 0.0, 0.0, 1.0], np.float32)

# Part of a bone's name -> largest angles about x (backwards positive for what hangs), y and z.
_LIMITS_DEG = {
    "hips": ((-12, 12), 5, 4),
    "chest": ((-8, 8), 6, 4),
    "neck_low": ((-15, 88), 18, 8),
    "neck_high": ((-12, 45), 18, 8),
    "head": ((-55, 20), 15, 8),
    "tail": ((-10, 70), 10, 25),
    "upper_arm": ((-30, 30), 3, 7),
    "forearm": ((-55, 35), 3, 3),
    "fore_cannon": ((-3, 95), 0, 0),
    "fore_hoof": ((-30, 60), 0, 0),
    "thigh": ((-50, 35), 3, 7),
    "gaskin": ((-12, 60), 3, 3),
    "hind_cannon": ((-70, 12), 0, 0),
    "hind_hoof": ((-30, 60), 0, 0),
}


def _limits_rad() -> Float[np.ndarray, "2 k 3"]:
    limits = np.zeros((2, len(BONE_NAMES), 3), np.float32)
    for bone, name in enumerate(BONE_NAMES):
        (found,) = [v for part, v in _LIMITS_DEG.items() if _is_part(part, name)]
        (low, high), yaw, roll = found
        limits[:, bone] = [[low, -yaw, -roll], [high, yaw, roll]]
    return np.radians(limits)


def _is_part(part: str, name: str) -> bool:
    plain = without_side(name)
    return plain.startswith("tail") if part == "tail" else plain == part


LIMITS_RAD: Float[np.ndarray, "2 k 3"] = _limits_rad()
"""Smallest and largest Euler angles of every bone."""

_JITTER = 0.3 * np.minimum(LIMITS_RAD[1], np.radians(12)).clip(0)
_JITTER[BONE_INDEX["neck_low"], 0] = 0.2  # heads go up and down more than anything else


def sample_pose(
    key: PRNGKeyArray, elapsed: Float[Array, ""] | float = 0.0
) -> tuple[Float[Array, "k 3"], Int[Array, ""]]:
    """Euler angles XYZ (radians, against the rest pose) of every bone, and the gait's index.

    `elapsed` is how much later in its strides the same animal is looked at, in strides.
    """
    key_uniform, key_normal = jax.random.split(key)
    which, time, vigour, lead, *own = jax.random.uniform(key_uniform, (8,))
    gait = jnp.searchsorted(jnp.cumsum(_SHARE)[:-1], which)
    time = time + elapsed
    phase = jnp.asarray(_PHASE)[gait] + time
    phase = jnp.where(lead < 0.5, phase, phase[jnp.array([1, 0, 3, 2])])
    phase = 2 * jnp.pi * (phase + jnp.asarray(_PLACED)[gait] * jnp.stack(own))
    vigour = 0.75 + 0.4 * vigour
    stride, lift = jnp.asarray(_STRIDE)[gait] * vigour, jnp.asarray(_LIFT)[gait] * vigour

    bend = {
        "neck_low": jnp.asarray(_NECK_LOW)[gait],
        "neck_high": jnp.asarray(_NECK_HIGH)[gait],
        "head": jnp.asarray(_HEAD)[gait],
        "tail_dock": jnp.asarray(_TAIL)[gait],
        "hips": jnp.where(gait == GAITS.index("gallop"), 0.12 * jnp.sin(2 * jnp.pi * time), 0.0),
    }
    for leg, side in enumerate(SIDES):
        bend |= _foreleg(side, stride, lift, phase[leg]) | _hind_leg(
            side, stride, lift, phase[2 + leg]
        )
    names, bends = list(bend), jnp.stack(list(bend.values()))
    angles = _JITTER * jax.random.normal(key_normal, _JITTER.shape)
    angles = angles.at[np.array([BONE_INDEX[name] for name in names]), 0].add(bends)
    return jnp.clip(angles, *LIMITS_RAD), gait


def _foreleg(side: str, stride: Array, lift: Array, phase: Array) -> dict[str, Array]:
    """Bends of a foreleg; at phase 0 it is farthest forward, and it is lifted on its way there."""
    back, lifted = -stride * jnp.cos(phase), lift * jnp.maximum(-jnp.sin(phase), 0.0)
    return {
        f"{side}_upper_arm": 0.5 * back,
        f"{side}_forearm": 0.6 * back - 0.45 * lifted,
        f"{side}_fore_cannon": 1.45 * lifted,
        f"{side}_fore_hoof": 0.7 * lifted,
    }


def _hind_leg(side: str, stride: Array, lift: Array, phase: Array) -> dict[str, Array]:
    back, lifted = -stride * jnp.cos(phase), lift * jnp.maximum(-jnp.sin(phase), 0.0)
    return {
        f"{side}_thigh": 0.9 * back - 0.4 * lifted,
        f"{side}_gaskin": 0.85 * lifted + 0.15 * jnp.maximum(-back, 0.0),
        f"{side}_hind_cannon": -0.95 * lifted,
        f"{side}_hind_hoof": 0.6 * lifted,
    }
