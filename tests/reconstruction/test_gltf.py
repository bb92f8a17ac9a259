"""The rigged `.glb`, read back by the rules of its specification."""

import dataclasses

import numpy as np
import pytest
import trimesh

import rasterizer_ffi
from pony_jax.reconstruction.animal import TriangleMesh
from pony_jax.reconstruction.atlas import bake_animal
from pony_jax.reconstruction.gltf import encode_glb
from pony_jax.reconstruction.motion import GAITS, make_clips
from pony_jax.reconstruction.skin_weights import four_weights, largest_weights
from tests.reconstruction.glb_reader import Glb
from tests.reconstruction.sample_animal import make_animal, make_clip

TEXTURE_SIZE = 256


@pytest.fixture(scope="module")
def animal():
    return make_animal()


@pytest.fixture(scope="module")
def textured(animal):
    return bake_animal(animal, TEXTURE_SIZE)


@pytest.fixture(scope="module")
def clips(animal):
    return [make_clip(animal, "walk"), make_clip(animal, "trot", frames=5)]


@pytest.fixture(scope="module")
def write(animal, tmp_path_factory):
    """Writes the animal with some options and reads it back."""

    def write_and_read(clips=(), animal=animal, **options):
        path = tmp_path_factory.mktemp("glb") / "animal.glb"
        path.write_bytes(encode_glb(animal, clips, texture_size=TEXTURE_SIZE, **options))
        return Glb(path)

    return write_and_read


def _largest_error(positions, expected, animal):
    return np.linalg.norm(positions - expected, axis=1).max() / animal.body_length


def test_validator_finds_nothing(animal, clips, assert_valid_gltf, tmp_path):
    variants = {
        "plain": {},
        "moving": {"clips": clips},
        "all": {"influences": "all", "clips": clips},
        "eight": {"influences": "8", "clips": clips},
        "unlit": {"light": "unlit", "pose": "rest"},
        "named": {"names": {"root": "Armature", "head": "Bip01 Head"}},
    }
    files = []
    for name, options in variants.items():
        files.append(tmp_path / f"{name}.glb")
        files[-1].write_bytes(encode_glb(animal, texture_size=TEXTURE_SIZE, **options))
    assert_valid_gltf(*files)


def test_the_validator_finds_mistakes(animal, assert_valid_gltf, tmp_path):
    """Else the test above could not fail."""
    file = tmp_path / "broken.glb"
    glb = encode_glb(animal, texture_size=TEXTURE_SIZE)
    file.write_bytes(glb.replace(b'"wrapS":33071', b'"wrapS":33072'))
    with pytest.raises(AssertionError, match="wrapS"):
        assert_valid_gltf(file)


def test_all_weights_pose_as_the_model_does(animal, textured, write):
    glb = write(influences="all")
    expected = animal.posed_mesh.verts[textured.atlas.vert_rows]
    # Float32 weights, quaternions and positions: 1e-6 of the size.
    assert _largest_error(glb.skinned(), expected, animal) < 1e-5


def test_four_weights_pose_the_photograph_nearly(animal, textured, write):
    expected = animal.posed_mesh.verts[textured.atlas.vert_rows]
    # 0.005 is the promise; the four largest weights alone err by several times as much.
    assert _largest_error(write().skinned(), expected, animal) < 0.005
    order = np.argsort(-animal.skin_weights, axis=1)[:, 4:]
    cut = animal.skin_weights.copy()
    np.put_along_axis(cut, order, 0, axis=1)
    cut /= cut.sum(axis=1, keepdims=True)
    cut_animal = dataclasses.replace(animal, skin_weights=cut)
    plain = cut_animal.pose(animal.angles_rad).verts[textured.atlas.vert_rows]
    assert _largest_error(plain, expected, animal) > 0.005


