"""The page: what stands in it, how its viewer poses the file, and what a browser shows."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import rasterizer_ffi
from pony_jax.reconstruction import page
from pony_jax.reconstruction.gltf import encode_glb
from tests.reconstruction.chromium import Chromium, find_chromium
from tests.reconstruction.glb_reader import Glb
from tests.reconstruction.sample_animal import make_animal, make_clip

_HERE = Path(__file__).parent
_SIZE = 256  # of the canvas in the browser's test, px


@pytest.fixture(scope="module")
def animal():
    return make_animal()


@pytest.fixture(scope="module")
def clip(animal):
    return make_clip(animal)


@pytest.fixture(scope="module")
def glb(animal, clip):
    return encode_glb(animal, [clip], texture_size=256)


def test_page_stands_alone(animal, glb):
    text = page.render_page(animal, glb, downloads={"walk.bvh": b"HIERARCHY"})
    references = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert references and all(each.startswith("data:image/png;base64,") for each in references)
    assert "http:" not in text and "https:" not in text and "import(" not in text
    assert 'download="sample.glb"' in text and 'download="walk.bvh"' in text


def test_page_shows_names_as_text(animal, glb):
    object.__setattr__(hostile := make_animal(), "name", "<script>alert(1)</script>")
    assert "<script>alert" not in page.render_page(hostile, glb)


def test_facts_say_where_the_camera_stood(animal):
    facts = page.facts(animal)
    assert facts["seen from"].startswith("its right, 70° from the front")
    assert facts["viewpoints"] == "80%, 20%"


def _viewer_poses(glb, folder, motion, time_s=0.0, turns=()):
    """What the viewer computes, and a reader of the same file."""
    if shutil.which("node") is None:
        pytest.skip("the viewer's script is run by node, which is not installed")
    file = folder / "sample.glb"
    file.write_bytes(glb)
    script = Path(page.__file__).parent / "viewer" / "glb.js"
    command = ["node", _HERE / "viewer_poses.cjs", script, file, motion, time_s, json.dumps(turns)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    matrices = np.array(found["joints"]).reshape(-1, 4, 4).swapaxes(1, 2)
    return matrices, np.array(found["bones"]).reshape(-1, 2, 3), Glb(file)


@pytest.mark.parametrize(
    ("motion", "time_s"), [("photograph", 0), ("rest", 0), ("0", 0.3), ("0", 2.3)]
)
def test_viewer_poses_as_the_specification_says(animal, clip, glb, tmp_path, motion, time_s):
    matrices, bones, reader = _viewer_poses(glb, tmp_path, motion, time_s)
    joints = reader.document.skins[0].joints
    if motion == "photograph":
        moved = {}
    elif motion == "rest":
        moved = {joint: {"rotation": [0, 0, 0, 1]} for joint in joints}
    else:  # a second long; it goes on from where the last round has led
        moved = reader.animated(0, time_s % 1)
        moved[joints[0]]["translation"][2] += int(time_s) * clip.root_translation[-1, 2]
    inverse_bind = reader.array(reader.document.skins[0].inverseBindMatrices)
    expected = [
        reader.world_from_node(joint, moved) @ bind.reshape(4, 4).T
        for joint, bind in zip(joints, inverse_bind, strict=True)
    ]
    np.testing.assert_allclose(matrices, expected, atol=1e-5)  # float32
    if motion == "photograph":
        skeleton = animal.skeleton
        ends = skeleton.posed_bones(skeleton.world_from_rest(animal.angles_rad))
        np.testing.assert_allclose(bones, ends, atol=1e-4)


def test_sliders_turn_joints_about_the_axes_that_the_model_uses(animal, glb, tmp_path):
    """From rest, turns by the photograph's angles are the pose in the photograph."""
    angles = animal.angles_rad.astype(float).tolist()
    turns = list(zip(animal.skeleton.names, angles, strict=True))
    matrices, _, _ = _viewer_poses(glb, tmp_path, "rest", turns=turns)
    expected = animal.skeleton.world_from_rest(animal.angles_rad)
    np.testing.assert_allclose(matrices[1:], expected, atol=1e-5)  # float32


