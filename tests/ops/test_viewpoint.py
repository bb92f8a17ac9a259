"""Viewpoint hypotheses against the original's, and how they are drawn."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pony_jax.ops.rotations import look_at_rotation
from pony_jax.ops.schedules import linear_ramp
from pony_jax.ops.viewpoint import (
    choose_by_ranks,
    choose_hypothesis,
    decode_hypotheses,
    elevated,
    hypothesis_probabilities,
    hypothesis_signs,
    mirrored_outputs,
    num_hypotheses,
    num_viewpoint_outputs,
    orientation_matrix,
)

SINGLE = ("lookat", "quaternion", "euler_angle")
RANGES = {"max_trans_xy": 0.4, "max_trans_z": 1.1}


def encode(hypotheses):
    """The original's layout of decoded hypotheses: per hypothesis (logit, forward), translation."""
    each = jnp.concatenate([hypotheses.logits[..., None], hypotheses.orientation], axis=-1)
    return jnp.concatenate([each.reshape(len(each), -1), hypotheses.translation_cam], axis=-1)


@pytest.mark.parametrize(
    "name", ["pose_quad_zeroy", "pose_quad_bird", "pose_oct", "pose_oct_zeroy"]
)
def test_decoding_equals_the_original(golden_case, equals_original, name):
    case = golden_case("model_04_predictor", name)
    cfg = case["cfg"]
    np.testing.assert_array_equal(hypothesis_signs(cfg["rot_rep"]), case["orthant_signs"])
    decoded = decode_hypotheses(
        jnp.asarray(case["raw"]),
        kind=cfg["rot_rep"],
        zero_y=cfg["lookat_zeroy"],
        max_trans_xy=cfg["max_trans_xy_range"],
        max_trans_z=cfg["max_trans_z_range"],
    )
    equals_original("decoded", encode(decoded), case["out"], 1e-5)


def slow_orientation(kind, row, zero_y):
    """The rotation of one image by the original's formulas, in NumPy and SciPy."""
    if kind == "euler_angle":
        return Rotation.from_euler("XYZ", np.tanh(row) * np.deg2rad([180, 90, 30])).as_matrix()
    if kind == "quaternion":
        return Rotation.from_quat(row + np.eye(4)[0] / 100, scalar_first=True).as_matrix()
    forward = row * [1, 0 if zero_y else 1, 1]
    forward = forward / np.linalg.norm(forward)
    right = np.cross([0, 1, 0], forward)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


