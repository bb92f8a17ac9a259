"""Bones against the original's, and meshes that have none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.bones import Skeleton, estimate_bones


@functools.partial(jax.jit, static_argnames=("skeleton", "attachments", "batch_statistics"))
def estimate(verts, valid, skeleton, attachments=None, batch_statistics=False):
    return estimate_bones(verts, valid, skeleton, attachments, batch_statistics=batch_statistics)


def all_valid(verts):
    return jnp.ones(verts.shape[1], bool)


@pytest.fixture(scope="module")
def horse(golden_case):
    return jnp.asarray(golden_case("model_03_skinning", "shape")["horse"][0])


def test_bones_equal_the_original(bones_case, equals_original):
    _, verts, skeleton, attachments, attach_legs = bones_case
    fixed = bones_case.arrays["cfg"]["legs_to_body_joint_indices"]
    fixed = fixed and tuple(fixed)
    bones, found = estimate(verts, all_valid(verts), skeleton, fixed, batch_statistics=True)
    equals_original("bones", bones, bones_case.flat("bones"), 1e-5)
    assert found.tolist() == [attachments.tolist()] * len(verts)

    second = bones_case.flat("in/shape2")
    kept = tuple(attachments.tolist())
    bones, _ = estimate(second, all_valid(second), skeleton, kept, batch_statistics=True)
    equals_original("bones, legs kept", bones, bones_case.flat("bones2"), 1e-5)

    parents = skeleton.parents(kept if attach_legs else None)
    for bone, ancestors in bones_case.arrays["parents"]:
        chain = []
        while parents[bone] >= 0:
            bone = parents[bone]
            chain.insert(0, bone)
        assert chain == ancestors


def test_padding_takes_no_part(horse):
    skeleton = Skeleton()
    bones, attachments = estimate(horse, all_valid(horse), skeleton)
    wild = jnp.full((1, 40, 3), 99.0).at[:, ::2].set(-99.0)
    padded = jnp.concatenate([horse, wild], axis=1)
    valid = jnp.arange(padded.shape[1]) < horse.shape[1]
    again, attachments_again = estimate(padded, valid, skeleton)
    np.testing.assert_allclose(again, bones, atol=1e-6)
    np.testing.assert_array_equal(attachments_again, attachments)


def test_order_of_vertices_does_not_matter(horse):
    order = jax.random.permutation(jax.random.key(0), horse.shape[1])
    bones, _ = estimate(horse, all_valid(horse), Skeleton())
    again, _ = estimate(horse[:, order], all_valid(horse), Skeleton())
    np.testing.assert_allclose(again, bones, atol=1e-5)


def test_mirrored_animal_has_mirrored_bones(horse):
    skeleton = Skeleton()
    mirror = jnp.array([-1.0, 1.0, 1.0])
    both = jnp.concatenate([horse, horse * mirror], axis=1)
    bones, _ = estimate(both, all_valid(both), skeleton)
    legs = bones[0, skeleton.num_body_bones :].reshape(4, 3, 2, 3)
    np.testing.assert_allclose(bones[0, : skeleton.num_body_bones, :, 0], 0.0)
    np.testing.assert_allclose(legs[jnp.array([3, 2])], legs[:2] * mirror, atol=1e-6)


def test_bones_are_connected(horse):
    skeleton = Skeleton()
    bones, attachments = estimate(horse, all_valid(horse), skeleton)
    bones = bones[0]
    for bone, parent in enumerate(skeleton.parents()):
        if parent >= 0:
            np.testing.assert_allclose(bones[bone, 0], bones[parent, 1], atol=1e-6)
    for leg, body in enumerate(attachments[0]):
        top = skeleton.num_body_bones + (leg + 1) * skeleton.num_leg_bones - 1
        np.testing.assert_allclose(bones[top, 0], bones[body, 1], atol=1e-6)


def test_a_mesh_does_not_depend_on_its_neighbours(horse):
    # As it is, slim and long, and wide and turned about.
    others = horse * jnp.array([[[0.4, 1.0, 1.6]]]), horse * jnp.array([[[2.0, 1.0, -1.0]]])
    verts = jnp.concatenate([horse, *others])
    bones, attachments = estimate(verts, all_valid(verts), Skeleton())
    for i in range(3):
        alone, attached = estimate(verts[i : i + 1], all_valid(verts), Skeleton())
        np.testing.assert_array_equal(bones[i], alone[0])
        np.testing.assert_array_equal(attachments[i], attached[0])
    # The original's way lets the wide one move the feet of the slim one.
    together, _ = estimate(verts, all_valid(verts), Skeleton(), batch_statistics=True)
    assert np.abs(together - bones).max() > 0.1


def test_no_gradient(horse):
    gradient = jax.grad(lambda v: jnp.sum(estimate(v, all_valid(v), Skeleton())[0]))(horse)
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("body_from", ["z_minmax", "z_minmax_y+"])
@pytest.mark.parametrize("num_valid", [0, 1, 2])
def test_empty_and_tiny_meshes_give_finite_bones(body_from, num_valid):
    verts = jnp.zeros((2, 8, 3)).at[:, :num_valid].set(1.5)
    valid = jnp.arange(8) < num_valid
    bones, attachments = estimate(verts, valid, Skeleton(body_from=body_from))
    assert jnp.all(jnp.isfinite(bones))
    assert jnp.all((attachments >= 0) & (attachments < 8))
    if num_valid == 0:
        np.testing.assert_array_equal(bones, 0.0)


def test_empty_quadrant_gives_a_leg_without_length(horse):
    skeleton = Skeleton()
    # Everything with x > 0 and z > 0 moves to the other side: no front leg on the +x side.
    mirrored = jnp.where((horse[..., :1] > 0) & (horse[..., 2:] > 0), -1.0, 1.0)
    verts = horse * jnp.concatenate([mirrored, jnp.ones((*horse.shape[:2], 2))], axis=-1)
    bones, attachments = estimate(verts, all_valid(verts), skeleton)
    leg = bones[0, 8:11]
    hip = bones[0, attachments[0, 0], 1]
    np.testing.assert_allclose(leg, jnp.broadcast_to(hip, leg.shape), atol=1e-6)
    assert float(jnp.linalg.norm(bones[0, 17, 1] - bones[0, 19, 0])) > 0.1  # its partner is there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_body_bones": 7}, "expected an even number, at least 2, got 7"),
        ({"num_legs": 2}, "num_legs: expected 0 or 4, got 2"),
        ({"num_leg_bones": 0}, "expected at least 1 for 4 legs, got 0"),
        ({"body_from": "pca"}, "body_from: expected one of .*z_minmax.*, got 'pca'"),
    ],
)
def test_impossible_skeletons_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Skeleton(**arguments)


def test_number_of_bones():
    assert Skeleton().num_bones == 20
    assert Skeleton(num_legs=0, num_leg_bones=0).num_bones == 8
    assert Skeleton(6, 4, 2).root_bones == (2, 5)
