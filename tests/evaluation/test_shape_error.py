"""Distances between shapes whose answer is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pony_jax.evaluation import shape_error

_SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def test_samples_are_spread_by_area() -> None:
    # A triangle of area 1/2 and one nine times as large, far away; and one without area.
    verts = np.concatenate([_SQUARE[:3], 3 * _SQUARE[:3] + [10, 0, 0]])
    faces = np.array([[0, 1, 2], [3, 4, 5], [0, 0, 1]])
    points = shape_error.sample_surface(verts, faces, num_points=20_000)
    assert np.mean(points[:, 0] > 5) == pytest.approx(0.9, abs=0.01)
    large = points[points[:, 0] > 5]
    np.testing.assert_allclose(large.mean(axis=0), verts[3:].mean(axis=0), atol=0.03)
    assert np.array_equal(points, shape_error.sample_surface(verts, faces, num_points=20_000))


def test_samples_lie_on_their_mesh() -> None:
    points = shape_error.sample_surface(_SQUARE, _FACES)
    assert points.shape == (4000, 3)
    assert points[:, 2].max() == 0
    assert (points[:, :2] >= 0).all()
    assert (points[:, :2] <= 1).all()


@pytest.mark.parametrize("faces", [np.zeros((0, 3), int), np.array([[1, 1, 2]])])
def test_a_mesh_without_area_has_no_points_and_no_score(faces: np.ndarray) -> None:
    points = shape_error.sample_surface(_SQUARE, faces)
    assert points.shape == (0, 3)
    assert np.isnan(shape_error.compare_points(points, _SQUARE, 1.0)).all()


def test_distances_of_two_lattices() -> None:
    grid = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), [0.0]), -1).reshape(-1, 3)
    assert shape_error.compare_points(grid, grid, 10.0) == (0, 1)
    chamfer, f_score = shape_error.compare_points(grid + np.array([0, 0, 0.1]), grid, 10.0)
    assert (chamfer, f_score) == (pytest.approx(1), 1)
    chamfer, f_score = shape_error.compare_points(grid + np.array([0, 0, 0.3]), grid, 10.0)
    assert (chamfer, f_score) == (pytest.approx(3), 0)


def test_both_directions_count() -> None:
    # What is predicted is right, but half of the true points, half a length away, are missed.
    true = np.array([[0.0, 0, 0], [0.5, 0, 0]])
    chamfer, f_score = shape_error.compare_points(true[:1], true, 1.0)
    assert chamfer == pytest.approx(100 * (0 + 0.25) / 2)
    assert f_score == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_umeyama_finds_a_similarity_and_no_mirror_image() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(50, 3))
    rotation = Rotation.from_euler("xyz", [20, 130, -70], degrees=True).as_matrix()
    target = 1.7 * source @ rotation.T + [1, 2, 3]
    found = shape_error.fit_similarity(source, target)
    assert found.scale == pytest.approx(1.7)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(found.apply(source), target, atol=1e-12)
    mirrored = shape_error.fit_similarity(source, source * [-1, 1, 1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)


def test_alignment_undoes_a_moderate_similarity() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(800, 3)) * [0.3, 0.6, 1.5]
    true[:200] += [0, 1, 1]
    rotation = Rotation.from_euler("xyz", [8, 12, -5], degrees=True).as_matrix()
    predicted = (0.8 * true @ rotation.T + [0.4, -0.2, 0.3])[::-1]
    before, _ = shape_error.compare_points(predicted, true, 4.0)
    moved = shape_error.align(predicted, true).apply(predicted)
    after, _ = shape_error.compare_points(moved, true, 4.0)
    assert before > 3
    assert after < 0.05


def test_alignment_survives_a_single_place() -> None:
    moved = shape_error.align(np.ones((5, 3)), _SQUARE).apply(np.ones((5, 3)))
    assert np.isfinite(moved).all()
