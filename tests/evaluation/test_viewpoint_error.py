"""Viewpoint errors whose answer is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pony_jax.evaluation.viewpoint_error import (
    angle_between_deg,
    camera_direction_deg,
    find_frame_change,
    score_viewpoints,
)


def _looking(azimuth_deg: np.ndarray | float, elevation_deg: np.ndarray | float = 0.0):
    """Rotations as the truth states them: 0 faces the camera, 90 walks to the image's right."""
    angles = np.stack(np.broadcast_arrays(azimuth_deg, elevation_deg), axis=-1)
    return Rotation.from_euler("yx", angles, degrees=True).as_matrix().swapaxes(-1, -2)


def _true(num: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    return _looking(rng.uniform(0, 360, num), rng.uniform(-5, 25, num))


def test_azimuth_turns_forward_to_the_right_of_the_image() -> None:
    np.testing.assert_allclose(_looking(90.0)[2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(_looking(0.0)[2], [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("turn", [[0, 0, 0], [0, 180, 0], [0, 90, 0], [10, -120, 5]])
def test_a_constant_change_of_frame_costs_nothing(turn: list[float]) -> None:
    true = _true()
    learned_from_true = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    predicted = learned_from_true @ true
    change = find_frame_change(predicted, true)
    np.testing.assert_allclose(change, learned_from_true, atol=1e-9)
    scores = score_viewpoints(predicted, true, change)
    assert scores["rotation_error_deg"].max() < 1e-4
    for name in ("head_tail", "left_right", "near_far"):
        assert np.nanmax(scores[f"share_{name}_confused"]) == 0


def test_azimuth_and_elevation_are_told_apart() -> None:
    azimuth, elevation = np.array([10.0, 100.0, 350.0, 180.0]), np.array([0.0, 20.0, -5.0, 10.0])
    found = camera_direction_deg(_looking(azimuth, elevation))
    np.testing.assert_allclose(found[0] % 360, azimuth, atol=1e-9)
    np.testing.assert_allclose(found[1], elevation, atol=1e-9)
    predicted = _looking(azimuth + np.array([0, 0, 30, -170]), elevation + np.array([7, 0, 0, 0]))
    scores = score_viewpoints(predicted, _looking(azimuth, elevation), np.eye(3))
    np.testing.assert_allclose(scores["azimuth_error_deg"], [0, 0, 30, 170], atol=1e-9)
    np.testing.assert_allclose(scores["elevation_error_deg"], [7, 0, 0, 0], atol=1e-9)


def test_a_minority_turned_about_does_not_move_the_frame() -> None:
    true = _true(50)
    half_turn = np.diag([-1.0, 1.0, -1.0])
    predicted = true.copy()
    predicted[:20] = half_turn @ true[:20]
    change = find_frame_change(predicted, true)
    np.testing.assert_allclose(change, np.eye(3), atol=1e-9)
    scores = score_viewpoints(predicted, true, change)
    assert scores["share_head_tail_confused"].mean() == pytest.approx(0.4)
    np.testing.assert_allclose(scores["rotation_error_deg"][:20], 180, atol=1e-4)
    # As a majority they are the frame, and the others are confused.
    change = find_frame_change(half_turn @ predicted, true)
    np.testing.assert_allclose(change, half_turn, atol=1e-9)


def test_the_frame_is_one_for_all_images() -> None:
    true = _looking(np.arange(0.0, 360.0, 10.0))
    predicted = _looking(np.arange(0.0, 360.0, 10.0) + np.tile([20.0, -20.0], 18))
    scores = score_viewpoints(predicted, true, find_frame_change(predicted, true))
    np.testing.assert_allclose(scores["rotation_error_deg"], 20, atol=1e-6)
    assert scores["share_within_15_deg"].mean() == 0
    assert scores["share_within_30_deg"].mean() == 1


def test_confusions_are_told_apart() -> None:
    # Azimuths: the truth, what was said. Mirrored in depth, mirrored in the image, a half turn.
    true, said = _looking(np.array([60.0, 60, 60, 60])), _looking(np.array([60.0, 120, -60, 240]))
    scores = score_viewpoints(said, true, np.eye(3))
    np.testing.assert_allclose(scores["rotation_error_deg"], [0, 60, 120, 180], atol=1e-4)
    assert scores["share_head_tail_confused"].tolist() == [0, 0, 1, 1]
    assert scores["share_left_right_confused"].tolist() == [0, 0, 1, 1]
    assert scores["share_near_far_confused"].tolist() == [0, 1, 0, 1]


def test_sides_do_not_count_where_they_cannot_be_told() -> None:
    scores = score_viewpoints(
        _looking(np.array([5.0, 85])), _looking(np.array([-5.0, 95])), np.eye(3)
    )
    assert np.isnan(scores["share_left_right_confused"]).tolist() == [True, False]
    assert np.isnan(scores["share_near_far_confused"]).tolist() == [False, True]


def test_angle_of_opposite_rotations() -> None:
    a = Rotation.from_euler("y", [[0], [30], [180]], degrees=True).as_matrix()
    np.testing.assert_allclose(angle_between_deg(a, np.eye(3)), [0, 30, 180], atol=1e-5)


def test_no_image_has_no_frame() -> None:
    with pytest.raises(ValueError, match="expected at least one image"):
        find_frame_change(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))
