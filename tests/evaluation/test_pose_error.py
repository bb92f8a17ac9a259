"""Bone errors whose answer is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pony_jax.data.synthetic.anatomy import BONE_NAMES, SEGMENTS
from pony_jax.evaluation import pose_error
from pony_jax.ops.bones import Skeleton

_SKELETON = Skeleton()
_HALF_TURN = np.diag([-1.0, 1.0, -1.0])


def _true(num: int = 5) -> pose_error.Chains:
    """A horse that lifts its left legs by 10 degrees more from image to image."""
    chains = pose_error.true_chains(
        np.repeat(SEGMENTS[None], num, axis=0), pose_error.chain_points(list(BONE_NAMES))
    )
    for leg in ("left_fore", "left_hind"):
        chains[leg] = np.stack([_swung(chains[leg][i], 10.0 * i) for i in range(num)])
    return chains


def _swung(joints: np.ndarray, angle_deg: float) -> np.ndarray:
    """Joints of a leg, the foot moved forwards about the hip."""
    turn = Rotation.from_euler("x", -angle_deg, degrees=True).as_matrix()
    return (joints - joints[0]) @ turn.T + joints[0]


def _as_model(chains: pose_error.Chains) -> np.ndarray:
    """Bones of a model that sees exactly what is true, in the order of `Skeleton`."""
    bones = []
    for name, count in (
        *(("front", 4), ("rear", 4)),
        *((leg, 3) for leg in ("left_fore", "left_hind", "right_hind", "right_fore")),
    ):
        joints = pose_error.cut(chains[name], count)
        bones += [joints[:, i : i + 2] for i in reversed(range(count))]
    return np.stack(bones, axis=1)


@pytest.mark.parametrize("change", [np.eye(3), _HALF_TURN])
def test_a_perfect_model_has_no_error_whichever_way_it_faces(change: np.ndarray) -> None:
    true = _true()
    bones = _as_model(true) @ change.T
    if change[0, 0] < 0:  # the model calls +x legs left and those at +z front, as ever
        front, rear, legs = bones[:, :4], bones[:, 4:8], bones[:, 8:].reshape(5, 4, 3, 2, 3)
        bones = np.concatenate([rear, front, legs[:, [2, 3, 0, 1]].reshape(5, 12, 2, 3)], axis=1)
    predicted = pose_error.predicted_chains(bones, _SKELETON, change)
    assert predicted.keys() == true.keys()
    scores = pose_error.score_poses(predicted, true)
    for name in ("front", "rear", "legs"):
        assert scores[f"{name}_error_deg"].max() < 1e-4
    assert scores["leg_swing_error_deg"].max() < 1e-9
    # Legs in the same place cannot be told apart, those 10 degrees apart hardly.
    expected = [np.nan, np.nan, 0, 0, 0]
    np.testing.assert_array_equal(scores["share_leg_pairs_swapped"], expected)


def test_true_chains_run_from_the_centre_to_the_tips() -> None:
    chains = _true()
    assert chains["front"].shape == (5, 5, 3)
    assert chains["rear"].shape == (5, 4, 3)
    np.testing.assert_allclose(chains["front"][0, -1], [0, 1.52, 1.50])
    np.testing.assert_allclose(chains["right_hind"][0, [0, -1], 0], [-0.13, -0.13])
    assert chains["left_fore"][4, -1, 2] > chains["left_fore"][0, -1, 2]  # forwards


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_bone_that_is_always_turned_costs_its_angle_only_with_the_constant(axis: str) -> None:
    true = _true()
    bones = _as_model(true)
    along = bones[0, 0, 1] - bones[0, 0, 0]
    turn = Rotation.from_euler(axis, 30, degrees=True).as_matrix()
    bones[:, 0] = bones[:, 0, :1] + (bones[:, 0] - bones[:, 0, :1]) @ turn.T  # the head's tip
    scores = pose_error.score_poses(pose_error.predicted_chains(bones, _SKELETON, np.eye(3)), true)
    cosine = along @ turn @ along / (along @ along)
    expected = np.degrees(np.arccos(cosine)) / 4
    np.testing.assert_allclose(scores["front_raw_error_deg"], expected, atol=1e-4)
    np.testing.assert_allclose(scores["front_error_deg"], 0, atol=1e-4)
    np.testing.assert_allclose(scores["legs_raw_error_deg"], 0, atol=1e-4)


def test_a_bone_turned_once_costs_its_angle_less_the_mean() -> None:
    true = _true(20)
    bones = _as_model(true)
    turn = Rotation.from_euler("x", 40, degrees=True).as_matrix()
    tip = bones[0, 0]
    bones[0, 0] = tip[:1] + (tip - tip[:1]) @ turn.T
    predicted = pose_error.predicted_chains(bones, _SKELETON, np.eye(3))
    error_deg = pose_error.score_poses(predicted, true)["front_error_deg"]
    assert error_deg[0] == pytest.approx((40 - 2) / 4, abs=0.1)
    np.testing.assert_allclose(error_deg[1:], 2 / 4, atol=0.1)


def test_a_still_model_gets_the_still_error_and_swapped_legs_are_seen() -> None:
    true = _true()
    still = {name: np.repeat(joints[2:3], 5, axis=0) for name, joints in true.items()}
    scores = pose_error.score_poses(still, true)
    # Two of four legs are at -20, -10, 0, 10 and 20 degrees of their mean.
    np.testing.assert_allclose(scores["leg_swing_error_deg"], [10, 5, 0, 5, 10], atol=1e-9)
    np.testing.assert_allclose(scores["leg_swing_still_error_deg"], [10, 5, 0, 5, 10], atol=1e-9)
    np.testing.assert_allclose(scores["legs_still_error_deg"], [10, 5, 0, 5, 10], atol=0.1)

    swapped = dict(true)
    for leg in ("fore", "hind"):
        swapped[f"left_{leg}"], swapped[f"right_{leg}"] = true[f"right_{leg}"], true[f"left_{leg}"]
    scores = pose_error.score_poses(swapped, true)
    np.testing.assert_array_equal(scores["share_leg_pairs_swapped"], [np.nan, np.nan, 1, 1, 1])


def test_nothing_corresponds_across_a_quarter_turn() -> None:
    quarter = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    assert pose_error.predicted_chains(_as_model(_true()), _SKELETON, quarter) is None


def test_polylines_are_cut_into_equal_lengths() -> None:
    corner = np.array([[[0.0, 0, 0], [1, 0, 0], [1, 3, 0]]])
    expected = [[0, 0, 0], [1, 1, 0], [1, 3, 0]]
    np.testing.assert_allclose(pose_error.cut(corner, 2)[0], expected)


def test_a_model_without_legs_is_scored_on_its_spine() -> None:
    true = _true()
    skeleton = Skeleton(num_legs=0)
    predicted = pose_error.predicted_chains(_as_model(true)[:, :8], skeleton, np.eye(3))
    assert set(pose_error.score_poses(predicted, true)) == {
        *("front_error_deg", "front_still_error_deg", "front_raw_error_deg"),
        *("rear_error_deg", "rear_still_error_deg", "rear_raw_error_deg"),
    }


def test_only_pairs_that_are_seen_count_as_seen() -> None:
    true = _true()
    swapped = dict(true)
    for leg in ("fore", "hind"):
        sides = f"left_{leg}", f"right_{leg}"
        swapped[sides[0]], swapped[sides[1]] = (true[side] * [-1, 1, 1] for side in sides[::-1])
    seen = {"fore": np.array([1, 1, 1, 0, 0], bool), "hind": np.array([1, 1, 0, 1, 0], bool)}
    scores = pose_error.score_poses(swapped, true, seen)
    np.testing.assert_array_equal(scores["share_leg_pairs_swapped"], [np.nan, np.nan, 1, 1, 1])
    expected = [np.nan, np.nan, 1, 1, np.nan]
    np.testing.assert_array_equal(scores["share_seen_leg_pairs_swapped"], expected)
    assert "share_seen_leg_pairs_swapped" not in pose_error.score_poses(swapped, true)


def test_chains_of_several_skeletons_may_differ_by_image() -> None:
    bones = np.random.default_rng(0).normal(size=(2, 3, 2, 3))
    points = np.array([[0, 2, 5], [0, 3, 3]])  # the second one is shorter, and repeats its end
    chain = pose_error.true_chains(bones, {"front": points})["front"]
    np.testing.assert_array_equal(chain[0], [bones[0, 0, 0], bones[0, 1, 0], bones[0, 2, 1]])
    np.testing.assert_array_equal(chain[1], [bones[1, 0, 0], bones[1, 1, 1], bones[1, 1, 1]])
    pieces = pose_error.cut(chain, 2)
    middle = (bones[1, 0, 0] + bones[1, 1, 1]) / 2
    np.testing.assert_allclose(pieces[1, 1], middle, atol=1e-12)