def test_sliders_turn_joints_beside_their_pose(animal, glb, tmp_path):
    """A turn that undoes the photograph's, in the order that this needs, leads back to rest."""
    name = "neck"
    row = animal.skeleton.index(name)
    turn = Rotation.from_matrix(animal.skeleton.turns(animal.angles_rad)[row])
    frame = Rotation.from_matrix(animal.skeleton.bone_frames()[row])
    undo = (frame.inv() * turn.inv() * frame).as_euler("XYZ")  # Rx Ry Rz
    matrices, _, _ = _viewer_poses(glb, tmp_path, "photograph", turns=[(name, undo.tolist())])
    straight = animal.angles_rad.copy()
    straight[row] = 0
    expected = animal.skeleton.world_from_rest(straight)
    np.testing.assert_allclose(matrices[1:], expected, atol=1e-5)  # float32


# The canvas's alpha and colour in some states, by name.
_PROBE = """
(async () => {
  await ready;
  viewer.playing = viewer.turning = false;
  const states = {};
  const draw = (name) => {
    viewer.draw();
    const {width, height} = viewer.canvas, gl = viewer.gl;
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    states[name] = btoa(Array.from(pixels, (value) => String.fromCharCode(value)).join(""));
  };
  const slide = (label, value) => {
    const input = document.querySelector(`input[aria-label="${label}"]`);
    input.value = value;
    input.dispatchEvent(new Event("input"));
  };
  viewer.seeAsPhotographed();
  viewer.show = "colours";
  draw("photograph");
  slide("bend neck", 60);
  draw("bent");
  document.getElementById("joints-home").click();
  draw("straight");
  viewer.bones = true;
  draw("bones");
  viewer.bones = false;
  viewer.show = "lit";
  draw("lit");
  slide("light around", 0);
  draw("from the front");
  document.getElementById("light-home").click();
  draw("lit again");
  viewer.motion = 0;
  viewer.time = 0.3;
  draw("walk");
  slide("around", 20);
  draw("turned");
  return {states, around: viewer.view.yaw};
})()
"""


@pytest.mark.slow
def test_a_browser_shows_the_animal_and_moves_it(animal, glb, tmp_path):
    program = find_chromium()
    if program is None:
        pytest.skip("the page is shown by chromium, which is not installed")
    file = tmp_path / "page.html"
    style = f"<style>canvas {{ width: {_SIZE}px !important; aspect-ratio: 1 !important }}</style>"
    file.write_text(page.render_page(animal, glb) + style, encoding="utf-8")
    with Chromium(program, tmp_path / "profile") as browser:
        browser.open(file.as_uri())
        result = browser.run(_PROBE)
    # WebGL reads rows from the bottom.
    shown = {
        name: np.frombuffer(base64.b64decode(data), np.uint8).reshape(_SIZE, _SIZE, 4)[::-1]
        for name, data in result["states"].items()
    }
    # The view of the photograph: the silhouette and the colours of our own rasteriser.
    verts = np.c_[animal.posed_mesh.verts, np.ones(len(animal.posed_mesh.verts))]
    clip_verts = (verts @ animal.camera.clip_from_world.T).astype(np.float32)[None]
    faces = animal.posed_mesh.faces
    rast, _ = rasterizer_ffi.rasterize(clip_verts, faces, (_SIZE, _SIZE))
    prior, _ = rasterizer_ffi.interpolate(animal.prior_verts[None], rast, faces)
    covered = np.asarray(rast)[0, ..., 3] > 0
    opaque = shown["photograph"][..., 3] > 128
    assert np.sum(opaque & covered) / np.sum(opaque | covered) > 0.95  # within a pixel of outline
    wanted = animal.albedo(np.asarray(prior)[0].reshape(-1, 3)).reshape(_SIZE, _SIZE, 3)
    both = opaque & covered
    error = np.abs(shown["photograph"][both, :3] / 255 - np.clip(wanted[both], 0, 1))
    assert np.median(error) < 0.02
    pairs = {
        "bent": "photograph",
        "bones": "photograph",
        "from the front": "lit",
        "walk": "photograph",
        "turned": "walk",
    }
    for after, before in pairs.items():
        changed = np.any(shown[before] != shown[after], axis=-1)
        assert changed.sum() > 50, f"{before} and {after} look alike"
    for after, before in {"straight": "photograph", "lit again": "lit"}.items():
        np.testing.assert_array_equal(shown[after], shown[before])
    assert np.rad2deg(result["around"]) == pytest.approx(20, abs=1e-6)
