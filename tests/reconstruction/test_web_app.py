"""The web app: what it refuses, what it keeps, and a person's way through it in a browser."""

import base64
import dataclasses
import http.client
import io
import json
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pony_jax.data.picture_files import BadPhotographError, open_photograph
from pony_jax.errors import UserError
from pony_jax.reconstruction.web_app import Limits, WebApp
from pony_jax.reconstruction.web_app_jobs import safe_name
from tests.reconstruction.chromium import Chromium, find_chromium
from tests.reconstruction.glb_reader import Glb
from tests.reconstruction.sample_animal import make_animal
from tests.training.command_flags import command_module


@pytest.fixture(scope="module")
def demo():
    """The command line, whose flags have names that other command lines use too."""
    with command_module("pony_jax.demo") as module:
        yield module


_UPLOAD = {"Content-Type": "application/octet-stream"}
_LIMITS = Limits(max_bytes=100_000, max_pixels=250_000, max_waiting=2)


def _reconstruct(picture: Path, name: str):
    """Stands for a trained model: reads the picture as it does, and finds nothing in black ones."""
    photograph = np.asarray(open_photograph(picture).resize((64, 64)))
    if not photograph.any():
        raise BadPhotographError(f"{name}: expected a picture of a horse, found none in it")
    return dataclasses.replace(make_animal(), name=name, photograph=photograph)


def _picture(size=(200, 150), colour="tan") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts apps whose temporary folders lie in tmp_path / 'temporary'."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    apps = []

    def start(reconstruct=_reconstruct, examples=(), limits=_LIMITS):
        apps.append(WebApp(reconstruct, "horse", examples, limits=limits))
        threading.Thread(target=apps[-1].serve_forever, args=[0.02], daemon=True).start()
        return apps[-1]

    yield start
    for app in apps:
        app.shutdown()
        app.server_close()


def _ask(app, method, path, body=None, headers=None):
    """Status and JSON or bytes of an answer."""
    connection = http.client.HTTPConnection(*app.server_address, timeout=60)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    is_json = response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(data) if is_json else data


def _upload(app, data, name="pony.png"):
    return _ask(app, "POST", f"/jobs?name={name}", data, _UPLOAD)


def _wait(app, id):
    for _ in range(1200):
        _, job = _ask(app, "GET", f"/jobs/{id}")
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"not over after a minute: {job}")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"no picture at all", "expected a readable image"),
        (_picture()[:200], "expected a readable image"),
        (b"", "expected a readable image"),
        (_picture(colour="black"), "expected a picture of a horse, found none in it"),
        (_picture((600, 500)), "expected at most 0 million pixels, got 600 x 500"),
    ],
    ids=["text", "cut", "empty", "no animal", "too many pixels"],
)
def test_bad_pictures_are_one_line_without_a_path(start, tmp_path, data, line):
    app = start()
    status, answer = _upload(app, data)
    assert status == 202
    job = _wait(app, answer["id"])
    assert job["state"] == "failed" and line in job["stage"]
    assert str(tmp_path) not in job["stage"] and "\n" not in job["stage"]
    assert not list((tmp_path / "temporary").iterdir())


def test_too_large_an_upload_is_refused(start):
    app = start()
    status, answer = _upload(app, bytes(3_000_000))
    assert status == 413
    assert answer["error"].startswith("expected a file of at most 0 MB, got 3.0 MB")


def test_a_full_queue_says_so_and_goes_on(start):
    go_on, begun = threading.Event(), threading.Event()

    def wait(picture, name):
        begun.set()
        assert go_on.wait(60)
        raise UserError("nothing found")

    app = start(wait)
    ids = [_upload(app, _picture())[1]["id"]]
    assert begun.wait(60)
    ids += [_upload(app, _picture())[1]["id"] for _ in range(_LIMITS.max_waiting)]
    status, answer = _upload(app, _picture())
    assert status == 503 and answer["error"].startswith("2 photographs wait already")
    assert _ask(app, "GET", f"/jobs/{ids[-1]}")[1]["ahead"] == 2
    go_on.set()
    assert [_wait(app, id)["state"] for id in ids] == ["failed"] * 3
    assert _upload(app, _picture())[0] == 202


def test_a_fault_does_not_end_the_queue(start):
    def fail(picture, name):
        if name == "bad":
            raise RuntimeError("secret")
        raise UserError("nothing found")

    app = start(fail)
    first, second = (_upload(app, _picture(), name)[1]["id"] for name in ("bad.png", "good.png"))
    assert "has a fault" in _wait(app, first)["stage"]
    assert _wait(app, second)["stage"] == "nothing found"