@pytest.mark.parametrize("zero_y", [False, True])
@pytest.mark.parametrize("kind", SINGLE)
def test_single_hypotheses_follow_the_formulas(kind, zero_y):
    raw = np.random.default_rng(3).normal(size=(6, num_viewpoint_outputs(kind)))
    decoded = decode_hypotheses(
        jnp.asarray(raw, jnp.float32),
        kind=kind,
        zero_y=zero_y,
        max_turn_deg=(180.0, 90.0, 30.0),
        **RANGES,
    )
    matrices = orientation_matrix(decoded.orientation[:, 0], kind)
    expected = [slow_orientation(kind, row[:-3], zero_y) for row in raw]
    np.testing.assert_allclose(matrices, expected, atol=1e-5)
    shift = np.tanh(raw[:, -3:]) * [0.4, 0.4, 1.1]
    np.testing.assert_allclose(decoded.translation_cam, shift, atol=1e-6)
    if kind == "quaternion":
        assert jnp.all(decoded.orientation[..., 0] >= 0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", SINGLE)
def test_a_single_hypothesis_is_certain(kind, training):
    raw = jax.random.normal(jax.random.key(4), (5, num_viewpoint_outputs(kind)))
    decoded = decode_hypotheses(raw, kind=kind, zero_y=False, **RANGES)
    p = hypothesis_probabilities(decoded.logits, temperature_gain=100.0, uniform_mix=0.3)
    np.testing.assert_array_equal(p, 1.0)
    chosen = choose_hypothesis(jax.random.key(5), p, best_share=0.5, training=training)
    np.testing.assert_array_equal(chosen, 0)


@pytest.mark.parametrize("kind", ["quadlookat", "octlookat"])
def test_orientations_of_several_hypotheses_are_look_ats(kind):
    raw = jax.random.normal(jax.random.key(6), (5, num_viewpoint_outputs(kind)))
    decoded = decode_hypotheses(raw, kind=kind, zero_y=False, **RANGES)
    matrices = orientation_matrix(decoded.orientation, kind)
    np.testing.assert_allclose(jnp.linalg.det(matrices), 1.0, atol=1e-5)
    np.testing.assert_array_equal(matrices[..., 2, :], decoded.orientation)


@pytest.mark.parametrize("kind", ["quadlookat", "octlookat", *SINGLE])
def test_outputs_for_a_mirror_image_decode_to_mirrored_hypotheses(kind):
    raw = jax.random.normal(jax.random.key(7), (5, num_viewpoint_outputs(kind)))
    plain = decode_hypotheses(raw, kind=kind, zero_y=False, **RANGES)
    mirror = decode_hypotheses(mirrored_outputs(raw, kind), kind=kind, zero_y=False, **RANGES)
    flip = np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(mirror.translation_cam, plain.translation_cam * flip, atol=1e-6)
    several = kind.startswith(("quad", "oct"))
    signs = hypothesis_signs(kind) if several else np.zeros((1, 3))
    for i, sign in enumerate(signs):
        (j,) = np.flatnonzero((signs == sign * flip).all(axis=1))
        np.testing.assert_array_equal(mirror.logits[:, j], plain.logits[:, i])
        # What was right of the animal is left of its mirror image, which is as good an animal.
        expected = orientation_matrix(plain.orientation[:, i], kind) * flip * flip[:, None]
        found = orientation_matrix(mirror.orientation[:, j], kind)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(mirrored_outputs(mirrored_outputs(raw, kind), kind), raw)


def test_a_squareplus_comes_back_from_where_a_softplus_is_lost():
    def depth(raw, side):
        outputs = jnp.zeros((1, 19)).at[0, 3].set(raw)
        hypotheses = decode_hypotheses(outputs, kind="quadlookat", zero_y=True, side=side, **RANGES)
        return hypotheses.orientation[0, 0, 2]

    for side in ("softplus", "squareplus"):
        np.testing.assert_allclose(depth(0.0, side), np.sqrt(0.5), rtol=1e-6)
        np.testing.assert_allclose(depth(40.0, side), 1.0, rtol=1e-3)
    assert jax.grad(depth)(-40.0, "softplus") < 1e-20
    # z / |(1/2, z)| with z near 1 / (4 |x|), z' near 1 / (4 x^2): 1 / (2 x^2), but for z^2.
    for x in (-40.0, -4e4):
        np.testing.assert_allclose(jax.grad(depth)(x, "squareplus"), 0.5 / x**2, rtol=1e-3)
    with pytest.raises(ValueError, match=r"side: expected one of .*'squareplus'.*, got 'relu'"):
        depth(0.0, "relu")


@functools.partial(jax.jit, static_argnames=("num_hypotheses", "training"))
def original_pose(encoded, num_hypotheses, iteration, scalar, ranks, training):
    """Probabilities and the chosen pose with the original's schedule."""
    split = encoded[:, :-3].reshape(len(encoded), num_hypotheses, 4)
    logits, forward = split[..., 0], split[..., 1:]
    probabilities = hypothesis_probabilities(
        logits,
        temperature_gain=jnp.clip(iteration / 1000 / scalar, 1.0, 100.0),
        uniform_mix=linear_ramp(iteration, 2000, 4000, 1.0, 0.0),
    )
    if training:
        best_share = linear_ramp(iteration, 6000, 7600, 0.0, 0.8)
        chosen = choose_by_ranks(*ranks, probabilities, best_share=best_share)
    else:
        chosen = jnp.argmax(probabilities, axis=-1)
    row = jnp.arange(len(chosen))
    rotation = look_at_rotation(forward[row, chosen]).reshape(-1, 9)
    pose = jnp.concatenate([rotation, encoded[:, -3:]], axis=-1)
    return pose, logits[row, chosen], probabilities[row, chosen], probabilities, chosen


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["hyp_quad", "hyp_oct"])
def test_choice_equals_the_original(golden_case, equals_original, name, training):
    cases = golden_case("model_04_predictor", name)
    encoded = jnp.asarray(cases["in/poses_raw"])
    num_hypotheses = (encoded.shape[1] - 3) // 4
    pattern = re.compile(rf"(it(\d+)_rs{int(training)}(?:_scalar([\d.]+))?)/pose$")
    matches = [m for m in map(pattern.fullmatch, cases) if m]
    assert len(matches) >= 6
    for match in matches:
        case, iteration, scalar = match[1], float(match[2]), float(match[3] or 1)
        ranks = None
        if training:
            names = ("perm_hypothesis", "perm_best")
            ranks = tuple(jnp.asarray(cases[f"{case}/in/{n}"]) for n in names)

        def run(encoded, iteration=iteration, scalar=scalar, ranks=ranks):
            return original_pose(encoded, num_hypotheses, iteration, scalar, ranks, training)

        pose, logit, probability, probabilities, chosen = run(encoded)
        np.testing.assert_array_equal(chosen, cases[f"{case}/rot_idx"])
        equals_original(f"{case} probabilities", probabilities, cases[f"{case}/rots_probs"], 1e-5)
        equals_original(f"{case} probability", probability, cases[f"{case}/rot_prob"], 1e-5)
        equals_original(f"{case} logit", logit, cases[f"{case}/rot_logit"], 1e-6)
        equals_original(f"{case} pose", pose, cases[f"{case}/pose"], 1e-5)
        if f"{case}/g/in/poses_raw" in cases:
            cotangents = [cases[f"{case}/cot_{n}"] for n in ("pose", "logit", "prob")]
            gradient = jax.grad(
                lambda e, c=cotangents, r=run: sum(jnp.sum(x * y) for x, y in zip(r(e), c))  # noqa: B905
            )(encoded)
            equals_original(f"{case} gradient", gradient, cases[f"{case}/g/in/poses_raw"], 1e-4)


