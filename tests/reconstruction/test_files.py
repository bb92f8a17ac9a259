"""The formats beside glTF, read back, and what is refused."""

import dataclasses
import re

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from pony_jax.reconstruction.joint_names import joint_names, read_table
from tests.reconstruction.sample_animal import make_animal, make_clip


@pytest.fixture(scope="module")
def animal():
    return make_animal()


def test_obj_has_the_posed_mesh_and_its_texture(animal, tmp_path):
    files = animal.export(tmp_path / "horse.obj", texture_size=256)
    assert [file.name for file in files] == ["horse.obj", "horse.mtl", "horse.png"]
    mesh = trimesh.load(files[0], process=False)
    assert mesh.volume > 0 and len(mesh.faces) == len(animal.rest_mesh.faces)
    corners = mesh.vertices[mesh.faces]
    np.testing.assert_allclose(corners, animal.posed_mesh.verts[animal.posed_mesh.faces], atol=1e-5)
    # The texture holds, at each corner, the colour that the albedo has there (8 bits; at seams
    # between colours, where a texel away is another, not at all).
    texture = np.asarray(mesh.visual.material.image)
    uv = mesh.visual.uv[mesh.faces]
    texels = np.stack([(1 - uv[..., 1]) * 256, uv[..., 0] * 256], axis=-1).astype(int)
    found = texture[tuple(np.clip(texels, 0, 255).reshape(-1, 2).T)] / 255
    wanted = animal.albedo(animal.prior_verts[animal.rest_mesh.faces].reshape(-1, 3))
    assert np.mean(np.abs(found - wanted).max(axis=1) < 0.1) > 0.95


def test_ply_keeps_rows_and_has_colours(animal, tmp_path):
    (file,) = animal.export(tmp_path / "horse.ply", pose="rest")
    mesh = trimesh.load(file, process=False)
    np.testing.assert_allclose(mesh.vertices, animal.rest_mesh.verts, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, animal.rest_mesh.faces)
    wanted = 255 * np.clip(animal.albedo(animal.prior_verts), 0, 1)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3], wanted, atol=0.51)


class _Bvh:
    """Joints, offsets and frames of a BVH file, and where its joints are."""

    def __init__(self, path):
        text = path.read_text()
        self.names, self.offsets, self.parents, stack = [], [], [], [-1]
        in_end_site = False
        for line in text.split("MOTION")[0].splitlines():
            words = line.split()
            if words[0] in ("ROOT", "JOINT"):
                self.names.append(words[1])
                self.parents.append(stack[-1])
            elif words[0] == "End":
                in_end_site = True
            elif words[0] == "{":
                stack.append(-2 if in_end_site else len(self.names) - 1)
            elif words[0] == "}":
                in_end_site = False
                stack.pop()
            elif words[0] == "OFFSET" and not in_end_site:
                self.offsets.append([float(x) for x in words[1:]])
        self.frame_time = float(re.search(r"Frame Time: (\S+)", text).group(1))
        self.frames = np.loadtxt(text.split("Frame Time:")[1].splitlines()[1:], ndmin=2)

    def joints(self, frame):
        """Positions, as every reader of BVH finds them."""
        world = []
        for i, parent in enumerate(self.parents):
            angles = self.frames[frame, 3 + 3 * i : 6 + 3 * i]
            local = np.eye(4)
            local[:3, :3] = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()
            local[:3, 3] = self.offsets[i] if i else self.frames[frame, :3]
            world.append(local if parent < 0 else world[parent] @ local)
        return {name: matrix[:3, 3] for name, matrix in zip(self.names, world, strict=True)}


def test_bvh_moves_the_joints_as_the_clip_does(animal, tmp_path):
    clip = make_clip(animal, frames=31)  # at 30 a second: every frame is one of the file's
    (file,) = animal.export(tmp_path / "walk.bvh", clips=[clip])
    bvh = _Bvh(file)
    assert len(bvh.frames) == 31 and bvh.frame_time == pytest.approx(1 / 30)
    for frame in (0, 7, 30):
        transforms = animal.skeleton.world_from_rest(
            clip.angles_rad[frame], clip.root_translation[frame], clip.root_rotation[frame]
        )
        ends = animal.skeleton.posed_bones(transforms)
        joints = bvh.joints(frame)
        for name, (near, _) in zip(animal.skeleton.names, ends, strict=True):
            np.testing.assert_allclose(joints[name], near, atol=1e-4)  # six decimals of degrees


