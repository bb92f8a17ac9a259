"""The skeleton's kinematics against those that the model trains with; its names and its tree."""

import dataclasses

import jax
import numpy as np
import pytest

from pony_jax.ops.bones import Skeleton as ModelSkeleton
from pony_jax.ops.kinematics import bone_frames, posed_bone_transforms
from pony_jax.ops.skinning import pose_bones, skin
from pony_jax.reconstruction.skeleton import LEGS, bone_names
from tests.reconstruction.sample_animal import MODEL_SKELETON, make_animal, make_clip


@pytest.fixture(scope="module")
def animal():
    return make_animal()


def test_poses_as_the_model_does(animal):
    skeleton, angles = animal.skeleton, animal.angles_rad
    hips = [skeleton.leg(leg)[0] for leg in LEGS]
    attachments = np.array([skeleton.parents[hip] for hip in hips])
    bones = skeleton.bones_rest[None]

    @jax.jit
    def by_the_model(angles):
        transforms = posed_bone_transforms(bones, angles, MODEL_SKELETON, attachments, True)
        rest, weights = animal.rest_mesh.verts[None], animal.skin_weights[None]
        return transforms[0], pose_bones(bones, transforms)[0], skin(rest, weights, transforms)[0]

    expected, ends, verts = by_the_model(angles[None])
    transforms = skeleton.world_from_rest(angles)
    # Float32 against double precision.
    np.testing.assert_allclose(transforms, expected, atol=2e-5)
    np.testing.assert_allclose(skeleton.posed_bones(transforms), ends, atol=2e-5)
    np.testing.assert_allclose(animal.posed_mesh.verts, verts, atol=2e-5)


def test_bone_frames_are_the_models(animal):
    bones = animal.skeleton.bones_rest.copy()
    bones[0] = [[0, 0, 0], [1, 0, 0]]  # along x
    bones[1, 1] = bones[1, 0]  # without length
    skeleton = dataclasses.replace(animal.skeleton, bones_rest=bones)
    expected = bone_frames(bones[:, 1] - bones[:, 0])
    np.testing.assert_allclose(skeleton.bone_frames(), expected, atol=1e-6)


def test_clips_pose_frame_by_frame(animal):
    clip = make_clip(animal)
    motion = clip.root_translation, clip.root_rotation
    together = animal.skeleton.world_from_rest(clip.angles_rad, *motion)
    one = animal.skeleton.world_from_rest(clip.angles_rad[3], *(part[3] for part in motion))
    np.testing.assert_allclose(together[3], one, atol=1e-12)
    rest = animal.pose(np.zeros((20, 3)), root_translation=np.array([0, 1, 0]))
    np.testing.assert_allclose(rest.verts, animal.rest_mesh.verts + np.array([0, 1, 0]), atol=1e-6)


def test_names():
    names = bone_names(MODEL_SKELETON)
    assert names[:4] == ("head", "neck", "spine_2", "spine_1")
    assert names[4:8] == ("tail_2", "tail_1", "rear_spine_2", "rear_spine_1")
    assert names[8:11] == ("front_left_foot", "front_left_knee", "front_left_hip")
    assert names[-1] == "front_right_hip"


@pytest.mark.parametrize("sizes", [(8, 4, 3), (8, 0, 3), (2, 4, 1), (4, 4, 2), (12, 4, 5)])
def test_names_of_other_skeletons_are_as_many_as_bones(sizes):
    model = ModelSkeleton(*sizes)
    names = bone_names(model)
    assert len(names) == len(set(names)) == model.num_bones


def test_left_is_the_animals_own_left(animal):
    """+x is to the left of someone who looks along +z with +y up."""
    assert np.allclose(np.cross([0, 1, 0], [0, 0, 1]), [1, 0, 0])
    foot = animal.skeleton.bones_rest[animal.skeleton.index("front_left_foot"), 1]
    assert foot[0] > 0 and foot[2] > 0


def test_chains_run_from_the_centre(animal):
    skeleton = animal.skeleton
    names = [skeleton.names[i] for i in skeleton.front()]
    assert names == ["spine_1", "spine_2", "neck", "head"]
    assert [skeleton.names[i] for i in skeleton.leg("rear_right")] == [
        "rear_right_hip",
        "rear_right_knee",
        "rear_right_foot",
    ]
    assert skeleton.names[skeleton.rear()[-1]] == "tail_2"


def test_unknown_names_are_refused(animal):
    with pytest.raises(KeyError, match="front_left_knee"):
        animal.skeleton.index("front_left_kne")
    with pytest.raises(KeyError, match="front_left"):
        animal.skeleton.leg("fifth")


def test_what_is_no_tree_is_refused(animal):
    parents = animal.skeleton.parents.copy()
    parents[3] = 0  # head -> neck -> spine_2 -> spine_1 -> head
    with pytest.raises(ValueError, match=r"expected a tree.*spine_1"):
        dataclasses.replace(animal.skeleton, parents=parents)


@pytest.mark.parametrize(
    ("angles", "message"),
    [(np.zeros((19, 3)), r"expected \[..., 20, 3\]"), (np.full((20, 3), np.nan), "finite")],
)
def test_wrong_angles_are_refused(animal, angles, message):
    with pytest.raises(ValueError, match=message):
        animal.pose(angles)
