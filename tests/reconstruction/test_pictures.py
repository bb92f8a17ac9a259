"""Pictures and videos of the sample animal."""

import dataclasses

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import rasterizer_ffi
from pony_jax.reconstruction import page
from pony_jax.reconstruction.animal import TriangleMesh
from pony_jax.reconstruction.pictures import Pictures, contact_sheet, draw_all
from pony_jax.reconstruction.render import Renderer, orbit_camera
from pony_jax.reconstruction.video import write_video
from tests.reconstruction.sample_animal import make_animal, make_clip

SIZE = 64


@pytest.fixture(scope="module")
def animal():
    return make_animal()


@pytest.fixture(scope="module")
def pictures(animal):
    return Pictures(animal, size=SIZE, texture_size=128)


def _covered(picture):
    """Pixels that are not the background."""
    pixels = np.asarray(picture).astype(int)
    return np.any(np.abs(pixels - pixels[0, 0]) > 12, axis=-1)


def test_input_view_is_where_the_camera_sees_it(animal, pictures):
    verts = np.c_[animal.posed_mesh.verts, np.ones(len(animal.posed_mesh.verts))]
    clip = (verts @ animal.camera.clip_from_world.T).astype(np.float32)[None]
    rast, _ = rasterizer_ffi.rasterize(clip, animal.posed_mesh.faces, (SIZE, SIZE))
    seen = np.asarray(rast)[0, ..., 3] > 0
    for name in ("input view", "colours", "shading", "normals"):
        covered = _covered(pictures.from_the_camera()[name])
        # Supersampled outlines are wider by up to a pixel.
        assert np.sum(covered & seen) / np.sum(covered | seen) > 0.85, name


def test_shading_is_the_models_formula(animal, pictures):
    colours, lit = (
        np.asarray(pictures.from_the_camera()[name]).astype(float)
        for name in ("colours", "input view")
    )
    light = animal.light
    inside = _covered(pictures.from_the_camera()["colours"])
    share = (lit[inside] / np.maximum(colours[inside], 1))[colours[inside] > 40]
    # Between ambient light alone and full light; pixels of 8 bits.
    assert share.min() > light.ambient - 0.05
    assert share.max() < light.ambient + light.diffuse + 0.05


def test_normals_face_the_camera(animal, pictures):
    normals = np.asarray(pictures.from_the_camera()["normals"])
    inside = _covered(pictures.from_the_camera()["normals"])
    assert np.mean(normals[inside][:, 2] > 128) > 0.95


def test_cameras_go_around_and_show_all(animal):
    for azimuth in np.linspace(0, 2 * np.pi, 5):
        camera = orbit_camera(animal, azimuth)
        np.testing.assert_allclose(camera[:3, :3] @ camera[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera[:3, :3]) == pytest.approx(1)
        for mesh in (animal.posed_mesh, animal.rest_mesh):
            verts = mesh.verts @ camera[:3, :3].T + camera[:3, 3]
            reach = np.abs(verts[:, :2]).max(axis=1) / -verts[:, 2]
            assert reach.max() < np.tan(np.deg2rad(animal.camera.fov_y_deg / 2))
    eye, start = (np.linalg.inv(orbit_camera(animal, a))[:3, 3] for a in (np.pi / 2, 0.0))
    middle = (animal.posed_mesh.verts.min(axis=0) + animal.posed_mesh.verts.max(axis=0)) / 2
    # A quarter turn, counter-clockwise seen from above.
    assert np.cross(start - middle, eye - middle)[1] > 0


def test_twelve_views_differ(pictures):
    views = [np.asarray(view) for view in pictures.views()]
    assert len(views) == 12 and all(view.shape == (SIZE, SIZE, 3) for view in views)
    for i, view in enumerate(views):
        assert _covered(view).sum() > 100
        assert np.any(view != views[i - 1])


def test_canonicalisation_ends_posed(animal, pictures):
    stills = pictures.canonicalisation()
    assert list(stills) == ["mean shape", "individual", "posed"]
    frames = pictures.canonicalisation_frames()
    for frame, still in ((0, "mean shape"), (len(frames) // 2, "posed"), (-1, "mean shape")):
        difference = np.abs(np.asarray(frames[frame]).astype(int) - np.asarray(stills[still]))
        assert difference.max() <= 40 and difference.mean() < 0.1  # an edge's sample at most


def test_bones_are_drawn_over_the_animal(pictures):
    drawn = pictures.from_the_camera()
    bones, shading = np.asarray(drawn["bones"]), _covered(drawn["shading"])
    orange = (bones[..., 0] > 200) & (bones[..., 2] < 120)
    assert orange.sum() > 20 and np.mean(shading[orange]) > 0.7


def test_all_files_are_written(animal, tmp_path):
    clip = dataclasses.replace(make_clip(animal), times_s=np.linspace(0, 0.25, 9))
    files = draw_all(animal, tmp_path, [clip], size=32, texture_size=128)
    assert set(files) == set(tmp_path.iterdir())
    names = {file.name for file in files}
    assert {"sample_input_view.png", "sample_sheet.png", "sample_walk.mp4"} <= names
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "sample_turntable.mp4"))
    assert frames == Image.open(tmp_path / "sample_turntable.webp").n_frames == 48
    assert Image.open(tmp_path / "sample_walk.webp").n_frames == 6


def test_same_frames_same_bytes(pictures, tmp_path):
    frames = pictures.views(3)
    for suffix in (".mp4", ".webp"):
        files = [tmp_path / f"{i}{suffix}" for i in range(2)]
        for file in files:
            write_video(file, frames, 24)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_sheet_has_a_row_for_each_clip(animal, pictures):
    without, with_clip = contact_sheet(pictures), contact_sheet(pictures, [make_clip(animal)])
    assert with_clip.height > without.height and with_clip.width == without.width


def test_wrong_pictures_are_refused(animal, pictures, tmp_path):
    with pytest.raises(ValueError, match="even number"):
        Pictures(animal, size=33, texture_size=128)
    with pytest.raises(ValueError, match="one of"):
        camera = animal.camera.cam_from_world
        Renderer(animal, 32, 128).draw(animal.rest_mesh, camera, "depth")
    fewer = dataclasses.replace(make_clip(animal), angles_rad=np.zeros((9, 7, 3)))
    with pytest.raises(ValueError, match="20 bones"):
        pictures.clip_frames(fewer, [0.0])
    empty = TriangleMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    nothing = dataclasses.replace(
        animal,
        rest_mesh=empty,
        posed_mesh=empty,
        prior_verts=empty.verts,
        skin_weights=np.zeros((0, 20), np.float32),
    )
    with pytest.raises(ValueError, match="an empty one"):
        draw_all(nothing, tmp_path)


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("a.gif", [(8, 8)], r"\.mp4, \.webp"),
        ("a.mp4", [], "at least one frame"),
        ("a.mp4", [(8, 8), (8, 6)], "all of one size"),
        ("a.mp4", [(8, 7)], "even sides"),
    ],
)
def test_wrong_videos_are_refused(tmp_path, name, sizes, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, [Image.new("RGB", size) for size in sizes], 24)
    with pytest.raises(OSError, match="cannot write"):
        write_video(tmp_path / "no" / "folder.mp4", [Image.new("RGB", (8, 8))], 24)


def test_show_opens_the_page(animal, monkeypatch):
    opened = []
    monkeypatch.setattr(page.webbrowser, "open", opened.append)
    file = animal.show()
    assert opened == [file.as_uri()] and "<canvas" in file.read_text()
