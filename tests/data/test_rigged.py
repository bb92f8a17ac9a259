"""Rigged glTF as data: skinning, frames, individuals, pictures, and files that cannot be used."""

import functools
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import pdist

from pony_jax.data.gltf_file import GltfError
from pony_jax.data.rigged import body_parts, scene
from pony_jax.data.rigged.examples import make_examples, shared_arrays
from pony_jax.data.rigged.individual import pose_individual, sample_factors, sample_pose
from pony_jax.data.rigged.model import read_rigged_model
from pony_jax.data.rigged.poses import count_poses
from pony_jax.data.rigged.template import _one_tree, make_template
from pony_jax.data.synthetic.scene import Light
from pony_jax.data.synthetic.template import BODY_SIZE
from tests.data.rigged_glb import NECK, surface, turn_x, write_glb

_RIGGED = Path(__file__).parents[3] / "shared" / "data" / "rigged"
_SIZE_PX = 32
_NUM = 12


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = write_glb(tmp_path_factory.mktemp("glb") / "box.glb")
    return make_template(read_rigged_model(path))


@pytest.fixture(scope="module")
def renderer(template):
    return scene.make_renderer(template, _SIZE_PX)


@pytest.fixture(scope="module")
def examples(template, renderer):
    made = make_examples([template], [renderer], seed=3, split="train", count=_NUM)
    return list(made)


def _reference(frame: int) -> np.ndarray:
    """Where glTF's skinning puts the vertices, but for the turn and shift of the whole animal."""
    verts, _, neck = surface()
    nodded = (verts - NECK) @ turn_x(40 * frame / 30).T + NECK
    return verts + neck[:, None] * (nodded - verts)


# Slerp between two keys turns evenly, so frame t of 30 has turned by t / 30 of the angle.
@pytest.mark.parametrize("frame", [0, 17, 30])
def test_skinning_is_that_of_gltf(template, frame):
    ones = jnp.ones((2, 3))
    posed = pose_individual(template, ones, jnp.int32(frame)).verts_posed
    scale = BODY_SIZE / 2.0  # the box is 2 long
    # float32, and the order of vertices, which welding may change, does not matter to distances.
    expected = np.sort(pdist(_reference(frame)) * scale)
    np.testing.assert_allclose(np.sort(pdist(np.asarray(posed))), expected, atol=2e-5)


def test_walking_away_and_turning_are_taken_out(template):
    ones = jnp.ones((2, 3))
    start, end = (pose_individual(template, ones, jnp.int32(i)) for i in (0, 30))
    # The nod alone moves the mean, which is put back: so the trunk hardly moves, in y and z only.
    moved = end.verts_posed[:8] - start.verts_posed[:8]
    np.testing.assert_allclose(moved[:, 0], 0.0, atol=1e-5)
    assert np.abs(moved).max() < 0.15 * BODY_SIZE
    nose = np.argmax(template.verts[:, 2])
    assert end.verts_posed[nose, 1] < start.verts_posed[nose, 1]  # it has nodded
    np.testing.assert_allclose(start.verts_posed, template.verts, atol=1e-5)


def test_axes_and_size_of_the_file_do_not_matter(template, tmp_path):
    other = make_template(read_rigged_model(write_glb(tmp_path / "z_up.glb", z_up=True)))
    np.testing.assert_allclose(other.verts, template.verts, atol=1e-5)
    np.testing.assert_array_equal(other.faces, template.faces)
    np.testing.assert_allclose(other.segments, template.segments, atol=1e-5)
    np.testing.assert_allclose(other.poses.turns, template.poses.turns, atol=1e-5)
    np.testing.assert_allclose(other.poses.places, template.poses.places, atol=1e-4)


