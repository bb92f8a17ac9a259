"""The rig: what a rigged file needs of it, and how it is posed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.model.rig import RigSettings, make_rig, pose
from pony_jax.ops.bones import Skeleton


def test_a_rig_is_whole(estimate, prior, model):
    rig, skeleton = estimate.rig, model.instance.skeleton
    count, k = int(prior.vert_count), skeleton.num_bones
    assert 0 < count < len(prior.verts)
    assert rig.bones_rest.shape == (2, k, 2, 3)
    np.testing.assert_allclose(rig.weights[:, :count].sum(axis=-1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(rig.weights[:, count:], 0.0)
    # XLA may add in one step with the multiplication before it.
    np.testing.assert_allclose(rig.verts_rest, prior.verts + rig.deformation, atol=1e-6)
    for parents, attachments, bones in zip(
        rig.parents, rig.leg_attachments, rig.bones_rest, strict=True
    ):
        assert parents.tolist() == list(skeleton.parents(tuple(attachments.tolist())))
        for bone, parent in enumerate(parents):
            if parent >= 0:
                np.testing.assert_allclose(bones[bone, 0], bones[parent, 1], atol=1e-6)


@pytest.mark.parametrize("attach_legs", [False, True])
def test_a_bone_moves_what_hangs_from_it(estimate, model, attach_legs):
    skeleton = model.instance.skeleton
    rig = make_rig(
        estimate.rig.prior,
        None,
        skeleton,
        RigSettings(0.05, leg_attachments=None, batch_statistics=False),
        num_images=1,
        attach_legs=attach_legs,
    )
    root = skeleton.root_bones[0]
    angles = jnp.zeros((1, skeleton.num_bones, 3)).at[0, root, 1].set(0.5)
    posed = jax.jit(lambda angles: pose(rig, angles, skeleton, attach_legs=attach_legs))(angles)
    moved = np.abs(posed.bones - rig.bones_rest).max(axis=(2, 3))[0] > 1e-4
    parents = rig.parents[0].tolist()

    def hangs_from_root(bone: int) -> bool:
        return bone == root or (parents[bone] >= 0 and hangs_from_root(parents[bone]))

    assert moved.tolist() == [hangs_from_root(bone) for bone in range(skeleton.num_bones)]
    assert any(moved[skeleton.num_body_bones :]) == attach_legs


def test_animals_without_legs_and_without_angles(prior):
    skeleton = Skeleton(num_legs=0, num_leg_bones=0)
    settings = RigSettings(0.05, leg_attachments=None, batch_statistics=False)
    rig = make_rig(prior, None, skeleton, settings, num_images=3, attach_legs=True)
    assert rig.leg_attachments.shape == (1, 0)
    assert rig.parents.tolist() == [list(skeleton.parents())]
    posed = pose(rig, None, skeleton, attach_legs=True)
    np.testing.assert_array_equal(posed.verts, jnp.stack([prior.verts] * 3))
    np.testing.assert_array_equal(posed.bones, rig.bones_rest)
