"""Pairs of predictions whose consistency is known."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pony_jax.evaluation.mirror_consistency import (
    MirrorConsistency,
    compare,
    mirror_angles,
    mirror_rotation,
)
from pony_jax.model import Prediction
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.kinematics import posed_bone_transforms
from pony_jax.ops.skinning import pose_bones

_SKELETON = Skeleton()
_M = np.diag([-1.0, 1.0, 1.0])
_FORE_PX, _HIND_PX = slice(2, 4), slice(10, 13)
# Angles in float32 close to 0 or 180 degrees are known to the square root of its precision.
_ANGLE_ATOL_DEG = 0.1


def _prediction(rotation: np.ndarray, angles_rad: np.ndarray, mask: np.ndarray) -> Prediction:
    unused = Prediction(**dict.fromkeys(Prediction._fields))
    return unused._replace(rotation=rotation, angles_rad=angles_rad, mask=mask)


def _plain(num: int = 3) -> Prediction:
    rng = np.random.default_rng(0)
    mask = np.zeros((num, 16, 16, 1), np.float32)
    mask[:, 4:12, _FORE_PX] = 1
    mask[:, 6:12, _HIND_PX] = 1
    angles = rng.uniform(-0.5, 0.5, (num, _SKELETON.num_bones, 3))
    return _prediction(Rotation.random(num, rng=rng).as_matrix(), angles, mask)


def _consistent(plain: Prediction) -> Prediction:
    return _prediction(
        _M @ plain.rotation @ _M,
        mirror_angles(plain.angles_rad, _SKELETON),
        plain.mask[:, :, ::-1],
    )


def test_the_mirrored_animal_is_consistent() -> None:
    plain = _plain()
    scores = compare(plain, _consistent(plain), _SKELETON)
    for name in (
        "rotation_difference_deg",
        "body_angles_difference_deg",
        "leg_angles_difference_deg",
    ):
        np.testing.assert_allclose(scores[name], 0, atol=_ANGLE_ATOL_DEG, err_msg=name)
    np.testing.assert_array_equal(scores["mask_iou"], 1)
    np.testing.assert_array_equal(scores["share_within_15_deg"], 1)
    # Poses at random: a leg has nothing to do with its partner.
    assert np.all(scores["leg_angles_unswapped_deg"] > 20)


def test_each_difference_is_found_where_it_is() -> None:
    plain = _plain()
    good = _consistent(plain)
    turn = Rotation.from_euler("y", 20, degrees=True).as_matrix()
    still = np.zeros_like(plain.angles_rad)
    legs, body = still.copy(), still.copy()
    legs[:, 8:11, 0] = np.radians(40)  # one leg of four
    body[:, 3, 2] = np.radians(80)  # one bone of eight
    shifted = np.roll(good.mask, 1, axis=2)

    scores = compare(plain, good._replace(rotation=turn @ good.rotation), _SKELETON)
    np.testing.assert_allclose(scores["rotation_difference_deg"], 20, atol=_ANGLE_ATOL_DEG)
    np.testing.assert_array_equal(scores["share_within_15_deg"], 0)
    scores = compare(plain._replace(angles_rad=still), good._replace(angles_rad=legs), _SKELETON)
    np.testing.assert_allclose(scores["leg_angles_difference_deg"], 10, atol=_ANGLE_ATOL_DEG)
    np.testing.assert_allclose(scores["body_angles_difference_deg"], 0, atol=_ANGLE_ATOL_DEG)
    scores = compare(plain._replace(angles_rad=still), good._replace(angles_rad=body), _SKELETON)
    np.testing.assert_allclose(scores["body_angles_difference_deg"], 10, atol=_ANGLE_ATOL_DEG)
    scores = compare(plain, good._replace(mask=shifted), _SKELETON)
    # Of 8 x 2 and 6 x 3 pixels one column each is lost, and one gained.
    np.testing.assert_allclose(scores["mask_iou"], (8 + 12) / (34 + 8 + 6))


def test_a_model_that_ignores_sides_is_found_out_by_its_legs() -> None:
    """Left and right are names for near and far to it: they do not change places."""
    plain = _plain()
    sideless = mirror_angles(plain.angles_rad, _SKELETON, swap_legs=False)
    scores = compare(plain, _consistent(plain)._replace(angles_rad=sideless), _SKELETON)
    np.testing.assert_allclose(scores["leg_angles_unswapped_deg"], 0, atol=_ANGLE_ATOL_DEG)
    assert np.all(scores["leg_angles_difference_deg"] > 20)


def test_mirrored_angles_pose_the_mirrored_bones() -> None:
    """Against the kinematics: M after posing is posing by mirrored angles, partners exchanged."""
    rng = np.random.default_rng(1)
    bones = rng.normal(size=(1, 20, 2, 3))
    bones[:, :8, :, 0] = 0  # the spine lies in the plane of symmetry
    legs = bones[:, 8:].reshape(1, 4, 3, 2, 3)
    legs[:, 2:] = legs[:, [1, 0]] @ _M
    bones = np.asarray(bones, np.float32)
    angles = rng.uniform(-0.5, 0.5, (1, 20, 3)).astype(np.float32)
    attachments = jnp.array([1, 6, 6, 1])

    def posed(angles_rad: np.ndarray) -> np.ndarray:
        transforms = posed_bone_transforms(bones, angles_rad, _SKELETON, attachments, True)
        return np.asarray(pose_bones(bones, transforms))

    mirrored = posed(np.asarray(mirror_angles(angles, _SKELETON), np.float32))
    expected = posed(angles) @ _M
    expected[:, 8:] = expected[:, 8:].reshape(1, 4, 3, 2, 3)[:, ::-1].reshape(1, 12, 2, 3)
    # Float32 through chains of seven turns.
    np.testing.assert_allclose(mirrored, expected, atol=1e-5)


def test_mirroring_twice_changes_nothing() -> None:
    plain = _plain()
    np.testing.assert_allclose(mirror_rotation(mirror_rotation(plain.rotation)), plain.rotation)
    twice = mirror_angles(mirror_angles(plain.angles_rad, _SKELETON), _SKELETON)
    np.testing.assert_array_equal(twice, plain.angles_rad)


def test_summary_leaves_out_what_fills_the_batch_up() -> None:
    plain = _plain()
    good = _consistent(plain)
    turned = good.rotation.copy()
    turned[2] = _M @ turned[2] @ np.diag([1.0, -1.0, 1.0])
    consistency = MirrorConsistency(_SKELETON)
    consistency.add(plain, good._replace(rotation=turned), np.array([True, True, False]))
    consistency.add(plain, good, np.array([True, True, True]))
    scores = consistency.scores()
    assert scores["rotation_difference_deg"]["mean"] == pytest.approx(0, abs=_ANGLE_ATOL_DEG)
    assert scores["share_within_15_deg"]["mean_low95"] == 1


def test_birds_have_no_legs_to_compare() -> None:
    skeleton = Skeleton(num_legs=0)
    plain = _plain()
    plain = plain._replace(angles_rad=plain.angles_rad[:, :8])
    mirrored = plain._replace(
        rotation=mirror_rotation(plain.rotation),
        angles_rad=mirror_angles(plain.angles_rad, skeleton),
    )
    scores = compare(plain, mirrored, skeleton)
    assert not [name for name in scores if name.startswith("leg")]
    np.testing.assert_allclose(scores["body_angles_difference_deg"], 0, atol=_ANGLE_ATOL_DEG)
