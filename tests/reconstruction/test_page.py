"""The page: what stands in it, how its viewer poses the file, and what a browser shows."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import rasterizer_ffi
from pony_jax.reconstruction import page
from pony_jax.reconstruction.gltf import encode_glb
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


@pytest.mark.parametrize(
    ("motion", "time_s"), [("photograph", 0), ("rest", 0), ("0", 0.3), ("0", 2.3)]
)
def test_viewer_poses_as_the_specification_says(animal, clip, glb, tmp_path, motion, time_s):
    if shutil.which("node") is None:
        pytest.skip("the viewer's script is run by node, which is not installed")
    file = tmp_path / "sample.glb"
    file.write_bytes(glb)
    script = Path(page.__file__).parent / "viewer" / "glb.js"
    command = ["node", _HERE / "viewer_poses.cjs", script, file, motion, time_s]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    reader = Glb(file)
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
    matrices = np.array(found["joints"]).reshape(-1, 4, 4).swapaxes(1, 2)
    np.testing.assert_allclose(matrices, expected, atol=1e-5)  # float32
    if motion == "photograph":
        skeleton = animal.skeleton
        ends = skeleton.posed_bones(skeleton.world_from_rest(animal.angles_rad))
        np.testing.assert_allclose(np.array(found["bones"]).reshape(-1, 2, 3), ends, atol=1e-4)


# Draws in some states and reports, for each, the canvas's alpha and colour.
_PROBE = """
<style>canvas { width: %(size)dpx !important; aspect-ratio: 1 !important; }</style>
<script>
ready.then(() => {
  viewer.playing = viewer.turning = false;
  viewer.run = () => {};
  window.devicePixelRatio = 1;
  const gl = viewer.gl, states = {};
  const draw = (name) => {
    viewer.draw();
    const pixels = new Uint8Array(4 * viewer.canvas.width * viewer.canvas.height);
    const {width, height} = viewer.canvas;
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    states[name] = Array.from(pixels);
  };
  viewer.seeAsPhotographed();
  viewer.show = "colours";
  draw("photograph");
  viewer.bones = true;
  draw("bones");
  viewer.bones = false;
  viewer.motion = 0;
  viewer.time = 0.3;
  draw("walk");
  viewer.turnBy(1.0, 0.2);
  draw("turned");
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify({width: viewer.canvas.width, states});
  document.body.append(result);
});
</script>
"""


@pytest.mark.slow
def test_a_browser_shows_the_animal_and_moves_it(animal, glb, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("the page is shown by chromium, which is not installed")
    file = tmp_path / "page.html"
    file.write_text(page.render_page(animal, glb) + _PROBE % {"size": _SIZE}, encoding="utf-8")
    options = "--headless=new --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader"
    command = [browser, *options.split(), "--virtual-time-budget=4000", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page reported nothing: {done.stdout[-500:]}"
    result = json.loads(found.group(1))
    assert result["width"] == _SIZE
    # WebGL reads rows from the bottom.
    shown = {
        name: np.array(pixels, np.uint8).reshape(_SIZE, _SIZE, 4)[::-1]
        for name, pixels in result["states"].items()
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
    pairs = (("photograph", "bones"), ("photograph", "walk"), ("walk", "turned"))
    for before, after in pairs:
        changed = np.any(shown[before] != shown[after], axis=-1)
        assert changed.sum() > 50, f"{before} and {after} look alike"