def test_object_frame(template):
    low, high = template.verts.min(0), template.verts.max(0)
    assert (high - low).max() == pytest.approx(BODY_SIZE, rel=1e-6)
    assert low[0] == pytest.approx(-high[0], abs=1e-6)
    neck = template.bone_names.index("Neck")
    assert template.segments[neck, 0, 2] > 0 and template.parents == (-1, 0)
    corners = template.verts[template.faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    assert volume > 0


def test_a_file_that_looks_elsewhere_is_turned(template, tmp_path):
    model = read_rigged_model(write_glb(tmp_path / "box.glb"))
    quarter = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], float)  # z to x, as a turn about y
    matrix = np.eye(4)
    matrix[:3, :3] = quarter
    turned = model._replace(
        verts=model.verts @ quarter.T,
        bind=model.bind @ quarter.T,
        ends=model.ends @ quarter.T,
        clips={name: matrix @ m @ matrix.T for name, m in model.clips.items()},
    )
    found = make_template(turned, "+x")
    np.testing.assert_allclose(found.verts, template.verts, atol=1e-5)
    np.testing.assert_allclose(found.poses.turns, template.poses.turns, atol=1e-5)


def test_individuals_are_symmetric_and_differ(template):
    builds = [
        np.asarray(
            pose_individual(
                template, sample_factors(jax.random.key(i), template), jnp.int32(0)
            ).verts_rest
        )
        for i in range(2)
    ]
    for verts in builds:
        mirrored = verts * [-1, 1, 1]
        order, other = (np.lexsort(np.round(v, 3).T) for v in (verts, mirrored))
        np.testing.assert_allclose(verts[order], mirrored[other], atol=2e-3)
    assert np.abs(builds[0] - builds[1]).max() > 0.02 * BODY_SIZE


def test_bones_move_with_the_skin(template):
    """A vertex that one bone alone moves keeps its place against that bone, in any individual."""
    factors = sample_factors(jax.random.key(5), template)
    one = pose_individual(template, factors, jnp.int32(25))
    head = np.flatnonzero(template.weights[:, 1] > 0.999)
    for skin, bones in ((one.verts_rest, one.bones_rest), (one.verts_posed, one.bones_posed)):
        assert np.isfinite(skin).all()
        distance = np.linalg.norm(np.asarray(skin)[head] - np.asarray(bones)[1, 0], axis=1)
        if bones is one.bones_rest:
            expected = distance
    np.testing.assert_allclose(distance, expected, rtol=1e-4)


def test_every_clip_is_as_likely(template):
    poses = template.poses._replace(first=np.array([0, 1]), count=np.array([1, 30]))
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = jax.vmap(functools.partial(sample_pose, template=template._replace(poses=poses)))(keys)
    drawn = np.asarray(drawn)
    assert 0.4 < np.mean(drawn == 0) < 0.6  # four standard deviations
    assert drawn.min() == 0 and drawn.max() == 30


def _project(points: np.ndarray, truth: dict) -> np.ndarray:
    """Pixels, written out: camera 10 away, 25 degrees, y down from the top."""
    cam = points @ truth["rotation"] + truth["translation_cam"] - [0, 0, 10]
    tangent = np.tan(np.radians(12.5))
    x, y = cam[:, 0] / (-cam[:, 2] * tangent), -cam[:, 1] / (-cam[:, 2] * tangent)
    return (np.stack([x, y], 1) + 1) * _SIZE_PX / 2


def test_the_truth_fits_the_picture(examples, template):
    for example in examples:
        truth, mask = example["truth"], _decode(example["mask"]) > 127
        pixels = _project(truth["verts_posed"].astype(float), truth)
        # float16 of lengths up to 4 is off by at most 0.002, a fiftieth of a pixel here.
        np.testing.assert_allclose(pixels[template.keypoints], truth["keypoints_px"], atol=0.1)
        rows, columns = np.nonzero(mask)
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        expected = np.clip([*pixels.min(0), *pixels.max(0)], 0, _SIZE_PX)
        # A corner that covers less than half of a pixel is not in the mask.
        np.testing.assert_allclose(found, expected, atol=1.6)
        rotation = truth["rotation"]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        assert -5.001 <= truth["elevation_deg"] <= 25.001
        # Azimuth 90 walks to the right: forward's camera x is its sine; 0 looks at the camera.
        azimuth = np.radians(truth["azimuth_deg"])
        np.testing.assert_allclose(rotation[2, 0], np.sin(azimuth), atol=1e-5)
        assert rotation[2, 2] * np.cos(azimuth) >= 0
        assert np.linalg.det(rotation) > 0  # so left is on the left


