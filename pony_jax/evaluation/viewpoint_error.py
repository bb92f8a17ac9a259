"""Predicted viewpoints against true ones, after one change of frame for the whole model.

Rotations have rows x (right), y (up), z (forward) of the object in camera space, camera x right,
y up, looking along -z, as in `pony_jax.ops.cameras`. A model is free to learn its animal turned
about (tail along +z, say); which way is one fact about the model, not one for each image.
"""

import numpy as np
from jaxtyping import Float

_INLIER_DEG = 60.0
_UNCLEAR_DEG = 15.0
_ROUNDS = 10


def find_frame_change(
    predicted: Float[np.ndarray, "n 3 3"], true: Float[np.ndarray, "n 3 3"]
) -> Float[np.ndarray, "3 3"]:
    """The constant rotation `learned_from_true` that best explains all images.

    Each image suggests `predicted @ true.T`. The start is the suggestion with the least mean angle
    to all others, which a minority that is turned about cannot move; then, until nothing changes,
    the chordal mean (by SVD) of the suggestions within 60 degrees of the current answer. A mirror
    image needs no handling: the learned shape is symmetric in x, so a reflection in z is a half
    turn about y.

    Raises `ValueError` without images.
    """
    if not len(predicted):
        raise ValueError("expected at least one image to find the frame from, got 0; score a split")
    suggested = predicted.astype(np.float64) @ true.astype(np.float64).transpose(0, 2, 1)
    flat = suggested.reshape(-1, 9)
    to_others_deg = _angle_of_trace_deg(flat @ flat.T).mean(axis=1)
    answer, kept = suggested[np.argmin(to_others_deg)], None
    for _ in range(_ROUNDS):
        near = angle_between_deg(suggested, answer[None]) < _INLIER_DEG
        if kept is not None and np.array_equal(near, kept):
            break
        kept, answer = near, _nearest_rotation(suggested[near].sum(axis=0))
    return answer


def angle_between_deg(
    a: Float[np.ndarray, "*n 3 3"], b: Float[np.ndarray, "*n 3 3"]
) -> Float[np.ndarray, " *n"]:
    """Angle of the rotation that takes one to the other, 0..180 degrees."""
    return _angle_of_trace_deg(np.sum(a.astype(np.float64) * b, axis=(-2, -1)))


def score_viewpoints(
    predicted: Float[np.ndarray, "n 3 3"],
    true: Float[np.ndarray, "n 3 3"],
    learned_from_true: Float[np.ndarray, "3 3"],
) -> dict[str, Float[np.ndarray, " n"]]:
    """One number an image; those named `share_...` are 1 or 0, so that their means are shares.

    Returns:
      `rotation_error_deg`: geodesic distance after the change of frame;
      `azimuth_error_deg`, `elevation_error_deg`: of the direction from which the camera sees the
        animal, about its vertical (0..180) and above its horizon;
      `share_within_15_deg`, `share_within_30_deg` of the rotation error;
      `share_head_tail_confused`: predicted and true forward are more than 90 degrees apart;
      `share_left_right_confused`: the animal looks to the other side of the image than it should
        (sign of forward's camera x), NaN where it truly looks within 15 degrees of neither side;
      `share_near_far_confused`: it looks towards the camera and should look away, or the other way
        round (sign of forward's camera z, the one that a silhouette hides), NaN accordingly.
    """
    turned = learned_from_true.T @ predicted
    error_deg = angle_between_deg(turned, true)
    forward, true_forward = turned[:, 2], true[:, 2]
    least = np.sin(np.radians(_UNCLEAR_DEG))

    def confused(axis: int) -> Float[np.ndarray, " n"]:
        wrong = forward[:, axis] * true_forward[:, axis] < 0
        return np.where(np.abs(true_forward[:, axis]) > least, wrong, np.nan)

    azimuth_deg, elevation_deg = camera_direction_deg(turned)
    true_azimuth_deg, true_elevation_deg = camera_direction_deg(true)
    return {
        "rotation_error_deg": error_deg,
        "azimuth_error_deg": np.abs((azimuth_deg - true_azimuth_deg + 180) % 360 - 180),
        "elevation_error_deg": np.abs(elevation_deg - true_elevation_deg),
        "share_within_15_deg": (error_deg < 15).astype(float),
        "share_within_30_deg": (error_deg < 30).astype(float),
        "share_head_tail_confused": (np.sum(forward * true_forward, axis=-1) < 0).astype(float),
        "share_left_right_confused": confused(0),
        "share_near_far_confused": confused(2),
    }


def camera_direction_deg(
    rotation: Float[np.ndarray, "n 3 3"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """From where the camera sees the animal: azimuth (0 = faces the camera, 90 = walks to the
    image's right) and elevation of the camera above its horizon, degrees."""
    right, up, forward = rotation[:, :, 2].astype(np.float64).T  # towards the camera, object frame
    azimuth_deg = np.degrees(np.arctan2(-right, forward))
    return azimuth_deg, np.degrees(np.arcsin(np.clip(up, -1, 1)))


def _angle_of_trace_deg(trace: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def _nearest_rotation(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
