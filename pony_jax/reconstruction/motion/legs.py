"""A leg as three bones in a plane, and the joint angles that put its hoof where it is wanted."""

import dataclasses

import numpy as np
from jaxtyping import Float

from pony_jax.reconstruction.motion.limits import OutOfReachError
from pony_jax.reconstruction.skeleton import LEGS, Skeleton

_STRAIGHT = 0.98
"""Share of the way to a straight upper leg that a wanted cannon pitch may go. At 1 the knee's angle
would have an infinite rate."""

_NEARLY = 0.999  # of its length, that a leg is stretched to towards what it cannot reach
_MOST_SIDEWAYS = 0.5  # sine of the largest tilt of a leg's plane


@dataclasses.dataclass(frozen=True, eq=False)
class Leg:
    """One leg at rest: straight from the body down to the hoof.

    Attributes:
      name: one of `pony_jax.reconstruction.skeleton.LEGS`.
      bones: rows of the hip, the knee and the foot bone. In horse terms the foot bone is the
        cannon with the hoof; the knee is the elbow in front and the stifle behind, the foot's
        joint the carpus in front and the hock behind.
      attachment: bone of the body that the leg hangs from; -1 for the root joint.
      hip: where the leg begins, world units.
      tip: the lower end of the foot bone.
      frame: columns right (+x), up (forwards, for a leg that hangs) and forward (down the leg).
      lengths: of the three bones.
    """

    name: str
    bones: tuple[int, int, int]
    attachment: int
    hip: Float[np.ndarray, " 3"]
    tip: Float[np.ndarray, " 3"]
    frame: Float[np.ndarray, "3 3"]
    lengths: Float[np.ndarray, " 3"]

    @property
    def is_front(self) -> bool:
        """Whether this is a foreleg."""
        return self.name.startswith("front")

    @property
    def length(self) -> float:
        """From the hip to the tip of the straight leg."""
        return float(self.lengths.sum())

    def solve(
        self,
        tips: Float[np.ndarray, "t 3"],
        cannon_pitch_rad: Float[np.ndarray, " t"],
        *,
        nearest: bool = False,
    ) -> Float[np.ndarray, "t 3 3"]:
        """Euler angles of the hip, knee and foot bone that put the leg's tip at `tips`.

        The two upper bones and the cannon move in one plane, which turns about the hip. Elbows
        point backwards and stifles forwards. Where the leg cannot both reach and keep the wanted
        pitch of the cannon, it reaches.

        Args:
          tips: wanted places of the tip, in the rest frame of the bone that the leg hangs from.
          cannon_pitch_rad: wanted turn of the foot bone against the rest pose, in the leg's
            plane; positive swings the hoof backwards.
          nearest: goes as near as the leg can to places that are out of its reach.

        Raises:
          OutOfReachError: for a place farther away than the leg is long, or beside a folded leg,
            unless the nearest one will do.
        """
        x, y, z = ((tips - self.hip) @ self.frame).T
        distance = np.sqrt(x * x + y * y + z * z)
        reach = self.length * (_NEARLY if nearest else 1 + 1e-6)
        if nearest:
            share = np.minimum(1.0, reach / np.maximum(distance, reach))
            x, y, z, distance = share * x, share * y, share * z, share * distance
        elif np.any(distance > reach):
            raise OutOfReachError(
                f"{self.name}: expected hoof places within {self.length:.3g} of the hip, the leg's "
                f"length, got one at {distance.max():.3g}; take a shorter stride"
            )
        across = np.hypot(x, z)  # depth in the leg's plane, which holds the tip
        upper, lower, cannon = self.lengths
        pitch = self._reachable_pitch(distance, _angle(y, across), cannon_pitch_rad)
        carpus_y, carpus_z = y + cannon * np.sin(pitch), across - cannon * np.cos(pitch)
        square = carpus_y**2 + carpus_z**2
        cosine = (square - upper**2 - lower**2) / (2 * upper * lower)
        knee = (-1 if self.is_front else 1) * np.arccos(np.clip(cosine, -1, 1))
        hip = _angle(carpus_y, carpus_z) - np.arctan2(
            lower * np.sin(knee), upper + lower * np.cos(knee)
        )
        foot = pitch - hip - knee
        # The plane itself: its tilt sideways, then the hip's swing, which that tilt changes a bit.
        planar_y = -lower * np.sin(knee) - cannon * np.sin(knee + foot)
        planar_z = upper + lower * np.cos(knee) + cannon * np.cos(knee + foot)
        sideways = x / np.maximum(planar_z, 1e-9)
        if not nearest and np.any(np.abs(sideways) > _MOST_SIDEWAYS):
            raise OutOfReachError(
                f"{self.name}: expected hoof places below the hip, got some to the side that the "
                "folded leg cannot reach; take less lift"
            )
        tilt = np.arcsin(np.clip(sideways, -_MOST_SIDEWAYS, _MOST_SIDEWAYS))
        swing = _angle(y, z) - _angle(planar_y, np.cos(tilt) * planar_z)
        zero = np.zeros_like(knee)
        swing, foot = _wrapped(swing), _wrapped(foot)
        rows = [[swing, tilt, zero], [knee, zero, zero], [foot, zero, zero]]
        return np.moveaxis(np.array(rows), -1, 0)

    def _reachable_pitch(self, distance: np.ndarray, leg_angle: np.ndarray, wanted: np.ndarray):
        """The pitch next to the wanted one for which the upper bones reach the carpus; smooth."""
        upper, lower, cannon = self.lengths
        cosine = (distance**2 + cannon**2 - (upper + lower) ** 2) / (2 * distance * cannon)
        largest = _STRAIGHT * np.arccos(np.clip(cosine, -1, 1))
        ratio = (wanted - leg_angle) / np.maximum(largest, 1e-9)
        return leg_angle + largest * ratio / (1 + ratio**4) ** 0.25


def _angle(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Turn about x that takes the direction (0, 1) to that of (y, z)."""
    return np.arctan2(-y, z)


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """The same turn between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def find_legs(skeleton: Skeleton) -> tuple[Leg, ...]:
    """The four legs of a skeleton, in the order of `LEGS`.

    Raises:
      OutOfReachError: without four legs of three bones with lengths, straight at rest.
    """
    legs = []
    for name in LEGS:
        bones = skeleton.leg(name)
        if len(bones) != 3:
            raise OutOfReachError(
                f"{name}: expected a leg of three bones, got {len(bones)}; gaits need four legs of "
                "three bones (`model.num_legs=4`, `model.num_leg_bones=3`)"
            )
        ends = skeleton.bones_rest[list(bones)].astype(np.float64)
        lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
        span = np.linalg.norm(ends[-1, 1] - ends[0, 0])
        if span < 1e-6 or lengths.min() < 0.05 * span or lengths.sum() > 1.001 * span:
            raise OutOfReachError(
                f"{name}: expected three bones in a straight line, got lengths "
                f"{np.round(lengths, 3).tolist()} over a distance of {span:.3g}; the mesh may lack "
                "this leg"
            )
        attachment = int(skeleton.parents[bones[0]])
        frame = skeleton.bone_frames()[bones[0]]
        legs.append(Leg(name, bones, attachment, ends[0, 0], ends[-1, 1], frame, lengths))
    return tuple(legs)
