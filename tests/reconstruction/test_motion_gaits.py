"""Gaits: hooves that stay where they stand, footfalls of horses, loops, proportions, bad input."""

import dataclasses

import numpy as np
import pytest

from pony_jax.ops.bones import Skeleton as ModelSkeleton
from pony_jax.ops.bones import estimate_bones
from pony_jax.ops.skinning import skinning_weights
from pony_jax.reconstruction import motion
from pony_jax.reconstruction.animal import Animal, TriangleMesh
from pony_jax.reconstruction.motion.legs import find_legs
from pony_jax.reconstruction.skeleton import LEGS, Skeleton
from tests.reconstruction.sample_animal import make_animal

_MOVING = ("walk", "trot", "gallop")

# Largest slide and sink of a hoof, in lengths of the body. Walk and trot are what the project
# promises. A gallop has some four frames a stance, between which viewers interpolate.
_BOUNDS = {
    "walk": (0.02, 0.01),
    "trot": (0.02, 0.01),
    "gallop": (0.03, 0.01),
    "graze": (0.004, 0.004),
    "idle": (0.004, 0.004),
}


@pytest.fixture(scope="module")
def animal() -> Animal:
    """The sample with legs as slender as a horse's, so that each hoof follows its own leg."""
    sample = make_animal()
    verts = sample.rest_mesh.verts.copy()
    legs = verts[:, 1] <= -0.3499
    centres = np.stack([0.28 * np.sign(verts[:, 0]), np.where(verts[:, 2] > 0, 0.7, -0.9)], 1)
    verts[:, [0, 2]] = np.where(
        legs[:, None], centres + 0.5 * (verts[:, [0, 2]] - centres), verts[:, [0, 2]]
    )
    return rigged(sample, verts, sample.rest_mesh.faces)


def rigged(sample: Animal, verts: np.ndarray, faces: np.ndarray) -> Animal:
    """Another mesh, rigged as the model rigs."""
    model, valid = ModelSkeleton(), np.ones(len(verts), bool)
    bones, attachments = estimate_bones(verts[None], valid, model, None)
    mesh = TriangleMesh(verts, faces)
    return dataclasses.replace(
        sample,
        rest_mesh=mesh,
        posed_mesh=mesh,
        prior_verts=verts,
        skin_weights=np.asarray(skinning_weights(verts[None], bones, 0.05)[0]),
        skeleton=Skeleton.from_model(
            model, np.asarray(bones[0]), model.parents(np.asarray(attachments[0]))
        ),
    )


@pytest.fixture(scope="module")
def clips(animal):
    return {name: gait(animal) for name, gait in motion.GAITS.items()}


@pytest.mark.parametrize("gait", _BOUNDS)
@pytest.mark.parametrize("with_mesh", [True, False])
def test_hooves_neither_slide_nor_sink(animal, clips, gait, with_mesh):
    subject = animal if with_mesh else animal.skeleton
    clip = clips[gait] if with_mesh else motion.GAITS[gait](subject)
    contacts = motion.measure_contacts(subject, clip)
    slide, sink = _BOUNDS[gait]
    assert contacts.slide <= slide
    assert contacts.sink <= sink


@pytest.mark.parametrize(
    "gait, order, duty, suspended",
    [
        # Hildebrand (1965): lateral sequence; two or three hooves on the ground.
        ("walk", ["rear_left", "front_left", "rear_right", "front_right"], (0.6, 0.75), False),
        # Diagonal pairs land together (they share a place in the order).
        ("trot", ["front_left", "front_right"], (0.4, 0.56), None),
        # Hildebrand (1977): transverse, the left foreleg leads, then all hooves are in the air.
        ("gallop", ["rear_right", "rear_left", "front_right", "front_left"], (0.22, 0.45), True),
    ],
)
def test_hooves_fall_as_those_of_horses(animal, clips, gait, order, duty, suspended):
    """Measured on the mesh; what counts as planted begins and ends a little above the ground."""
    contacts = motion.measure_contacts(animal, clips[gait], samples_per_frame=8)
    planted = contacts.planted[:-1]
    assert all(duty[0] <= share <= duty[1] for share in contacts.duty_factors().values())
    landings = {leg: _middle_of_run(planted[:, i]) for i, leg in enumerate(LEGS) if leg in order}
    start = landings[order[0]]
    assert sorted(order, key=lambda leg: (landings[leg] - start) % len(planted)) == order
    on_ground = planted.sum(axis=1)
    if suspended is not None:
        assert (on_ground.min() == 0) == suspended
    if gait == "walk":
        assert on_ground.min() >= 2
    if gait == "trot":
        for one, other in (("front_left", "rear_right"), ("front_right", "rear_left")):
            stances = [planted[:, LEGS.index(leg)] for leg in (one, other)]
            assert np.mean(stances[0] == stances[1]) > 0.9  # the diagonal pair together


def _middle_of_run(planted: np.ndarray) -> float:
    """Middle of the stance in a repeating series, in samples."""
    turns = np.exp(2j * np.pi * np.flatnonzero(planted) / len(planted))
    return float(np.angle(turns.mean()) / (2 * np.pi) % 1.0 * len(planted))


