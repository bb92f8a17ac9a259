"""Motion from files: BVH, glTF, the original's poses; and what is wrong with some of them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pygltflib
import pytest
from scipy.spatial.transform import Rotation

from pony_jax.reconstruction import motion
from pony_jax.reconstruction.gltf_buffer import GltfBuffer
from pony_jax.reconstruction.motion.joint_table import table_names
from pony_jax.reconstruction.motion.source import SourceMotion
from tests.reconstruction.sample_animal import make_animal, make_clip

_RIGGED = Path(__file__).parents[3] / "shared" / "data" / "rigged"

_BVH = """HIERARCHY
ROOT hips
{
  OFFSET 0 1 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT leg
  {
    OFFSET 0.5 0 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 0 -1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.25
0 1 0 0 0 0 0 0 0
1 2 3 90 0 0 0 0 90
"""
_TABLE = {"root": "hips", "bones": {"rear_left_hip": "leg"}}


@pytest.fixture(scope="module")
def animal():
    return make_animal()


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_bvh_says_where_joints_are(tmp_path):
    source = motion.read_bvh(write(tmp_path, "kick.bvh", _BVH))
    assert source.joints == ("hips", "leg", "leg_end")
    assert source.name == "kick"
    np.testing.assert_allclose(source.times_s, [0, 0.25])
    np.testing.assert_allclose(source.rest_positions, [[0, 1, 0], [0.5, 1, 0], [0.5, 0, 0]])
    np.testing.assert_allclose(source.positions[0], source.rest_positions, atol=1e-12)
    # The root turns x to y; the leg then swings forwards about its own x, the world's y: -y, which
    # the root brought to +x, goes on to the leg's z, which still is the world's.
    np.testing.assert_allclose(
        source.positions[1], [[1, 2, 3], [1, 2.5, 3], [1, 2.5, 2]], atol=1e-9
    )


@pytest.mark.parametrize("suffix", ["bvh", "glb"])
def test_own_files_come_back(animal, tmp_path, suffix):
    """What is exported and read again poses the animal as before; to the digits of the file."""
    clip = make_clip(animal, frames=9)
    path = tmp_path / f"sample.{suffix}"
    animal.export(path, clips=[clip])
    back = motion.retarget_file(path, animal, frames_per_second=8.0)
    if suffix == "bvh":  # sampled at 30 frames a second
        assert len(back.times_s) == 31
    frames = np.searchsorted(back.times_s, clip.times_s - 1e-6)
    exact = np.abs(back.times_s[frames] - clip.times_s) < 1e-6
    assert exact.sum() >= 2
    for i, frame in zip(np.flatnonzero(exact), frames[exact], strict=True):
        want = animal.pose(clip.angles_rad[i], clip.root_translation[i], clip.root_rotation[i])
        got = animal.pose(
            back.angles_rad[frame], back.root_translation[frame], back.root_rotation[frame]
        )
        np.testing.assert_allclose(got.verts, want.verts, atol=1e-4)


def test_another_size_and_other_axes(animal):
    """The same motion, told by a skeleton that is larger, lies on its side and has other joints."""
    skeleton = animal.skeleton
    clip = make_clip(animal)
    transforms = skeleton.world_from_rest(
        clip.angles_rad, clip.root_translation, clip.root_rotation
    )
    theirs_from_ours = Rotation.from_euler("XYZ", [90, 0, 0], degrees=True).as_matrix()  # z is up
    frames = Rotation.random(skeleton.num_bones + 1, rng=0).as_matrix()
    turns = np.concatenate([clip.root_rotation[:, None], transforms[..., :3, :3]], axis=1)
    rest = np.concatenate([skeleton.root_rest[None], skeleton.bones_rest[:, 0]])
    root = skeleton.root_rest + clip.root_translation
    joints = skeleton.posed_bones(transforms)[:, :, 0]
    tips = [skeleton.leg(leg)[-1] for leg in ("front_left", "rear_left")]
    rest = np.concatenate([rest, skeleton.bones_rest[tips, 1]])
    ends = skeleton.posed_bones(transforms)[:, tips, 1]
    positions = np.concatenate([root[:, None], joints, ends], axis=1)
    identity = np.tile(np.eye(3), (len(clip.times_s), 2, 1, 1))
    source = SourceMotion(
        name="told",
        joints=("middle", *(f"their {name}" for name in skeleton.names), "tip 1", "tip 2"),
        rest_positions=5 * rest @ theirs_from_ours.T,
        rest_rotations=np.concatenate([theirs_from_ours @ frames, identity[0]]),
        times_s=clip.times_s,
        positions=5 * positions @ theirs_from_ours.T,
        rotations=np.concatenate([theirs_from_ours @ turns @ frames, identity], axis=1),
    )
    table = motion.JointTable(
        root="middle",
        bones={name: f"their {name}" for name in skeleton.names},
        up="+z",
        forward="-y",
    )
    back = motion.retarget(source, table, skeleton)
    got = skeleton.world_from_rest(back.angles_rad, back.root_translation, back.root_rotation)
    np.testing.assert_allclose(got, transforms, atol=1e-6)


def test_hooves_stand_where_theirs_stand(animal):
    """A walk of one animal for one with legs of another length: planted hooves stay planted."""
    skeleton = animal.skeleton
    walk = motion.walk(skeleton)
    taller = skeleton.bones_rest.copy()
    rows = [
        row
        for leg in ("front_left", "rear_left", "rear_right", "front_right")
        for row in skeleton.leg(leg)
    ]
    hips = skeleton.bones_rest[[skeleton.leg("front_left")[0], skeleton.leg("rear_left")[0]], 0, 1]
    taller[rows, :, 1] = hips.min() + 1.3 * (taller[rows, :, 1] - hips.min())
    for leg in ("front_left", "rear_left", "rear_right", "front_right"):
        bones = list(skeleton.leg(leg))
        hip, tip = skeleton.bones_rest[bones[0], 0], taller[bones[-1], 1]
        ends = hip + (tip - hip) * np.linspace(0, 1, 4)[:, None]
        taller[bones] = np.stack([ends[:-1], ends[1:]], axis=1)
    target = dataclasses.replace(skeleton, bones_rest=taller)
    transforms = skeleton.world_from_rest(
        walk.angles_rad, walk.root_translation, walk.root_rotation
    )
    ends = skeleton.posed_bones(transforms)
    legs = {
        leg: skeleton.leg(leg)[-1]
        for leg in ("front_left", "rear_left", "rear_right", "front_right")
    }
    tips = list(legs.values())
    root = (skeleton.root_rest + walk.root_translation)[:, None]
    source = SourceMotion(
        name="walk",
        joints=("root", *skeleton.names, *(f"{leg} tip" for leg in legs)),
        rest_positions=np.concatenate(
            [skeleton.root_rest[None], skeleton.bones_rest[:, 0], skeleton.bones_rest[tips, 1]]
        ),
        rest_rotations=np.tile(np.eye(3), (skeleton.num_bones + 5, 1, 1)),
        times_s=walk.times_s,
        positions=np.concatenate([root, ends[:, :, 0], ends[:, tips, 1]], axis=1),
        rotations=np.concatenate(
            [
                walk.root_rotation[:, None],
                transforms[..., :3, :3],
                np.tile(np.eye(3), (len(walk.times_s), 4, 1, 1)),
            ],
            axis=1,
        ),
    )
    table = dataclasses.replace(
        motion.JointTable.same_names(skeleton), hooves={leg: f"{leg} tip" for leg in legs}
    )
    contacts = motion.measure_contacts(target, motion.retarget(source, table, target))
    assert contacts.sink < 0.005
    assert contacts.slide < 0.02  # the promise for walks that are made here
    assert min(contacts.duty_factors().values()) > 0.55


def test_poses_of_the_original(animal, tmp_path):
    rng = np.random.default_rng(0)
    poses = rng.uniform(-40, 40, (3, 20, 3)).round(2)
    for i, pose in enumerate(poses):
        text = "\n".join(" ".join(f"{x:.2f}" for x in row) for row in pose)
        write(tmp_path, f"arti_params_{i + 1:02d}.txt", text + "\n")
    clip = motion.read_arti_params(tmp_path, animal.skeleton)
    np.testing.assert_allclose(clip.times_s, [0, 0.5, 1.0])
    np.testing.assert_allclose(np.degrees(clip.angles_rad), poses, atol=1e-9)
    one = motion.read_arti_params(tmp_path / "arti_params_02.txt", animal.skeleton)
    np.testing.assert_allclose(np.degrees(one.angles_rad[0]), poses[1], atol=1e-9)
    animal.pose(one.angles_rad[0])


def gltf_file(path: Path, *, values=None, interpolation="LINEAR", name="Rig|Kick") -> Path:
    """A hip with a leg; the leg swings by 90 degrees within a second, the hip moves by 2."""
    half = np.sqrt(0.5)
    document = pygltflib.GLTF2(
        scenes=[pygltflib.Scene(nodes=[0])],
        nodes=[
            pygltflib.Node(name="hips", translation=[0.0, 1.0, 0.0], children=[1]),
            pygltflib.Node(name="leg", translation=[0.5, 0.0, 0.0], children=[2]),
            pygltflib.Node(name="leg_end", translation=[0.0, -1.0, 0.0]),
        ],
        buffers=[pygltflib.Buffer()],
    )
    buffer = GltfBuffer(document)
    if values is None:
        values = [[0, 0, 0, 1], [half, 0, 0, half]]
    times = buffer.add_array(np.array([0, 1], np.float32), bounds=True)
    turns = buffer.add_array(np.array(values, np.float32))
    shifts = buffer.add_array(np.array([[0, 1, 0], [0, 1, 2]], np.float32))
    samplers = [
        pygltflib.AnimationSampler(input=times, output=turns, interpolation=interpolation),
        pygltflib.AnimationSampler(input=times, output=shifts),
    ]
    channels = [
        pygltflib.AnimationChannel(
            sampler=i, target=pygltflib.AnimationChannelTarget(node=node, path=what)
        )
        for i, (node, what) in enumerate([(1, "rotation"), (0, "translation")])
    ]
    document.animations = [pygltflib.Animation(name=name, samplers=samplers, channels=channels)]
    buffer.finish()
    document.save(str(path))
    return path


def test_gltf_says_where_joints_are(tmp_path):
    source = motion.read_gltf_motion(gltf_file(tmp_path / "kick.glb"), "Kick", frames_per_second=4)
    assert source.joints == ("hips", "leg", "leg_end")
    np.testing.assert_allclose(source.times_s, [0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(source.rest_positions, [[0, 1, 0], [0.5, 1, 0], [0.5, 0, 0]])
    np.testing.assert_allclose(source.positions[2, 0], [0, 1, 1], atol=1e-6)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(source.positions[2, 2], [0.5, 1 - half, 1 - half], atol=1e-6)
    np.testing.assert_allclose(source.positions[4, 2], [0.5, 1, 1], atol=1e-6)


def test_gltf_steps_and_splines(tmp_path):
    half = np.sqrt(0.5)
    step = gltf_file(tmp_path / "step.glb", interpolation="STEP")
    source = motion.read_gltf_motion(step, frames_per_second=4)
    np.testing.assert_allclose(source.rotations[3, 1], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(source.rotations[4, 1] @ [0, -1, 0], [0, 0, -1], atol=1e-6)
    still = [[0, 0, 0, 0]]
    keys = [[0, 0, 0, 1]], [[half, 0, 0, half]]
    values = [row for key in keys for row in (*still, *key, *still)]
    spline = gltf_file(tmp_path / "spline.glb", values=values, interpolation="CUBICSPLINE")
    source = motion.read_gltf_motion(spline, frames_per_second=4)
    np.testing.assert_allclose(source.rotations[2, 1] @ [0, -1, 0], [0, -half, -half], atol=1e-6)


def test_tables_that_come_along(animal):
    assert "quaternius" in table_names()
    for name in table_names():
        motion.load_joint_table(name).check(animal.skeleton)


@pytest.mark.skipif(not _RIGGED.is_dir(), reason="no animated animals in ../shared/data/rigged")
@pytest.mark.parametrize("file, clip", [("Cow", "Walk"), ("Fox", "Gallop"), ("Donkey", "Eating")])
def test_animated_animals(animal, file, clip):
    moved = motion.retarget_file(_RIGGED / f"{file}.glb", animal, table="quaternius", clip=clip)
    contacts = motion.measure_contacts(animal, moved)
    assert contacts.sink < 0.01
    assert contacts.planted.any(axis=0).all()
    moves = np.ptp(moved.angles_rad[..., 0], axis=0)
    assert moves[animal.skeleton.index("head" if clip == "Eating" else "rear_left_hip")] > 0.2


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is wrong: a file, and what must be said about it."""
    glb = gltf_file(folder / "kick.glb").read_bytes()
    nan = [[0, 0, 0, 1], [np.nan, 0, 0, 1]]
    cases = {
        "cut in the motion": (_BVH[:-8], r"expected 2 frames of 9 numbers, got 1\d numbers"),
        "cut in the skeleton": (_BVH[:160], "the file is cut"),
        "no BVH": ("once upon a time", "expected 'HIERARCHY' as word 1, got 'once'"),
        "not finite": (_BVH.replace("90 0 0 0", "nan 0 0 0"), "expected finite numbers"),
        "bytes": (b"\xff\xfe\x00", "expected text in BVH"),
        "channels": (_BVH.replace("Xposition", "Wposition"), "expected channels out of"),
        "words": (_BVH.replace("1 2 3", "1 2 x"), "expected numbers after the frame time"),
    }
    files = {
        name: (write(folder, f"{name}.bvh", content), message)
        for name, (content, message) in cases.items()
    }
    files["cut glb"] = (
        write(folder, "cut.glb", glb[: len(glb) // 2]),
        "expected whole glTF|the file is cut",
    )
    files["short glb"] = (
        write(folder, "short.glb", glb[:-30]),
        "expected whole glTF|the file is cut",
    )
    files["no glb"] = write(folder, "none.glb", b"hello"), "expected whole glTF|expected glTF"
    files["nan glb"] = gltf_file(folder / "nan.glb", values=nan), "finite"
    files["suffix"] = write(folder, "walk.fbx", "x"), "expected a motion in .bvh, .glb or .gltf"
    return files


@pytest.mark.parametrize(
    "case",
    (
        *("cut in the motion", "cut in the skeleton", "no BVH", "not finite", "bytes", "channels"),
        *("words", "cut glb", "short glb", "no glb", "nan glb", "suffix"),
    ),
)
def test_bad_files_end_in_one_line(animal, tmp_path, case):
    path, message = _bad_files(tmp_path)[case]
    table = motion.JointTable(**_TABLE)
    with pytest.raises(motion.MotionFileError, match=message) as error:
        motion.retarget_file(path, animal, table=table)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "table, message",
    [
        ({**_TABLE, "bones": {"rear_left_hip": "knee"}}, "no joint 'knee', but"),
        ({**_TABLE, "bones": {"rear_left_hipp": "leg"}}, "no bone 'rear_left_hipp', but rear_left"),
        ({**_TABLE, "bones": {"head": "leg"}}, "expected a joint for one leg at least"),
        ({**_TABLE, "root": "pelvis"}, "no joint 'pelvis'"),
        ({**_TABLE, "up": "-y"}, "does the table's up fit"),
        ({**_TABLE, "up": "y"}, "up: expected one of"),
        ({**_TABLE, "up": "-z", "forward": "+z"}, "expected different axes"),
        ({**_TABLE, "hooves": {"left": "leg"}}, "expected legs out of front_left"),
        ({**_TABLE, "bones": ["leg"]}, "bones: expected an object of names"),
        ({**_TABLE, "scale": "2"}, "expected fields out of .*, got 'scale'"),
        ({"bones": {}}, "expected an object with 'root' and 'bones'"),
        ("{", "expected a joint table in JSON"),
    ],
)
def test_bad_tables_end_in_one_line(animal, tmp_path, table, message):
    path = write(tmp_path, "kick.bvh", _BVH)
    text = table if isinstance(table, str) else json.dumps(table)
    with pytest.raises(motion.MotionFileError, match=message) as error:
        motion.retarget_file(path, animal, table=write(tmp_path, "table.json", text))
    assert "\n" not in str(error.value)


def test_what_is_not_there(animal, tmp_path):
    glb = gltf_file(tmp_path / "kick.glb")
    with pytest.raises(motion.MotionFileError, match="an animation out of Kick, got 'Walk'"):
        motion.read_gltf_motion(glb, "Walk")
    with pytest.raises(motion.MotionFileError, match="one of quaternius, got 'horse'"):
        motion.load_joint_table("horse")
    with pytest.raises(motion.MotionFileError, match="no joint 'front_left_hip', but hips, leg"):
        motion.retarget_file(glb, animal)  # of another skeleton, without a table
    for name in ("gone.bvh", "gone.glb"):
        with pytest.raises(FileNotFoundError):
            motion.retarget_file(tmp_path / name, animal)
    with pytest.raises(motion.MotionFileError, match=r"expected files arti_params\*.txt"):
        motion.read_arti_params(tmp_path, animal.skeleton)


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 2 3\n" * 14, "expected 20 lines, one a bone of this skeleton, got 14"),
        ("1 2 3\n" * 19 + "1 2\n", "three finite angles .* in line 20, got '1 2'"),
        ("1 2 nan\n" * 20, "three finite angles .* in line 1"),
        ("a b c\n" * 20, "three finite angles .* in line 1, got 'a b c'"),
    ],
)
def test_bad_poses_end_in_one_line(animal, tmp_path, text, message):
    path = write(tmp_path, "arti_params_01.txt", text)
    with pytest.raises(motion.MotionFileError, match=message):
        motion.read_arti_params(path, animal.skeleton)
