"""An animal learned with its head at the other end is turned about, named and posed rightly."""

import numpy as np
import pytest

from pony_jax.reconstruction.head_direction import higher_end, turned_about, with_head_forwards
from tests.reconstruction.sample_animal import make_animal

HALF_TURN = np.diag([-1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def animal():
    return make_animal()


@pytest.fixture(scope="module")
def turned(animal):
    return turned_about(animal)


def in_camera(animal, verts):
    rotation, shift = animal.camera.cam_from_world[:3, :3], animal.camera.cam_from_world[:3, 3]
    return verts @ rotation.T + shift


def test_the_camera_sees_the_same(animal, turned):
    # Half turns only change signs, but the products of `in_camera` add up in another order.
    np.testing.assert_allclose(
        in_camera(turned, turned.posed_mesh.verts),
        in_camera(animal, animal.posed_mesh.verts),
        atol=1e-5,
    )
    np.testing.assert_array_equal(turned.posed_mesh.faces, animal.posed_mesh.faces)
    np.testing.assert_array_equal(
        turned.albedo(turned.prior_verts), animal.albedo(animal.prior_verts)
    )


def test_its_own_angles_pose_it_as_before(animal, turned):
    posed = turned.pose(turned.angles_rad).verts
    # float32 vertices of a body some 4 long, moved in double precision.
    np.testing.assert_allclose(posed, animal.pose(animal.angles_rad).verts @ HALF_TURN, atol=1e-5)


def test_bones_change_places_with_the_other_end_and_side(animal, turned):
    pairs = {
        "head": "tail_2",
        "neck": "tail_1",
        "spine_1": "rear_spine_1",
        "front_left_foot": "rear_right_foot",
        "rear_left_hip": "front_right_hip",
    }
    assert turned.skeleton.names == animal.skeleton.names
    for pair in (pairs.items(), ((new, old) for old, new in pairs.items())):
        for new, old in pair:
            row, old_row = turned.skeleton.index(new), animal.skeleton.index(old)
            np.testing.assert_array_equal(
                turned.skeleton.bones_rest[row], animal.skeleton.bones_rest[old_row] @ HALF_TURN
            )
            np.testing.assert_array_equal(
                turned.skin_weights[:, row], animal.skin_weights[:, old_row]
            )
            parent, old_parent = turned.skeleton.parents[row], animal.skeleton.parents[old_row]
            assert (parent < 0) == (old_parent < 0)
            if parent >= 0:
                np.testing.assert_array_equal(
                    turned.skeleton.bones_rest[parent],
                    animal.skeleton.bones_rest[old_parent] @ HALF_TURN,
                )


def test_two_half_turns_are_none(animal, turned):
    twice = turned_about(turned)
    for field in ("prior_verts", "skin_weights", "angles_rad"):
        np.testing.assert_array_equal(getattr(twice, field), getattr(animal, field))
    np.testing.assert_array_equal(twice.skeleton.parents, animal.skeleton.parents)
    np.testing.assert_array_equal(twice.camera.cam_from_world, animal.camera.cam_from_world)
    np.testing.assert_array_equal(twice.hypotheses.rotations, animal.hypotheses.rotations)


def test_the_head_is_at_the_end_that_rises_higher(animal, turned):
    assert higher_end(animal.prior_verts) == "+z" and higher_end(turned.prior_verts) == "-z"
    assert with_head_forwards(animal) is animal
    for backwards in (with_head_forwards(turned), with_head_forwards(turned, "-z")):
        np.testing.assert_array_equal(backwards.prior_verts, animal.prior_verts)
    assert with_head_forwards(turned, "+z") is turned


def test_a_withers_above_the_head_is_not_taken_for_it():
    verts = np.array([[0, 0, -2], [0, 3, 0], [0, 1, 2], [0, 0.5, -1.8]], np.float32)
    assert higher_end(verts) == "+z"
    assert higher_end(verts * [1, 1, -1]) == "-z"