@pytest.mark.parametrize("gait", _BOUNDS)
def test_joints_keep_their_limits_and_loops_close(animal, clips, gait):
    clip = clips[gait]
    low, high = motion.joint_limits_rad(animal.skeleton)
    assert np.all(clip.angles_rad >= low - 1e-9) and np.all(clip.angles_rad <= high + 1e-9)
    np.testing.assert_array_equal(clip.angles_rad[0], clip.angles_rad[-1])
    np.testing.assert_array_equal(clip.root_rotation[0], clip.root_rotation[-1])
    np.testing.assert_array_equal(clip.root_translation[0, :2], clip.root_translation[-1, :2])
    # The step over the seam is no larger than the steps within.
    steps = np.abs(np.diff(np.concatenate([clip.angles_rad, clip.angles_rad[1:2]]), axis=0))
    assert steps[-1].max() <= steps[:-1].max() + 1e-9


@pytest.mark.parametrize("gait", ["walk", "trot"])
def test_left_and_right_do_the_same_half_a_stride_apart(animal, gait):
    """On a symmetrical skeleton; the sample's legs are mirrored to a hundredth."""
    skeleton = _symmetrical(animal.skeleton)
    clip = motion.GAITS[gait](skeleton, frames_per_second=40 / 1.1 if gait == "walk" else 40 / 0.72)
    frames = len(clip.times_s) - 1
    assert frames == 40
    later = np.roll(clip.angles_rad[:-1], frames // 2, axis=0)
    for left, right in (("front_left", "front_right"), ("rear_left", "rear_right")):
        mirrored = later[:, skeleton.leg(right)] * [1, -1, -1]
        np.testing.assert_allclose(clip.angles_rad[:-1, skeleton.leg(left)], mirrored, atol=1e-3)


def _symmetrical(skeleton: Skeleton) -> Skeleton:
    bones = skeleton.bones_rest.copy()
    for left, right in (("front_left", "front_right"), ("rear_left", "rear_right")):
        bones[list(skeleton.leg(right))] = bones[list(skeleton.leg(left))] * [-1, 1, 1]
    return dataclasses.replace(skeleton, bones_rest=bones)


def test_a_larger_animal_moves_alike(animal):
    skeleton = animal.skeleton
    larger = dataclasses.replace(
        skeleton, bones_rest=3 * skeleton.bones_rest, root_rest=3 * skeleton.root_rest
    )
    clip, large = motion.walk(skeleton), motion.walk(larger)
    np.testing.assert_allclose(large.angles_rad, clip.angles_rad, atol=1e-4)  # float32 bones
    np.testing.assert_allclose(large.root_translation, 3 * clip.root_translation, atol=1e-4)


@pytest.mark.parametrize("gait", _MOVING)
def test_speed_stride_and_cycles(animal, gait):
    make, skeleton = motion.GAITS[gait], animal.skeleton
    usual = make(skeleton)
    stride, period_s = usual.root_translation[-1, 2], usual.times_s[-1]
    given = make(skeleton, speed=0.8 * stride / period_s, stride=0.8 * stride, cycles=3)
    assert given.times_s[-1] == pytest.approx(3 * period_s)
    assert given.root_translation[-1, 2] == pytest.approx(3 * 0.8 * stride)
    slow = make(skeleton, speed=0.7 * stride / period_s)
    assert slow.root_translation[-1, 2] / slow.times_s[-1] == pytest.approx(0.7 * stride / period_s)
    assert 0.7 * stride < slow.root_translation[-1, 2] < stride
    assert make(skeleton, frames_per_second=60).times_s.size > 1.8 * usual.times_s.size
    again = make(skeleton)
    np.testing.assert_array_equal(again.angles_rad, usual.angles_rad)


def test_in_place_is_the_same_without_the_way(animal):
    clip = motion.walk(animal, in_place=True)
    np.testing.assert_array_equal(clip.root_translation[0], clip.root_translation[-1])
    ahead = motion.walk(animal)
    speed = ahead.root_translation[-1, 2] / ahead.times_s[-1]
    assert motion.ground_speed(animal, clip) == pytest.approx(speed, rel=0.04)  # hooves roll
    np.testing.assert_allclose(
        motion.travelling(clip, speed).root_translation, ahead.root_translation, atol=1e-12
    )
    still = motion.measure_contacts(animal, clip, ground_speed=speed)
    assert still.slide == pytest.approx(motion.measure_contacts(animal, ahead).slide, abs=1e-6)


def test_the_measure_sees_slides_and_dips(animal):
    clip = motion.idle(animal)
    fair = motion.measure_contacts(animal, clip)
    t = len(clip.times_s)
    moves = clip.root_translation + np.linspace(0, 0.1, t)[:, None] * [0.0, 0.0, 1.0]
    slides = motion.measure_contacts(animal, dataclasses.replace(clip, root_translation=moves))
    assert slides.slide == pytest.approx(fair.slide + 0.1 / animal.body_length, abs=0.003)
    dip = np.array([0.0, 0.2, 0.0])
    lower = dataclasses.replace(clip, root_translation=clip.root_translation - dip)
    sinks = motion.measure_contacts(animal, lower)
    assert sinks.sink == pytest.approx(fair.sink + 0.2 / animal.body_length, abs=0.003)
    higher = dataclasses.replace(clip, root_translation=clip.root_translation + dip)
    assert not motion.measure_contacts(animal, higher).planted.any()


def test_graze_lowers_the_head_and_stands(animal, clips):
    skeleton = animal.skeleton
    head = skeleton.index("head")

    def lowest(clip):
        transforms = skeleton.world_from_rest(
            clip.angles_rad, clip.root_translation, clip.root_rotation
        )
        return skeleton.posed_bones(transforms)[:, head, 1, 1].min()

    ground = skeleton.bones_rest[..., 1].min()
    assert lowest(clips["graze"]) - ground < 0.6 * (lowest(clips["idle"]) - ground)


def test_legs_reach_what_they_can(animal):
    rng = np.random.default_rng(0)
    skeleton = animal.skeleton
    for leg in find_legs(skeleton):
        rest = (leg.tip - leg.hip) / leg.length
        direction = rest + rng.uniform(-0.4, 0.4, (50, 3)) * [0.05, 0, 1]
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        tips = leg.hip + direction * rng.uniform(0.75, 0.999, (50, 1)) * leg.length
        _, y, z = ((tips - leg.hip) @ leg.frame).T
        pitch = np.arctan2(-y, z) + rng.uniform(-0.3, 0.3, 50)
        angles = np.zeros((50, skeleton.num_bones, 3))
        angles[:, leg.bones] = leg.solve(tips, pitch)
        posed = skeleton.posed_bones(skeleton.world_from_rest(angles))
        np.testing.assert_allclose(posed[:, leg.bones[-1], 1], tips, atol=1e-5)
        knee = angles[:, leg.bones[1], 0]
        assert np.all(knee <= 0 if leg.is_front else knee >= 0)  # elbows back, stifles forward
        bent = np.linalg.norm(tips - leg.hip, axis=-1) < 0.9 * leg.length
        got = angles[:, leg.bones, 0].sum(axis=1)
        np.testing.assert_allclose(got[bent], pitch[bent], atol=0.03)  # eased towards the limit
        with pytest.raises(ValueError, match=f"{leg.name}: expected hoof places within"):
            leg.solve(leg.hip + direction * 1.1 * leg.length, pitch)
        angles[:, leg.bones] = leg.solve(
            leg.hip + direction * 1.1 * leg.length, pitch, nearest=True
        )
        posed = skeleton.posed_bones(skeleton.world_from_rest(angles))[:, leg.bones[-1], 1]
        # To the share of its length that a leg is stretched to at most.
        np.testing.assert_allclose(posed, leg.hip + direction * leg.length, atol=2e-3 * leg.length)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"stride": 30.0}, "take a shorter"),
        ({"stride": -1.0}, "stride: expected a positive number or None, got -1"),
        ({"speed": float("nan")}, "speed: expected a positive number or None, got nan"),
        ({"frames_per_second": 0}, "frames_per_second: expected above 0, got 0"),
        ({"cycles": 0}, "cycles: expected a whole number, at least 1, got 0"),
    ],
)
def test_refuses_what_cannot_be(animal, options, message):
    with pytest.raises(ValueError, match=message):
        motion.walk(animal, **options)