def test_viewpoints_go_all_the_way_round(examples):
    quadrants = {int(e["truth"]["azimuth_deg"] // 90) % 4 for e in examples}
    assert len(quadrants) == 4


def _decode(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_same_seed_gives_the_same_bytes(template, renderer, examples):
    again = make_examples([template], [renderer], seed=3, split="train", count=3)
    for one, other in zip(again, examples, strict=False):
        assert one["image"] == other["image"] and one["mask"] == other["mask"]
        for key, values in one["truth"].items():
            np.testing.assert_array_equal(values, other["truth"][key])
    for change in ({"seed": 4, "split": "train"}, {"seed": 3, "split": "test"}):
        (other,) = make_examples([template], [renderer], count=1, **change)
        assert other["image"] != examples[0]["image"]


def test_models_take_turns_and_share_shapes(template, renderer):
    smaller = template._replace(
        name="smaller",
        verts=template.verts[:-1],
        faces=template.faces[(template.faces < len(template.verts) - 1).all(1)],
        weights=template.weights[:-1],
    )
    shared = shared_arrays([template, smaller])
    assert shared["faces"].shape == (2, len(template.faces), 3)
    assert (shared["faces"][1, -1] == 0).all() and shared["faces"].max() < len(template.verts)
    assert shared["model_names"].tolist() == ["box", "smaller"]
    made = list(make_examples([template, smaller], [renderer] * 2, seed=0, split="test", count=3))
    assert [int(e["truth"]["model"]) for e in made] == [0, 1, 0]
    assert [e["id"] for e in made] == [f"test_{i:05d}" for i in range(3)]
    assert len({e["truth"]["verts_posed"].shape for e in made}) == 1


def test_textures_colour_what_they_lie_on(tmp_path):
    texture = np.zeros((4, 4, 3), np.uint8)
    texture[:2, :2] = (10, 20, 250)  # where s and t are 0.25
    textured = make_template(
        read_rigged_model(write_glb(tmp_path / "textured.glb", texture=texture))
    )
    assert set(textured.textures) == {0}
    plain = jnp.tile(jnp.array([1.0, 1, 1, 0, 0, 0, -1]), (1, len(textured.welded), 1))
    light = Light(jnp.array([[0.0, 1, 0]]), jnp.ones((1, 1)), jnp.zeros((1, 1)))
    face = np.flatnonzero(textured.materials[textured.drawn_faces[:, 0]] == 0)[0]
    rast = jnp.zeros((1, 1, 2, 4)).at[0, 0, 0].set(jnp.array([0.3, 0.3, 0.0, face + 1]))
    normals = jnp.zeros((1, len(textured.welded), 3)).at[..., 1].set(1.0)
    colour, alpha = scene._shade(rast, textured, plain, normals, light)
    np.testing.assert_allclose(colour[0, 0, 0] * 255, [10, 20, 250], atol=0.1)
    assert alpha[0, 0].tolist() == [[1.0], [0.0]] and not colour[0, 0, 1].any()


def test_feet_on_targets_of_their_own_hang_on_the_leg():
    # body <- leg; foot on nothing, sharing skin with the leg; an eye that shares with nobody.
    bind = np.array([[0.0, 0, 0], [0, 1, 0], [0, 0.5, 0], [0, 0.1, 0]])
    weights = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1.0]])
    order, parents = _one_tree((-1, -1, 1, -1), bind, weights)
    names = [("foot", "body", "leg", "eye")[i] for i in order]
    tree = {name: None if p < 0 else names[p] for name, p in zip(names, parents, strict=True)}
    assert tree == {"body": None, "leg": "body", "foot": "leg", "eye": "foot"}
    assert all(parent < i for i, parent in enumerate(parents))


