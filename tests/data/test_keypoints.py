"""Marked keypoints: names of sides, places in the crop, and the way through a data set."""

import numpy as np
import pytest

from pony_jax.data import keypoints
from pony_jax.data.keypoints import Keypoints


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("left_ear", "right_ear"),
        ("Right Eye", "Left Eye"),
        ("leftEar", "rightEar"),
        ("frontLeft", "frontRight"),
        ("L_EarBase", "R_EarBase"),
        ("l_f_leg", "r_f_leg"),
        ("ear-R", "ear-L"),
        ("upper_right_1", "upper_left_1"),
        ("LEFT_HOOF", "RIGHT_HOOF"),
        *((name, name) for name in ("nose", "TailBase", "tail_0", "bright", "cleft", "lower jaw")),
    ],
)
def test_mirrors_exchange_left_and_right(name: str, mirrored: str) -> None:
    assert keypoints.mirrored_name(name) == mirrored
    assert keypoints.mirrored_name(mirrored) == name


def _stored() -> keypoints.StoredKeypoints:
    return keypoints.StoredKeypoints(
        ids=("a",),
        names=("left_ear", "left_eye", "nose", "right_ear"),
        px=np.array([[[10.0, 3], [20, 4], [50, 5], [30, 6]]]),
        visible=np.array([[True, True, True, False]]),
        boxes=np.array([[5.0, 6, 40, 30]]),
        image_size=100,
    )


def test_a_mirrored_image_has_its_keypoints_on_the_other_side() -> None:
    mirrored = _stored().mirrored()
    np.testing.assert_array_equal(mirrored.px[0, [2, 3]], [[50, 5], [90, 3]])
    # What was the right ear was hidden; the left eye of the mirrored image has no name here.
    assert mirrored.visible.tolist() == [[False, False, True, True]]
    assert mirrored.boxes.tolist() == [[55, 6, 40, 30]]


def test_mirroring_twice_changes_no_keypoint_that_has_its_other_side() -> None:
    once, twice = _stored(), _stored().mirrored().mirrored()
    with_partner = [0, 2, 3]
    np.testing.assert_array_equal(twice.px[:, with_partner], once.px[:, with_partner])
    np.testing.assert_array_equal(twice.visible[:, with_partner], once.visible[:, with_partner])


def test_places_are_those_in_the_crop_as_stored() -> None:
    box = np.array([0, 100, -20, 50, 50, 640, 480, 0], np.float32)
    marked = Keypoints(("nose", "tail"), ((125.0, 5.0), (1.0, 1.0)), (True, False))
    found = keypoints.in_crop(marked, ("ear", "nose", "tail"), box, 128)
    np.testing.assert_array_equal(found["nose"], [64, 64, 1])
    for name in ("ear", "tail"):
        np.testing.assert_array_equal(found[name], [0, 0, 0])
    assert keypoints.in_crop(None, ("ear",), box, 128)["ear"].tolist() == [0, 0, 0]


def test_names_are_those_of_all_photographs() -> None:
    one, other = (Keypoints((name,), ((0, 0),), (True,)) for name in ("tail", "nose"))
    assert keypoints.keypoint_names([one, None, other]) == ("nose", "tail")
    assert keypoints.keypoint_names([None]) == ()
    bad = Keypoints(("ear/left",), ((0, 0),), (True,))
    with pytest.raises(keypoints.KeypointsError, match="without '/', got 'ear/left'; rename it"):
        keypoints.keypoint_names([bad])