def test_needs_four_straight_legs(animal):
    skeleton = animal.skeleton
    rows = [i for i, name in enumerate(skeleton.names) if not name.startswith("front_left")]
    renumbered = {old: new for new, old in enumerate(rows)} | {-1: -1}
    three = Skeleton(
        names=tuple(skeleton.names[i] for i in rows),
        parents=np.array([renumbered[int(skeleton.parents[i])] for i in rows]),
        bones_rest=skeleton.bones_rest[rows],
        root_rest=skeleton.root_rest,
    )
    with pytest.raises(ValueError, match="front_left: expected a leg of three bones, got 0"):
        motion.walk(three)
    flat = skeleton.bones_rest.copy()
    flat[list(skeleton.leg("rear_right"))] = 0
    with pytest.raises(ValueError, match="rear_right: expected three bones in a straight line"):
        motion.trot(dataclasses.replace(skeleton, bones_rest=flat))


@pytest.mark.slow
@pytest.mark.parametrize("species", ["horse", "cow", "giraffe"])
def test_real_proportions(animal, species):
    """The synthetic animals, rigged as the model rigs: long and short legs and necks."""
    from pony_jax.data.synthetic.template import load_template

    template = load_template(species)
    subject = rigged(animal, template.verts, template.faces)
    for gait, (slide, sink) in _BOUNDS.items():
        contacts = motion.measure_contacts(subject, motion.GAITS[gait](subject))
        assert contacts.slide <= slide, gait
        assert contacts.sink <= sink, gait
