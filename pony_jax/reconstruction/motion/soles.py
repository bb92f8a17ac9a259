"""The parts of hooves that touch the ground, and the ground that an animal stands on."""

import dataclasses

import numpy as np
from jaxtyping import Float

from pony_jax.reconstruction.animal import Animal
from pony_jax.reconstruction.motion.legs import Leg
from pony_jax.reconstruction.skeleton import Skeleton

_SOLE_HEIGHT = 0.01
"""Share of the body's length: a sole is what lies no higher than this above a hoof's lowest
vertex."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sole:
    """Points under one hoof, at rest.

    Attributes:
      points: world units.
      weights: share of each bone in each point.
    """

    points: Float[np.ndarray, "n 3"]
    weights: Float[np.ndarray, "n k"]

    def posed(self, transforms: Float[np.ndarray, "t k 4 4"]) -> Float[np.ndarray, "t n 3"]:
        """The points after linear blend skinning."""
        blended = np.einsum("nk,tkij->tnij", self.weights, transforms[:, :, :3])
        return np.einsum("tnij,nj->tni", blended[..., :3], self.points) + blended[..., 3]


def skeleton_of(subject: Animal | Skeleton) -> Skeleton:
    """The skeleton of an animal, or the skeleton itself."""
    return subject.skeleton if isinstance(subject, Animal) else subject


def body_length(subject: Animal | Skeleton) -> float:
    """Extent along z: of the mesh of an animal, or of the bones of a skeleton; world units."""
    z = subject.rest_mesh.verts if isinstance(subject, Animal) else subject.bones_rest
    return float(np.ptp(z[..., 2])) if z.size else 0.0


def find_sole(subject: Animal | Skeleton, leg: Leg) -> Sole:
    """What is under the hoof of a leg: its lowest vertices, or the leg's tip without a mesh.

    The vertices of a hoof are those that follow the leg's foot bone more than all others together.
    """
    foot = leg.bones[-1]
    skeleton = skeleton_of(subject)
    tip = Sole(leg.tip[None], np.eye(skeleton.num_bones)[[foot]])
    if not isinstance(subject, Animal):
        return tip
    verts, weights = subject.rest_mesh.verts, subject.skin_weights
    hoof = weights[:, foot] > 0.5
    if not np.any(hoof):
        return tip
    low = verts[hoof, 1].min() + _SOLE_HEIGHT * body_length(subject)
    hoof &= verts[:, 1] <= low
    return Sole(verts[hoof].astype(np.float64), weights[hoof].astype(np.float64))


def ground_height(soles: list[Sole]) -> float:
    """Height of the ground, on which the lowest hoof stands at rest."""
    return min(float(sole.points[:, 1].min()) for sole in soles)


def clearance(leg: Leg, sole: Sole, pitch_rad: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """How high above the ground the tip of a leg is while the tilted hoof touches the ground."""
    points = sole.points - leg.tip
    turned = np.cos(pitch_rad)[:, None] * points[:, 1] - np.sin(pitch_rad)[:, None] * points[:, 2]
    return -turned.min(axis=1)


def tip_above_sole(
    leg: Leg, sole: Sole, pitch_rad: Float[np.ndarray, " t"]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Where the tip of a leg is while its tilted hoof touches the ground in one place.

    Args:
      pitch_rad: turn of the hoof against the rest pose.

    Returns:
      How far the tip is ahead of where it is at rest, if the middle of the sole stays where it is,
      and the height of the tip above the ground.
    """
    _, y, z = np.mean(sole.points - leg.tip, axis=0)
    ahead = z - (np.sin(pitch_rad) * y + np.cos(pitch_rad) * z)
    return ahead, clearance(leg, sole, pitch_rad)