@pytest.mark.parametrize(
    ("joint", "part"),
    [
        *[("FrontShoulder.L", "leg"), ("Ear1.R", "ear"), ("Neck2", "neck"), ("Torso", "trunk")],
        *[("def_thigh_l", "leg"), ("IKBackLeg.L", "leg"), ("mixamorig:Head", "head")],
        *[("Tail7", "tail"), ("spine.004", "trunk"), ("FFB.L", "leg"), ("Pearl", "trunk")],
    ],
)
def test_names_say_what_a_joint_moves(joint, part):
    assert body_parts.part_of(joint) == part


def test_poses_that_lie_are_left_out_and_counted(tmp_path):
    lying = make_template(read_rigged_model(write_glb(tmp_path / "l.glb", end_turn=(2, 90.0))))
    (count,) = count_poses(lying.poses).values()
    assert 5 < count < 20  # of 31, those within 35 of 90 degrees


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is wrong: a file, and what must be said about it."""
    whole = write_glb(folder / "whole.glb").read_bytes()
    (folder / "text.glb").write_text("hello")
    (folder / "cut.glb").write_bytes(whole[: len(whole) // 2])
    return {
        "no glTF": (folder / "text.glb", "expected whole glTF|expected glTF"),
        "cut": (folder / "cut.glb", "expected whole glTF|the file is cut"),
        "no skin": (write_glb(folder / "a.glb", skin=False), "expected a skin with joints, got"),
        "no clip": (write_glb(folder / "b.glb", clips=False), "expected animations to take poses"),
        "compressed": (
            write_glb(folder / "c.glb", requires=("KHR_draco_mesh_compression",)),
            "that needs KHR_draco_mesh_compression",
        ),
    }


@pytest.mark.parametrize("case", ["no glTF", "cut", "no skin", "no clip", "compressed"])
def test_bad_files_end_in_one_line(tmp_path, case):
    path, message = _bad_files(tmp_path)[case]
    with pytest.raises(GltfError, match=message) as error:
        read_rigged_model(path)
    assert "\n" not in str(error.value)


def test_rigs_of_different_kinds_do_not_mix(template):
    other = template._replace(name="other", keypoint_names=("a", "b"))
    with pytest.raises(GltfError, match="got box and other with different keypoints"):
        shared_arrays([template, other])


@pytest.mark.skipif(not _RIGGED.is_dir(), reason="no animated animals in ../shared/data/rigged")
@pytest.mark.parametrize("name", ["Donkey", "Fox"])
def test_animals_that_others_made(name):
    model = read_rigged_model(_RIGGED / f"{name}.glb")
    animal = make_template(model)
    places = dict(zip(animal.keypoint_names, animal.verts[animal.keypoints], strict=True))
    assert places["nose"][2] > 1.8 and places["tail_base"][2] < 0
    for leg in ("shoulder", "knee", "fore_hoof", "hip", "stifle", "hock", "hind_hoof"):
        left, right = places[f"left_{leg}"], places[f"right_{leg}"]
        assert left[0] > 0.1
        np.testing.assert_allclose(left, right * [-1, 1, 1], atol=0.02)
    assert places["left_fore_hoof"][1] < places["left_knee"][1] < places["left_shoulder"][1]
    assert 0 < count_poses(animal.poses)["Death"] < len(model.clips["Death"])
    ends = animal.segments.reshape(-1, 3)[animal.chain_points]
    assert (ends[2, -1, 1] < ends[2, 0, 1]) and ends[0, -1, 2] > 1.5  # hoof below, nose ahead
    with pytest.raises(GltfError, match="expected the head towards -z"):
        make_template(model, "-z")
