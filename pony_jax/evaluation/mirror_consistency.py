"""Is a mirrored image seen as the mirrored animal? A check that needs no truth.

Each image is predicted twice: as it is, and mirrored left to right with the features that the data
set stores for the mirrored crop, as training sees mirrored images (`pony_jax.data.pipeline`). With
M = diag(-1, 1, 1), the image's mirror is M in camera space, and the learned shape is its own image
under M in object space. So where the plain image shows rotation R (rows right, up, forward) and
joint angles (a, b, c), a consistent model sees in the mirrored one

- rotation M R M;
- Euler angles (a, -b, -c) in every bone, the legs of a pair with their places exchanged, since M
  turns each bone's frame into the frame of its partner;
- the mirrored silhouette.

Angles are compared bone by bone in rest frames, whatever the viewpoint: by the angle of the
rotation between the two joints' rotations. Consistency is not accuracy: a model that always says
the same symmetric thing is consistent. `leg_angles_unswapped_deg` tells such a model apart.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from pony_jax.evaluation import metrics
from pony_jax.evaluation.viewpoint_error import angle_between_deg
from pony_jax.model import Prediction
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.rotations import euler_xyz_to_matrix

_AXIS_SIGNS = np.array([-1.0, 1.0, 1.0])
_ANGLE_SIGNS = np.array([1.0, -1.0, -1.0])


class MirrorConsistency:
    """Collects predictions of images and of their mirror images, and compares them."""

    def __init__(self, skeleton: Skeleton):
        self._skeleton = skeleton
        self._collected: dict[str, list[np.ndarray]] = {}

    def add(self, plain: Prediction, mirrored: Prediction, real: Bool[np.ndarray, " b"]) -> None:
        """Takes note of a batch and its mirror image; `real` as in `evaluation_batches`."""
        for name, values in compare(plain, mirrored, self._skeleton).items():
            self._collected.setdefault(name, []).append(values[real])

    def scores(self) -> dict[str, dict[str, float | None]]:
        """What `compare` returns, summarised over images with a bootstrap interval."""
        return {
            name: metrics.summarise(np.concatenate(values))
            for name, values in self._collected.items()
        }


def compare(
    plain: Prediction, mirrored: Prediction, skeleton: Skeleton
) -> Mapping[str, Float[np.ndarray, " b"]]:
    """One number an image.

    Returns:
      `rotation_difference_deg`: geodesic distance between M R M and the mirrored image's rotation;
      `share_within_15_deg` of it, 1 or 0;
      `mask_iou`: of the two rendered masks, one mirrored back;
      `body_angles_difference_deg`: mean over body bones;
      `leg_angles_difference_deg`: mean over leg bones, each leg with its partner;
      `leg_angles_unswapped_deg`: each leg with itself instead. A model that tells the legs of a
        pair apart has it above the line before; one that moves both alike has both equal.
        (Without legs, neither is there.)
    """
    expected = mirror_rotation(plain.rotation)
    difference_deg = angle_between_deg(expected, mirrored.rotation)
    body = slice(skeleton.num_body_bones)
    legs = slice(skeleton.num_body_bones, None)
    swapped_deg, unswapped_deg = (
        _joint_differences_deg(mirror_angles(plain.angles_rad, skeleton, swap), mirrored.angles_rad)
        for swap in (True, False)
    )
    scores = {
        "rotation_difference_deg": difference_deg,
        "share_within_15_deg": (difference_deg < 15).astype(float),
        "mask_iou": metrics.mask_iou(plain.mask[:, :, ::-1], mirrored.mask),
        "body_angles_difference_deg": swapped_deg[:, body].mean(axis=1),
    }
    if skeleton.num_legs:
        scores["leg_angles_difference_deg"] = swapped_deg[:, legs].mean(axis=1)
        scores["leg_angles_unswapped_deg"] = unswapped_deg[:, legs].mean(axis=1)
    return scores


def mirror_rotation(rotation: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """The rotation M R M that a mirrored image of a symmetric animal shows."""
    return rotation * _AXIS_SIGNS[:, None] * _AXIS_SIGNS


def mirror_angles(
    angles_rad: Float[np.ndarray, "b k 3"], skeleton: Skeleton, swap_legs: bool = True
) -> Float[np.ndarray, "b k 3"]:
    """Joint angles of the mirrored pose; `swap_legs=False` leaves legs in their places."""
    n, num_legs = skeleton.num_body_bones, skeleton.num_legs
    order = np.arange(skeleton.num_bones)
    if swap_legs and num_legs:
        # Legs go round the animal, so that partners stand at equal distances from the two ends.
        order[n:] = order[n:].reshape(num_legs, skeleton.num_leg_bones)[::-1].reshape(-1)
    return angles_rad[:, order] * _ANGLE_SIGNS


def _joint_differences_deg(
    a_rad: Float[np.ndarray, "b k 3"], b_rad: Float[np.ndarray, "b k 3"]
) -> Float[np.ndarray, "b k"]:
    matrices = (np.asarray(euler_xyz_to_matrix(np.asarray(x, np.float32))) for x in (a_rad, b_rad))
    return angle_between_deg(*matrices)
