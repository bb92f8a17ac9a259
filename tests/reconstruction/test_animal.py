"""What the records of a reconstruction refuse, and what they compute of themselves."""

import dataclasses

import numpy as np
import pytest

from pony_jax.ops.mesh import vertex_normals
from pony_jax.reconstruction.animal import Clip, TriangleMesh
from tests.reconstruction.sample_animal import make_animal, make_clip


@pytest.fixture(scope="module")
def animal():
    return make_animal()


def test_normals_are_the_models(animal):
    mesh = animal.posed_mesh
    expected = vertex_normals(mesh.verts, mesh.faces)
    np.testing.assert_allclose(mesh.vertex_normals(), expected, atol=1e-4)  # sums in float32


def test_normals_without_faces_point_forward():
    mesh = TriangleMesh(np.zeros((2, 3), np.float32), np.zeros((0, 3), np.int32))
    np.testing.assert_array_equal(mesh.vertex_normals(), [[0, 0, 1]] * 2)


def test_world_from_cam_is_the_inverse(animal):
    camera = animal.camera
    np.testing.assert_allclose(camera.world_from_cam @ camera.cam_from_world, np.eye(4), atol=1e-6)


def test_rest_angles_give_the_rest_mesh(animal):
    rest = animal.pose(np.zeros((20, 3)))
    np.testing.assert_allclose(rest.verts, animal.rest_mesh.verts, atol=1e-6)
    assert animal.body_length == pytest.approx(np.ptp(animal.rest_mesh.verts[:, 2]))


def test_meshes_refuse_padding_and_what_is_not_finite():
    verts = np.zeros((3, 3), np.float32)
    with pytest.raises(ValueError, match="rows of 3 vertices, got -1 to 2; cut padding"):
        TriangleMesh(verts, np.array([[0, 1, 2], [-1, -1, -1]]))
    with pytest.raises(ValueError, match="verts: expected finite"):
        TriangleMesh(verts * np.nan, np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"faces: expected \[n, 3\]"):
        TriangleMesh(verts, np.array([0, 1, 2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"skin_weights": 0 * a.skin_weights}, "sum to 0"),
        (lambda a: {"skin_weights": -a.skin_weights}, "not negative"),
        (lambda a: {"skin_weights": a.skin_weights[1:]}, r"skin_weights: expected shape \(686, 20"),
        (lambda a: {"angles_rad": a.angles_rad * np.inf}, "angles_rad: expected finite"),
        (lambda a: {"prior_verts": a.prior_verts[:, :2]}, "prior_verts: expected shape"),
        (
            lambda a: {"posed_mesh": TriangleMesh(a.rest_mesh.verts, a.rest_mesh.faces[::-1])},
            "the faces of rest_mesh",
        ),
    ],
)
def test_animals_refuse_what_does_not_belong_together(animal, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(animal, **change(animal))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times_s": np.array([0.0, 0.0, 1.0])}, "start at 0 and increase"),
        ({"times_s": np.array([1.0, 2.0, 3.0])}, "start at 0 and increase"),
        ({"root_translation": np.zeros((2, 3))}, r"expected shape \(3, 3\)"),
        ({"angles_rad": np.full((3, 20, 3), np.nan)}, "angles_rad: expected finite"),
        ({"angles_rad": np.zeros((3, 60))}, r"expected \[t, k, 3\]"),
    ],
)
def test_clips_refuse_what_is_no_motion(animal, change, message):
    clip: Clip = make_clip(animal, frames=3)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(clip, **change)
