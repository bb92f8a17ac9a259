"""The synthetic animal: surface, template, proportions, poses, coats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from pony_jax.data.synthetic.anatomy import (
    BONE_INDEX,
    BONE_NAMES,
    PARENTS,
    SEGMENTS,
    SPECIES,
    Species,
)
from pony_jax.data.synthetic.animal import pose_animal, sample_animal
from pony_jax.data.synthetic.coat import COATS, albedo_of_fields, sample_coat
from pony_jax.data.synthetic.descriptors import feature_table, surface_basis
from pony_jax.data.synthetic.gait import GAITS, LIMITS_RAD, sample_pose
from pony_jax.data.synthetic.proportions import chain, follow, sample_individual, stretches
from pony_jax.data.synthetic.surface import limb_distance, smooth_union, surface_nets
from pony_jax.data.synthetic.template import (
    BODY_SIZE,
    KEYPOINT_NAMES,
    PART_NAMES,
    Template,
    load_template,
)


@pytest.fixture(scope="module")
def horse() -> Template:
    return load_template("horse")


def _signed_volume(verts: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = np.moveaxis(verts[faces].astype(np.float64), 1, 0)
    return float(np.sum(a * np.cross(b, c)) / 6)


def _edge_counts(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def test_surface_nets_of_a_ball():
    axis = np.arange(24) - 11.5
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    verts, faces = surface_nets(np.sqrt(x**2 + y**2 + z**2) - 8.0)
    assert np.all(_edge_counts(faces) == 2)
    np.testing.assert_allclose(np.linalg.norm(verts - 11.5, axis=-1), 8.0, atol=0.1)
    # Positive: faces look outwards. A ball of triangles holds a little less than a ball.
    assert 0.95 < _signed_volume(verts, faces) / (4 / 3 * np.pi * 8.0**3) < 1.0


def test_limb_distance_is_exact_for_a_round_tube():
    nodes = np.array([[0, 0, 0, 0.5, 0.5], [0, 0, 2, 0.5, 0.5]])
    points = np.array([[1.0, 0, 1.0], [0, 0.25, 1.5], [0, 0, 3.0], [0, 0, 1.0]])
    distance, weights = limb_distance(points, nodes)
    np.testing.assert_allclose(distance, [0.5, -0.25, 0.5, -0.5], atol=1e-12)
    np.testing.assert_allclose(weights, [[0.5, 0.5], [0.25, 0.75], [0, 1], [0.5, 0.5]])


def test_limb_distance_of_an_ellipse_is_zero_on_it():
    nodes = np.array([[0, 0, 0, 0.5, 1.0], [0, 0, 4, 0.5, 1.0]])
    angle = np.linspace(0, 2 * np.pi, 9)
    points = np.stack([0.5 * np.cos(angle), np.sin(angle), np.full(9, 2.0)], -1)
    np.testing.assert_allclose(limb_distance(points, nodes)[0], 0.0, atol=1e-12)


def test_smooth_union_fills_the_crease_and_nothing_else():
    a, b = np.array([0.0, 1.0, -1.0]), np.array([0.0, 3.0, 2.0])
    np.testing.assert_allclose(smooth_union(a, b, 0.4), [-0.1, 1.0, -1.0])


@pytest.mark.parametrize("name", SPECIES)
def test_template_is_a_closed_surface_with_outward_faces(name: str):
    template = load_template(name)
    assert 4000 < len(template.faces) < 12000
    assert np.all(_edge_counts(template.faces) % 2 == 0)
    assert _signed_volume(template.verts, template.faces) > 0
    size = np.ptp(template.verts, axis=0)
    np.testing.assert_allclose(size.max(), BODY_SIZE, rtol=1e-5)
    assert np.all(np.isfinite(surface_basis(template)))


@pytest.mark.parametrize("name", SPECIES)
def test_template_is_the_same_left_and_right(name: str):
    template = load_template(name)
    mirrored = template.verts * np.array([-1, 1, 1], np.float32)
    distance, nearest = cKDTree(template.verts).query(mirrored)
    # Up to the choice of diagonals, which moves vertices by less than a grid cell (0.07).
    assert np.median(distance) < 0.005
    assert distance.max() < 0.07
    assert np.abs(feature_table(template) - feature_table(template)[nearest]).mean() < 0.005


@pytest.mark.parametrize("name", SPECIES)
def test_memberships_are_partitions_of_one(name: str):
    template = load_template(name)
    for shares, names in ((template.weights, BONE_NAMES), (template.parts, PART_NAMES)):
        assert shares.shape == (len(template.verts), len(names))
        assert shares.min() >= 0
        np.testing.assert_allclose(shares.sum(1), 1.0, atol=1e-5)


def test_legs_follow_the_bones_of_their_own_side(horse: Template):
    left = [i for i, name in enumerate(BONE_NAMES) if name.startswith("left_")]
    far_right = horse.verts[:, 0] < -0.1
    assert horse.weights[far_right][:, left].max() < 0.05


def test_keypoints_lie_where_their_names_say(horse: Template):
    at = dict(zip(KEYPOINT_NAMES, horse.verts[horse.keypoints], strict=True))
    assert at["left_hock"][0] > 0 > at["right_hock"][0]  # x points to the animal's own left
    assert at["nose"][2] > at["poll"][2] > at["withers"][2] > at["tail_base"][2]
    assert at["left_fore_hoof"][1] < at["left_knee"][1] < at["left_elbow"][1] < at["withers"][1]
    assert at["left_fore_hoof"][2] > at["left_hind_hoof"][2]
    around = horse.faces[horse.keypoint_faces]
    assert np.all((around == horse.keypoints[:, None, None]).any(-1))


def test_features_tell_parts_apart(horse: Template):
    features = feature_table(horse)
    assert features.min() >= 0.05 - 1e-5 and features.max() <= 0.95 + 1e-5
    core = {name: horse.parts[:, i] > 0.8 for i, name in enumerate(PART_NAMES)}
    parts = ("trunk", "neck", "head", "tail", "foreleg", "fore_hoof")
    means = {name: features[core[name]].mean(0) for name in parts}
    for one in parts:
        spread = features[core[one]].std(0).mean()
        for other in parts:
            if one < other:
                apart = np.linalg.norm(means[one] - means[other]) / means[one].size ** 0.5
                assert apart > spread, (one, other)


def test_proportions_of_one_leave_the_template_as_it_is(horse: Template):
    ones, zeros = jnp.ones((len(BONE_NAMES), 3)), jnp.zeros((len(BONE_NAMES), 3))
    rest, posed, bones_rest, bones_posed = pose_animal(horse, ones, zeros)
    np.testing.assert_allclose(rest, horse.verts, atol=1e-5)
    np.testing.assert_allclose(posed, horse.verts, atol=1e-5)
    np.testing.assert_allclose(bones_rest, horse.segments, atol=1e-5)
    np.testing.assert_allclose(bones_posed, horse.segments, atol=1e-5)


def test_stretch_scales_along_and_across_a_bone():
    segments = jnp.asarray(SEGMENTS, jnp.float32)
    factors = jnp.ones_like(segments[:, 0]).at[:].set(jnp.array([2.0, 3.0, 5.0]))
    maps = stretches(segments, factors)
    along = (segments[:, 1] - segments[:, 0]) * jnp.array([0.0, 1.0, 1.0])
    np.testing.assert_allclose(jnp.einsum("kij,kj->ki", maps, along), 5 * along, atol=1e-5)
    np.testing.assert_allclose(maps[:, 0], np.tile([2.0, 0, 0], (len(maps), 1)), atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.det(maps), 30.0, rtol=1e-5)


def test_chain_against_a_loop():
    segments = jnp.asarray(SEGMENTS, jnp.float32)
    linear = stretches(segments, sample_individual(jax.random.key(0)))
    key = jax.random.key(1)
    turns = jax.random.orthogonal(key, 3, (len(PARENTS),))
    linears, heads = chain(segments, linear, turns)
    for bone, parent in enumerate(PARENTS):
        rotation, at = turns[bone], parent
        while at >= 0:
            rotation, at = turns[at] @ rotation, PARENTS[at]
        np.testing.assert_allclose(linears[bone], rotation @ linear[bone], atol=1e-5)
        head = segments[bone, 0]
        if parent >= 0:
            head = heads[parent] + linears[parent] @ (head - segments[parent, 0])
        np.testing.assert_allclose(heads[bone], head, atol=1e-5)


def test_rigid_bones_move_flesh_rigidly(horse: Template):
    """All bones turned by the root alone: every distance stays."""
    angles = jnp.zeros((len(BONE_NAMES), 3)).at[0].set(jnp.array([0.3, -0.2, 0.1]))
    still = jnp.ones((len(BONE_NAMES), 3))
    _, posed, _, _ = pose_animal(horse, still, angles)
    before = np.linalg.norm(horse.verts[::7] - horse.verts[0], axis=-1)
    after = np.linalg.norm(posed[::7] - posed[0], axis=-1)
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_follow_is_linear_in_the_weights():
    segments = jnp.asarray(SEGMENTS[:2], jnp.float32)
    linear = jnp.stack([jnp.eye(3), 2 * jnp.eye(3)])
    heads = segments[:, 0] + jnp.array([[0.0, 0, 0], [1.0, 0, 0]])
    point = jnp.array([[0.3, 1.0, 0.2]])
    at = [follow(point, jnp.array([w]), segments, linear, heads) for w in ([1, 0], [0, 1.0])]
    mixed = follow(point, jnp.array([[0.25, 0.75]]), segments, linear, heads)
    np.testing.assert_allclose(mixed, 0.25 * at[0] + 0.75 * at[1], atol=1e-6)


def test_individuals_are_the_same_left_and_right():
    factors = np.asarray(sample_individual(jax.random.key(3)))
    for name, index in BONE_INDEX.items():
        if name.startswith("left_"):
            other = BONE_INDEX[name.replace("left_", "right_")]
            np.testing.assert_array_equal(factors[index], factors[other])
    assert factors.min() > 0.6 and factors.max() < 1.6


def test_poses_keep_to_the_limits_and_know_all_gaits():
    angles, gaits = jax.vmap(sample_pose)(jax.random.split(jax.random.key(0), 256))
    low, high = LIMITS_RAD
    assert np.all(angles >= low) and np.all(angles <= high)
    assert set(np.unique(gaits)) == set(range(len(GAITS)))
    grazing = np.asarray(angles)[np.asarray(gaits) == GAITS.index("graze")]
    assert grazing[:, BONE_INDEX["neck_low"], 0].mean() > 1.0  # heads are down


def test_walking_legs_are_half_a_turn_apart():
    angles, gaits = jax.vmap(sample_pose)(jax.random.split(jax.random.key(1), 256))
    walking = np.asarray(angles)[np.asarray(gaits) == GAITS.index("walk"), :, 0]
    left, right = (walking[:, BONE_INDEX[f"{side}_thigh"]] for side in ("left", "right"))
    assert np.corrcoef(left, right)[0, 1] < -0.5


def test_an_animal_is_a_function_of_its_key(horse: Template):
    one, again = (sample_animal(jax.random.key(5), horse) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    other = sample_animal(jax.random.key(6), horse)
    assert np.abs(one.verts_posed - other.verts_posed).max() > 0.05


@pytest.mark.parametrize("name", SPECIES)
def test_coats_are_colours(name: str):
    template = load_template(name)
    fields = sample_coat(jax.random.key(0), template, SPECIES[name].coats)
    albedo = albedo_of_fields(fields)
    assert albedo.shape == (len(template.verts), 3)
    assert np.all((albedo >= 0) & (albedo <= 1))


def test_zebras_are_striped_and_bays_are_not():
    template = load_template("zebra")
    brightness = {
        coat: albedo_of_fields(sample_coat(jax.random.key(0), template, (coat,))).mean(-1)
        for coat in ("zebra", "bay")
    }
    trunk = template.parts[:, PART_NAMES.index("trunk")] > 0.9
    assert brightness["zebra"][trunk].std() > 0.25
    assert brightness["bay"][trunk].std() < 0.08


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match=r"expected a species out of .*'pony'"):
        load_template("pony")
    with pytest.raises(ValueError, match=r"expected coats out of .*'tartan'"):
        sample_coat(jax.random.key(0), load_template("horse"), ("tartan",))
    with pytest.raises(ValueError, match=r"expected bones out of .*'wing'.* without its side"):
        Species("griffin", coats=tuple(COATS), length={"wing": 2.0}).factors()