def test_old_results_are_forgotten(start):
    app = start()
    ids = []
    for _ in range(10):
        ids.append(_upload(app, b"x")[1]["id"])
        _wait(app, ids[-1])
    status, answer = _ask(app, "GET", f"/jobs/{ids[0]}")
    assert status == 404 and "no longer kept" in answer["error"]
    assert _ask(app, "GET", f"/jobs/{ids[-1]}")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Host": "elsewhere.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_requests_of_other_pages_are_refused(start, headers, status):
    app = start()
    assert _ask(app, "POST", "/jobs", _picture(), _UPLOAD | headers)[0] == status
    own = {"Origin": app.url.rstrip("/"), **_UPLOAD}
    assert _ask(app, "POST", "/jobs", _picture(colour="black"), own)[0] == 202


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/examples/../jobs",
        "/examples/99",
        "/examples/-1",
        "/jobs/unknown",
        "/jobs/ID/page",
        "/jobs/ID/files/..%2F..%2Fpicture",
        "/jobs/ID/files//etc/passwd",
    ],
)
def test_paths_lead_nowhere(start, path):
    app = start()
    id = _upload(app, b"x")[1]["id"]
    _wait(app, id)
    status, answer = _ask(app, "GET", path.replace("ID", id))
    assert status == 404 and "error" in answer


def test_an_upload_without_a_length_is_refused(start):
    app = start()
    status, _ = _ask(app, "POST", "/jobs", iter([b"x"]), _UPLOAD)  # sent in chunks
    assert status == 411


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("My horse (1).jpeg", "My_horse_1"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\pony.png", "pony"),
        ("<script>.png", "script"),
        ("馬.png", "picture"),
        ("", "picture"),
        ("x" * 300 + ".png", "x" * 40),
    ],
)
def test_names_are_safe(file_name, name):
    assert safe_name(file_name) == name


def test_examples_are_pictures_of_a_folder(demo, tmp_path):
    with pytest.raises(UserError, match="expected a folder of pictures"):
        demo.find_examples(tmp_path)
    for name in ("b.png", "a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in demo.find_examples(tmp_path)] == ["a.jpg", "b.png"]
    assert demo.find_examples(None) == []


# What the canvas of the result shows, as text.
_SHOWN = """
(() => {
  const frame = document.getElementById("result").contentWindow, viewer = frame.viewer;
  viewer.playing = viewer.turning = false;
  viewer.draw();
  return viewer.canvas.toDataURL();
})()
"""
_MOVE = """
(() => {
  const page = document.getElementById("result").contentDocument;
  const input = page.querySelector('[aria-label="bend neck"]');
  input.value = 60;
  input.dispatchEvent(new Event("input"));
})()
"""
_IS_SHOWN = (
    "!document.getElementById('result').hidden"
    " && document.getElementById('result').contentWindow.viewer !== undefined"
)


def _opaque_colours(data_url: str) -> np.ndarray:
    data = io.BytesIO(base64.b64decode(data_url.partition(",")[2]))
    pixels = np.asarray(Image.open(data).convert("RGBA"))
    return pixels[pixels[..., 3] == 255]


@pytest.mark.slow
def test_a_person_gets_an_animal_in_a_browser(start, tmp_path):
    program = find_chromium()
    if program is None:
        pytest.skip("the app is used in chromium, which is not installed")
    (tmp_path / "example.png").write_bytes(_picture())
    (tmp_path / "text.png").write_bytes(b"no picture at all")
    (tmp_path / "black.png").write_bytes(_picture(colour="black"))
    (tmp_path / "large.png").write_bytes(bytes(200_000))
    app = start(examples=[tmp_path / "example.png"])
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with Chromium(program, tmp_path / "profile") as browser:
        browser.save_downloads_in(downloads)
        browser.open(app.url)
        failure = "document.getElementById('failure')"
        for name, line in {
            "text.png": "expected a readable image",
            "large.png": "expected a file of at most 0.1 MB, got 0.2 MB",
            "black.png": "found none in it",
        }.items():
            browser.choose_file("#picture", tmp_path / name)
            browser.wait_for(f"!{failure}.hidden && {failure}.textContent.includes({line!r})")
        browser.choose_file("#picture", tmp_path / "example.png")
        browser.wait_for(_IS_SHOWN)
        assert browser.run(f"{failure}.hidden")
        before = browser.run(_SHOWN)
        assert len(np.unique(_opaque_colours(before), axis=0)) > 100, "the canvas is blank"
        browser.run(_MOVE)
        assert browser.run(_SHOWN) != before
        for suffix in ("glb", "zip"):
            browser.run(f"document.querySelector('#downloads a[download$={suffix}]').click()")
            file = downloads / f"example.{suffix}"
            for _ in range(600):
                if file.exists():
                    break
                time.sleep(0.1)
        browser.run("document.querySelector('[data-example]').click()")
        browser.wait_for("document.getElementById('result').hidden")
        browser.wait_for(_IS_SHOWN)
        assert "example.glb" in browser.run("document.getElementById('downloads').textContent")
    assert len(Glb(downloads / "example.glb").document.skins[0].joints) == 21
    names = zipfile.ZipFile(downloads / "example.zip").namelist()
    assert {Path(name).suffix for name in names} >= {
        ".html",
        ".glb",
        ".obj",
        ".mtl",
        ".ply",
        ".bvh",
    }
    assert not list((tmp_path / "temporary").iterdir())