def test_eight_weights_pose_every_gait_nearly(animal, textured, write):
    gaits, missing = make_clips(animal)
    assert len(gaits) == len(GAITS) and not missing
    glb = write(gaits, influences="8")
    for number, clip in enumerate(gaits):
        for frame in range(0, len(clip.times_s), 4):
            mesh = animal.pose(
                clip.angles_rad[frame], clip.root_translation[frame], clip.root_rotation[frame]
            )
            time_s = float(np.float32(clip.times_s[frame]))  # as the file has it
            skinned = glb.skinned(glb.animated(number, time_s))
            # 0.005 is the promise, of the body's length.
            expected = mesh.verts[textured.atlas.vert_rows]
            assert _largest_error(skinned, expected, animal) < 0.005


def test_clips_move_the_file_as_they_move_the_animal(animal, textured, clips, write):
    glb = write(clips, influences="all")
    assert [a.name for a in glb.document.animations] == ["walk", "trot"]
    for number, clip in enumerate(clips):
        for frame in (0, 1, len(clip.times_s) - 1):
            moved = glb.animated(number, clip.times_s[frame])
            mesh = animal.pose(
                clip.angles_rad[frame], clip.root_translation[frame], clip.root_rotation[frame]
            )
            expected = mesh.verts[textured.atlas.vert_rows]
            assert _largest_error(glb.skinned(moved), expected, animal) < 1e-5


def test_quaternions_turn_the_short_way(animal, write):
    """Neighbouring frames lie on one side, also where an angle passes a half turn."""
    clip = make_clip(animal, frames=40)
    angles = clip.angles_rad.copy()
    angles[:, 0, 0] = np.linspace(0, 4 * np.pi, 40)
    glb = write([dataclasses.replace(clip, angles_rad=angles)])
    animation = glb.document.animations[0]
    for channel in animation.channels:
        values = glb.array(animation.samplers[channel.sampler].output)
        if channel.target.path == "rotation":
            assert np.all(np.sum(values[1:] * values[:-1], axis=1) > 0)


def test_bind_pose_is_the_rest_mesh(animal, textured, write):
    glb = write(pose="rest")
    expected = animal.rest_mesh.verts[textured.atlas.vert_rows]
    np.testing.assert_allclose(glb.skinned(), expected, atol=1e-5)


def test_there_is_one_root_and_the_joints_have_names(animal, write):
    glb = write(names={"front_left_knee": "knee.L.front"})
    joints = glb.document.skins[0].joints
    names = [glb.document.nodes[joint].name for joint in joints]
    assert names[0] == "root" and len(names) == 21
    assert "knee.L.front" in names and "front_left_knee" not in names
    assert {"spine_1", "head", "tail_2", "rear_right_foot"} <= set(names)
    assert [joint for joint in joints if glb.parents.get(joint) not in joints] == joints[:1]


def test_file_is_wound_outwards_with_normals(animal, write):
    glb = write()
    faces = glb.array(glb.primitive.indices).reshape(-1, 3)
    corners = glb.attribute("POSITION")[faces].astype(np.float64)
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.einsum("fi,fi->", corners[:, 0], crosses) > 0  # six times the volume
    assert np.all(np.einsum("fi,fci->fc", crosses, glb.attribute("NORMAL")[faces]) > 0)


def test_camera_sees_what_the_model_saw(animal, write):
    glb = write(influences="all")
    camera = glb.document.cameras[0].perspective
    assert camera.yfov == pytest.approx(np.deg2rad(25)) and camera.aspectRatio == 1
    cam_from_world = np.linalg.inv(glb.world_from_node(glb.node("camera")))
    np.testing.assert_allclose(cam_from_world, animal.camera.cam_from_world, atol=1e-5)


def test_light_comes_from_where_it_came(animal, write):
    glb = write()
    world_from_light = glb.world_from_node(glb.node("light"))
    towards = animal.camera.cam_from_world[:3, :3].T @ animal.light.direction_cam
    np.testing.assert_allclose(world_from_light[:3, 2], towards, atol=1e-5)
    light = glb.document.extensions["KHR_lights_punctual"]["lights"][0]
    assert light["intensity"] / np.pi == pytest.approx(animal.light.diffuse, rel=1e-4)
    unlit = write(light="unlit").document
    assert unlit.extensionsUsed == ["KHR_materials_unlit"] and not unlit.extensions


