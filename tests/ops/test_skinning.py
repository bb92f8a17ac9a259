"""Kinematics and skinning against the original's, and what rigid motions keep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.bones import Skeleton, estimate_bones
from pony_jax.ops.kinematics import bone_frames, hold_static_bones, posed_bone_transforms
from pony_jax.ops.skinning import pose_bones, skin, skinning_weights

QUADRUPED = Skeleton()


@functools.partial(jax.jit, static_argnames=("skeleton", "attach_legs"))
def transforms_of(bones, angles, attachments, skeleton=QUADRUPED, attach_legs=True):
    return posed_bone_transforms(bones, angles, skeleton, attachments, attach_legs)


@functools.partial(jax.jit, static_argnames=("skeleton", "attach_legs"))
def posed(verts, bones, angles, attachments, skeleton=QUADRUPED, attach_legs=True):
    transforms = posed_bone_transforms(bones, angles, skeleton, attachments, attach_legs)
    weights = skinning_weights(verts, bones, 0.05)
    return skin(verts, weights, transforms), pose_bones(bones, transforms)


@pytest.fixture(scope="module")
def animal():
    """Vertices, bones and attachments of two box-shaped quadrupeds."""
    verts = jax.random.uniform(jax.random.key(0), (2, 60, 3), minval=-1) * jnp.array([0.5, 1, 2])
    estimate = jax.jit(estimate_bones, static_argnums=(2, 3))
    return verts, *estimate(verts, jnp.ones(60, bool), QUADRUPED, None)


def test_every_animal_has_attachments_of_its_own(animal):
    _, bones, _ = animal
    angles = 0.5 * jax.random.normal(jax.random.key(2), (2, 20, 3))
    attachments = jnp.array([[1, 6, 6, 1], [2, 4, 4, 2]])
    both = transforms_of(bones, angles, attachments)
    for i in range(2):
        alone = transforms_of(bones[i : i + 1], angles[i : i + 1], attachments[i])
        np.testing.assert_allclose(both[i], alone[0], atol=1e-6)


def test_bone_frames_equal_the_original(golden_case, equals_original):
    case = golden_case("model_03_skinning", "bone_rot")
    equals_original("frames", bone_frames(jnp.asarray(case["in/forward"])), case["out"], 1e-6)


def test_weights_equal_the_original(bones_case, equals_original):
    verts, bones = bones_case.verts, bones_case.flat("bones")
    for temperature in (0.05, 1.0):
        expected = bones_case.arrays.get(f"weights_t{temperature}")
        if expected is not None:
            expected = np.moveaxis(expected.reshape(len(expected), -1, verts.shape[1]), 0, 2)
            weights = skinning_weights(verts, bones, temperature)
            equals_original(f"weights at {temperature}", weights, expected, 1e-4)


def test_posing_equals_the_original(bones_case, equals_original):
    arrays, verts, skeleton, attachments, attach_legs = bones_case
    bones = bones_case.flat("bones")

    @jax.jit
    def run(verts, angles, cot_verts, cot_bones):
        def pose(verts, angles):
            copied = (jnp.broadcast_to(x, (len(angles), *x.shape[1:])) for x in (verts, bones))
            return posed(*copied, angles, attachments, skeleton, attach_legs)

        (out_verts, out_bones), pull = jax.vjp(pose, verts, angles)
        by_verts, by_angles = pull((cot_verts, jnp.zeros_like(out_bones)))
        _, bones_by_angles = pull((jnp.zeros_like(out_verts), cot_bones))
        return out_verts, out_bones, by_verts, by_angles, bones_by_angles

    # One shape for each set of angles, and (where the file has it) one shape for all.
    for part in ("skin_same", "skin_rep"):
        if f"{part}/in/angles" not in arrays:
            continue
        inputs = [bones_case.flat(f"{part}/{k}") for k in ("in/angles", "cot_verts", "cot_bones")]
        keys = ("posed_verts", "posed_bones", "g/in/verts", "g/in/angles", "g_bones/in/angles")
        for key, value in zip(keys, run(verts, *inputs), strict=True):
            equals_original(key, value, bones_case.flat(f"{part}/{key}"), 1e-4)


def test_parents_are_those_of_the_originals_tree(bones_case):
    """The original lists every bone with all that hangs from it."""
    attachments = tuple(bones_case.attachments.tolist()) if bones_case.attach_legs else None
    parents = bones_case.skeleton.parents(attachments)
    hanging = {bone: set() for bone in range(len(parents))}
    for bone, ancestor in enumerate(parents):
        while ancestor >= 0:
            hanging[ancestor].add(bone)
            ancestor = parents[ancestor]
    tree = bones_case.arrays["kinematic_tree"]
    assert {bone: set(below) for bone, below in tree} == hanging


def test_segment_distance_equals_the_original(golden_case, equals_original):
    case = golden_case("model_03_skinning", "segdist")
    bones = jnp.stack([jnp.asarray(case["in/a"])[:, 0], jnp.asarray(case["in/b"])[:, 0]], axis=1)
    points = jnp.asarray(case["in/points"])[:, 0]
    # Two bones: the logarithm of the ratio of their weights is the difference of the distances.
    far = jnp.full((2, 1, 2, 3), 50.0)
    weights = skinning_weights(points, jnp.concatenate([bones[:, None], far], axis=1), 100.0)
    far_distance = jnp.sqrt(jnp.sum((points - 50.0) ** 2, axis=-1) + 1e-6)
    distance = far_distance - 100.0 * jnp.log(weights[..., 0] / weights[..., 1])
    # 100 times a logarithm of float32 weights is good to about 1e-4.
    equals_original("distance", distance, case["out"][:, 0], 1e-4)


@pytest.mark.parametrize("attach_legs", [False, True])
def test_transforms_equal_a_walk_up_the_tree(animal, attach_legs):
    _, bones, (attachments, _) = animal
    angles = jax.random.normal(jax.random.key(2), (2, 20, 3))
    transforms = transforms_of(bones, angles, attachments, attach_legs=attach_legs)
    alone = [  # the turn of each bone by itself
        transforms_of(bones, jnp.zeros_like(angles).at[:, i].set(angles[:, i]), attachments)[:, i]
        for i in range(20)
    ]
    parents = QUADRUPED.parents(tuple(attachments.tolist()) if attach_legs else None)
    for bone in range(20):
        expected, ancestor = alone[bone], parents[bone]
        while ancestor >= 0:
            expected, ancestor = alone[ancestor] @ expected, parents[ancestor]
        np.testing.assert_allclose(transforms[:, bone], expected, atol=1e-5)


def test_jit_equals_eager(animal):
    verts, bones, attachments = animal
    angles = jax.random.normal(jax.random.key(1), (2, 20, 3))
    with jax.disable_jit():
        eager = posed(verts, bones, angles, attachments)
    for a, b in zip(posed(verts, bones, angles, attachments), eager, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_zero_angles_move_nothing(animal):
    verts, bones, attachments = animal
    out, out_bones = posed(verts, bones, jnp.zeros((2, 20, 3)), attachments)
    np.testing.assert_allclose(out, verts, atol=1e-6)
    np.testing.assert_allclose(out_bones, bones, atol=1e-6)


def test_weights_are_shares_and_sharpen(animal):
    verts, bones, _ = animal
    weights = skinning_weights(verts, bones, 0.05)
    np.testing.assert_allclose(jnp.sum(weights, axis=-1), 1.0, atol=1e-5)
    # A point on a bone, at low temperature, belongs to it (or to a bone that touches it there).
    middle = bones.mean(axis=2)
    own = jnp.diagonal(skinning_weights(middle, bones, 1e-3), axis1=1, axis2=2)
    assert float(jnp.min(own)) > 0.24


def test_one_bone_moves_rigidly(animal):
    verts, bones, _ = animal
    bones = bones[:, jnp.array([3, 7])]
    angles = jnp.array([[[0.3, -0.2, 0.9], [0, 0, 0]]] * 2)
    transforms = transforms_of(bones, angles, jnp.zeros(0, jnp.int32), skeleton=Skeleton(2, 0, 0))
    weights = jnp.zeros((2, 60, 2)).at[..., 0].set(1.0)
    out = skin(verts, weights, transforms)
    gaps = [jnp.linalg.norm(v[:, None] - v[:, :, None], axis=-1) for v in (verts, out)]
    np.testing.assert_allclose(gaps[1], gaps[0], atol=1e-5)
    pivot = pose_bones(bones, transforms)[:, 0, 0]
    np.testing.assert_allclose(pivot, bones[:, 0, 0], atol=1e-6)  # the near end stays


def test_bones_and_weights_are_constants(animal):
    verts, bones, attachments = animal
    angles = jax.random.normal(jax.random.key(3), (2, 20, 3))

    def total(bones):
        return sum(jnp.sum(x) for x in posed(verts, bones, angles, attachments))

    np.testing.assert_array_equal(jax.jit(jax.grad(total))(bones), 0.0)
    by_verts = jax.grad(lambda v: jnp.sum(skinning_weights(v, bones, 0.05) ** 2))(verts)
    np.testing.assert_array_equal(by_verts, 0.0)


@pytest.mark.parametrize("b", [1, 3])
def test_bones_without_length_turn_in_place(b):
    bones = jnp.full((b, 20, 2, 3), 0.7)
    angles = jax.random.normal(jax.random.key(4), (b, 20, 3))
    verts = jax.random.normal(jax.random.key(5), (b, 9, 3))

    @jax.jit
    def run(angles):
        (out, out_bones), pull = jax.vjp(
            lambda a: posed(verts, bones, a, jnp.array([3, 7, 7, 3])), angles
        )
        return out, out_bones, pull((out, out_bones))[0]

    out, out_bones, gradient = run(angles)
    np.testing.assert_allclose(out_bones, bones, atol=1e-5)
    before, after = (np.linalg.norm(v - 0.7, axis=-1) for v in (verts, out))
    assert np.all(after <= before + 1e-5)
    assert jnp.all(jnp.isfinite(gradient))


def test_wrong_number_of_bones_raises(animal):
    _, bones, attachments = animal
    with pytest.raises(ValueError, match="expected 20 bones, as the skeleton has, got 8"):
        posed_bone_transforms(bones[:, :8], jnp.zeros((2, 8, 3)), Skeleton(), attachments, False)


@pytest.mark.parametrize("num_legs", [0, 4])
def test_static_roots_do_not_turn(num_legs):
    skeleton = Skeleton(num_legs=num_legs, static_roots=True)
    angles = jax.random.normal(jax.random.key(0), (2, skeleton.num_bones, 3))
    held = hold_static_bones(angles, skeleton)
    moves = np.ones(skeleton.num_bones, bool)
    moves[[3, 7]] = False
    np.testing.assert_array_equal(held[:, [3, 7]], 0.0)
    np.testing.assert_array_equal(held[:, moves], angles[:, moves])
    gradient = jax.grad(lambda a: jnp.sum(hold_static_bones(a, skeleton)))(angles)
    np.testing.assert_array_equal(gradient[0, :, 0], moves)
    free = Skeleton(num_legs=num_legs)
    np.testing.assert_array_equal(hold_static_bones(angles, free), angles)