@pytest.mark.parametrize("kind", ["quadlookat", "octlookat"])
def test_hypotheses_stay_in_their_quadrants(kind):
    signs = hypothesis_signs(kind)
    raw = 5 * jax.random.normal(jax.random.key(0), (50, 4 * len(signs) + 3))
    hypotheses = decode_hypotheses(raw, kind=kind, zero_y=False, max_trans_xy=0.4, max_trans_z=1.1)
    axes = jnp.array([0, 2]) if kind == "quadlookat" else jnp.arange(3)
    assert jnp.all(hypotheses.orientation[..., axes] * signs[:, axes] >= 0)
    np.testing.assert_allclose(jnp.linalg.norm(hypotheses.orientation, axis=-1), 1.0, atol=1e-5)
    assert jnp.all(jnp.abs(hypotheses.translation_cam) <= jnp.array([0.4, 0.4, 1.1]))


@pytest.mark.parametrize("kind", ["quadlookat", "octlookat", *SINGLE])
def test_extreme_outputs_are_finite(kind):
    raw = jnp.array([[1e4], [-1e4], [0.0]]) * jnp.ones(num_viewpoint_outputs(kind))
    # The real part that cancels the quaternion's start: a zero quaternion.
    raw = jnp.concatenate([raw, jnp.zeros_like(raw[:1]).at[0, 0].set(-0.01)])

    def total(raw):
        hypotheses = decode_hypotheses(raw, kind=kind, zero_y=True, **RANGES)
        turned = orientation_matrix(hypotheses.orientation, kind)
        return jnp.sum(turned) + jnp.sum(hypotheses.translation_cam)

    value, gradient = jax.value_and_grad(total)(raw)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_probabilities_sum_to_one(mix):
    logits = jax.random.normal(jax.random.key(1), (7, 4)) * 100
    p = hypothesis_probabilities(logits, temperature_gain=100.0, uniform_mix=mix)
    np.testing.assert_allclose(jnp.sum(p, axis=-1), 1.0, atol=1e-6)
    assert jnp.all(p >= mix / 4 - 1e-7)
    if mix < 1:
        np.testing.assert_array_equal(jnp.argmax(p, axis=-1), jnp.argmin(logits, axis=-1))