def test_bvh_of_no_clip_has_the_photographs_pose(animal, tmp_path):
    (file,) = animal.export(tmp_path / "pose.bvh", names={"head": "Head"})
    bvh = _Bvh(file)
    ends = animal.skeleton.posed_bones(animal.skeleton.world_from_rest(animal.angles_rad))
    assert len(bvh.frames) == 1 and "Head" in bvh.names
    foot = animal.skeleton.index("rear_left_foot")
    np.testing.assert_allclose(bvh.joints(0)["rear_left_foot"], ends[foot, 0], atol=1e-4)


def test_several_clips_are_several_bvh_files(animal, tmp_path):
    clips = [make_clip(animal, "walk"), make_clip(animal, "slow trot")]
    files = animal.export(tmp_path / "a.bvh", clips=clips, frames_per_second=10)
    assert [file.name for file in files] == ["a_walk.bvh", "a_slow_trot.bvh"]
    assert all(len(_Bvh(file).frames) == 11 for file in files)


@pytest.mark.parametrize("name", ["a.obj", "a.ply", "a.bvh"])
def test_same_animal_same_bytes(animal, tmp_path, name):
    options = {"texture_size": 64} if name == "a.obj" else {}
    first = [file.read_bytes() for file in animal.export(tmp_path / name, **options)]
    second = [file.read_bytes() for file in make_animal().export(tmp_path / name, **options)]
    assert first == second


def test_what_a_format_cannot_hold_is_refused(animal, tmp_path):
    clip = make_clip(animal)
    with pytest.raises(ValueError, match=r"one of \.glb, \.obj"):
        animal.export(tmp_path / "horse.fbx")
    with pytest.raises(ValueError, match="one pose"):
        animal.export(tmp_path / "horse.obj", clips=[clip])
    with pytest.raises(ValueError, match="photograph"):
        animal.export(tmp_path / "horse.ply", pose="gallop")
    with pytest.raises(ValueError, match="without spaces"):
        animal.export(tmp_path / "my horse.obj")
    with pytest.raises(ValueError, match="more than 0"):
        animal.export(tmp_path / "horse.bvh", frames_per_second=0)
    fewer = dataclasses.replace(clip, angles_rad=clip.angles_rad[:, :7])
    with pytest.raises(ValueError, match="20 bones"):
        animal.export(tmp_path / "horse.bvh", clips=[fewer])
    assert not list(tmp_path.iterdir())


def test_tables_of_names_are_read(animal, tmp_path):
    table = {"root": "Hips", "head": "Head end"}
    (tmp_path / "names.json").write_text('{"root": "Hips", "head": "Head end"}')
    (tmp_path / "names.tsv").write_text("root\tHips\n\nhead\tHead end\n")
    for file in ("names.json", "names.tsv"):
        assert read_table(tmp_path / file) == table
    names = joint_names(animal.skeleton, table)
    assert next(iter(names)) == "root" and names["head"] == "Head end" and names["neck"] == "neck"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"tale": "Tail"}, "no joint 'tale'"),
        ({"head": "neck"}, "both be called 'neck'"),
        ({"head": ""}, "a name for 'head'"),
        ({"head": 3}, "a name for 'head'"),
    ],
)
def test_wrong_tables_of_names_are_refused(animal, table, message):
    with pytest.raises(ValueError, match=message):
        joint_names(animal.skeleton, table)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "a JSON object"),
        ("a.json", "[1]", "a JSON object"),
        ("a.tsv", "head\tHead\textra\n", "line 1: expected two columns"),
        ("a.tsv", "head\tA\nhead\tB\n", "line 2: 'head' has a name"),
        ("a.csv", "head,Head", r"\.json or \.tsv"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)