def test_texture_shows_the_albedo_from_the_camera(animal, write):
    """The baked file against colours asked for at each pixel: at least 27 dB; far more here."""
    glb = write(influences="all")
    size = 128, 128
    faces = glb.array(glb.primitive.indices).reshape(-1, 3).astype(np.int32)
    points = np.c_[glb.skinned(), np.ones(len(glb.attribute("POSITION")))]
    clip = (points @ animal.camera.clip_from_world.T).astype(np.float32)[None]
    rast, _ = rasterizer_ffi.rasterize(clip, faces, size)
    uv, _ = rasterizer_ffi.interpolate(glb.attribute("TEXCOORD_0")[None], rast, faces)
    texture = (glb.texture() / 255).astype(np.float32)[None]
    shown = np.asarray(rasterizer_ffi.texture(texture, uv, filter_mode="linear"))[0]
    rows = bake_animal(animal, TEXTURE_SIZE).atlas.vert_rows
    prior, _ = rasterizer_ffi.interpolate(animal.prior_verts[rows][None], rast, faces)
    wanted = animal.albedo(np.asarray(prior)[0].reshape(-1, 3)).reshape(*size, 3)
    seen = np.asarray(rast)[0, ..., 3] > 0
    assert seen.mean() > 0.05
    error = np.mean((shown[seen] - wanted[seen]) ** 2)
    assert -10 * np.log10(error) > 30


def test_same_animal_same_bytes(animal, clips):
    first, second = (encode_glb(each, clips, texture_size=64) for each in (animal, make_animal()))
    assert first == second


def test_trimesh_opens_the_file(animal, tmp_path):
    (path,) = animal.export(tmp_path / "sample.glb", texture_size=TEXTURE_SIZE)
    scene = trimesh.load(path)
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) == len(animal.rest_mesh.faces)
    assert mesh.visual.material.baseColorTexture.size == (TEXTURE_SIZE, TEXTURE_SIZE)


def test_weights_are_few_and_normalised(animal):
    bones, shares = four_weights(animal)
    assert bones.shape == shares.shape == (len(animal.rest_mesh.verts), 4)
    assert np.all(shares >= 0) and np.all(np.diff(shares, axis=1) <= 0)
    np.testing.assert_allclose(shares.sum(axis=1, dtype=np.float64), 1, atol=2e-7)  # float32
    for row_bones, row_shares in zip(bones, shares, strict=True):
        used = row_bones[row_shares > 0]
        assert len(set(used)) == len(used)
    assert np.all(bones[shares == 0] == 0)


def test_all_weights_are_the_animals(animal):
    bones, shares = largest_weights(animal.skin_weights, animal.skeleton.num_bones)
    dense = np.zeros_like(animal.skin_weights)
    np.add.at(dense, (np.arange(len(dense))[:, None], bones), shares)
    np.testing.assert_allclose(dense, animal.skin_weights, atol=3e-7)  # float32, normalised anew


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"light": "neon"}, "punctual"),
        ({"influences": "5"}, "'8'"),
        ({"pose": "gallop"}, "photograph"),
        ({"names": {"fifth_leg": "x"}}, "no joint 'fifth_leg'"),
    ],
)
def test_unknown_options_are_refused(animal, options, message):
    with pytest.raises(ValueError, match=message):
        encode_glb(animal, texture_size=TEXTURE_SIZE, **options)


def test_clips_of_others_are_refused(animal, clips):
    with pytest.raises(ValueError, match="two called 'walk'"):
        encode_glb(animal, [clips[0], clips[0]], texture_size=TEXTURE_SIZE)
    fewer = dataclasses.replace(clips[0], angles_rad=clips[0].angles_rad[:, :7])
    with pytest.raises(ValueError, match="20 bones of sample, got 7"):
        encode_glb(animal, [fewer], texture_size=TEXTURE_SIZE)


def test_an_empty_mesh_is_refused(animal):
    empty = TriangleMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    nothing = dataclasses.replace(
        animal,
        rest_mesh=empty,
        posed_mesh=empty,
        prior_verts=empty.verts,
        skin_weights=np.zeros((0, 20), np.float32),
    )
    with pytest.raises(ValueError, match="sample: expected a mesh with faces"):
        encode_glb(nothing)