@pytest.mark.parametrize(("b", "m"), [(1, 4), (8, 4), (10, 4), (3, 8)])
def test_choice_is_balanced_repeats_and_takes_the_best(b, m):
    p = jax.nn.softmax(jax.random.normal(jax.random.key(2), (b, m)))
    best = jnp.argmax(p, axis=-1)
    key = jax.random.key(3)
    choose = functools.partial(choose_hypothesis, key, p)
    np.testing.assert_array_equal(choose(best_share=0.0, training=False), best)
    np.testing.assert_array_equal(choose(best_share=1.0, training=True), best)
    counts = np.bincount(choose(best_share=0.0, training=True), minlength=m)
    assert counts.max() - counts.min() <= 1
    first, again = (choose(best_share=0.5, training=True) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_equal_scores_choose_the_first():
    p = hypothesis_probabilities(jnp.zeros((3, 4)), temperature_gain=5.0, uniform_mix=0.0)
    chosen = choose_hypothesis(jax.random.key(0), p, best_share=0.0, training=False)
    np.testing.assert_array_equal(chosen, 0)


def test_a_half_turn_stays_a_half_turn():
    # The original's sign of 0 makes it the identity.
    raw = jnp.array([[-0.01, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    decoded = decode_hypotheses(raw, kind="quaternion", zero_y=False, **RANGES)
    matrix = orientation_matrix(decoded.orientation[0, 0], "quaternion")
    np.testing.assert_allclose(matrix, np.diag([-1.0, 1.0, -1.0]), atol=1e-6)


def test_unknown_kind_raises():
    with pytest.raises(
        ValueError, match=r"expected one of \['octlookat', 'quadlookat'\], got 'tri'"
    ):
        hypothesis_signs("tri")
    with pytest.raises(ValueError, match=r"expected one of \['euler_angle', .*'\], got 'tri'"):
        num_viewpoint_outputs("tri")


def test_wrong_width_raises():
    with pytest.raises(ValueError, match=r"expected 19 channels for quadlookat, got 35"):
        decode_hypotheses(
            jnp.zeros((2, 35)), kind="quadlookat", zero_y=True, max_trans_xy=1.0, max_trans_z=1.0
        )


def test_a_higher_camera_sees_the_animal_from_above():
    rng = np.random.default_rng(5)
    azimuth = rng.uniform(-np.pi, np.pi, 6)
    forward = np.stack([np.sin(azimuth), np.zeros(6), np.cos(azimuth)], axis=-1)
    level = look_at_rotation(jnp.asarray(forward, jnp.float32))
    elevation = rng.uniform(-1.4, 1.4, 6).astype(np.float32)
    rotation = np.asarray(elevated(level, jnp.asarray(elevation)))
    expected = level @ Rotation.from_euler("x", elevation[:, None]).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(rotation, expected, atol=1e-6)
    # The camera is at +z of what it sees: in the animal's frame its height is the elevation's sine.
    np.testing.assert_allclose(rotation[:, 1, 2], np.sin(elevation), atol=1e-6)
    # It turns about its own x axis, so where the animal is to the left and right stays the same.
    np.testing.assert_array_equal(rotation[:, :, 0], level[:, :, 0])


def test_elevation_broadcasts_over_hypotheses():
    level = look_at_rotation(jax.random.normal(jax.random.key(0), (3, 4, 3)))
    together = elevated(level, jnp.array([[0.1], [-0.2], [0.3]]))
    for number, angle in enumerate((0.1, -0.2, 0.3)):
        each = elevated(level[number], jnp.full(4, angle))
        np.testing.assert_allclose(together[number], each, atol=1e-6)


def test_every_kind_says_how_many_hypotheses_it_has():
    known = ("quadlookat", "octlookat", *SINGLE)
    assert [num_hypotheses(kind) for kind in known] == [4, 8, 1, 1, 1]
