"""Marching tetrahedra against the original's meshes, and what a mesh must be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.marching_tets import marching_tets, sign_change_edges, signed_volume
from pony_jax.ops.tet_grid import box_lattice, grid_from_tets, lattice_grid

CASES = ("ellipsoid", "mlp", "torus", "twoblobs")


@pytest.fixture(scope="module")
def data(golden):
    return golden("model_02_dmtet")


@pytest.fixture(scope="module")
def own_grid(data):
    # The stored grid is in unit coordinates; the original scales it by grid_scale = 7.
    return grid_from_tets(data["gridown/vertices"], data["gridown/indices"])


def test_edges_equal_the_original(data, own_grid):
    np.testing.assert_array_equal(own_grid.edges, data["gridown/all_edges"])


@pytest.mark.parametrize("case", CASES)
def test_mesh_and_gradient_equal_the_original(data, own_grid, case):
    sdf = jnp.asarray(data[f"marchown_{case}/in/sdf"][:, 0])
    verts, faces = data[f"marchown_{case}/verts"], data[f"marchown_{case}/faces"]
    v, f = len(verts), len(faces)
    scale = _scale(data, own_grid, case)
    grid_verts = jnp.asarray(own_grid.verts * scale)
    mesh = jax.jit(lambda s: marching_tets(s, grid_verts, own_grid, v + 9, f + 7))(sdf)
    assert (int(mesh.vert_count), int(mesh.face_count)) == (v, f)
    np.testing.assert_array_equal(mesh.faces[:f], faces)
    np.testing.assert_array_equal(mesh.faces[f:], -1)
    # A weighted mean of coordinates up to 3.5: a few float32 roundings.
    np.testing.assert_allclose(mesh.verts[:v], verts, atol=2e-6)
    np.testing.assert_array_equal(mesh.verts[v:], 0)

    cotangent = jnp.asarray(data[f"marchown_{case}/cot"])

    def weighted(sdf):
        return jnp.sum(marching_tets(sdf, grid_verts, own_grid, v + 9, f + 7).verts[:v] * cotangent)

    gradient = jax.grad(weighted)(sdf)
    expected = data[f"marchown_{case}/g/in/sdf"][:, 0]
    # Divided by sdf differences that may be small: relative to the largest entry.
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


def _scale(data, grid, case):
    """World units per grid unit, from one vertex of the stored mesh's bounding box."""
    sdf = jnp.asarray(data[f"marchown_{case}/in/sdf"][:, 0])
    v, f = len(data[f"marchown_{case}/verts"]), len(data[f"marchown_{case}/faces"])
    unit = marching_tets(sdf, jnp.asarray(grid.verts), grid, v, f).verts
    return np.round(np.abs(data[f"marchown_{case}/verts"]).max() / np.abs(unit).max(), 3)


def test_zero_counts_as_outside(data, own_grid):
    sdf = jnp.asarray(data["zeros_own/in/sdf"][:, 0])
    faces = data["zeros_own/faces"]
    verts = data["zeros_own/verts"]
    mesh = marching_tets(sdf, jnp.asarray(own_grid.verts), own_grid, len(verts), len(faces))
    np.testing.assert_array_equal(mesh.faces, faces)
    assert int(mesh.vert_count) == len(verts)
    changes = np.sign(sdf)[own_grid.edges]
    np.testing.assert_array_equal(sign_change_edges(sdf, own_grid), changes[:, 0] != changes[:, 1])


def _sphere(resolution=16, radius=0.31):
    grid = lattice_grid(box_lattice(resolution, (1.0, 1.0, 1.0)))
    verts = jnp.asarray(grid.verts)
    return grid, verts, radius - jnp.linalg.norm(verts + 1e-4, axis=-1)


def test_mesh_is_closed_and_wound_inwards():
    grid, verts, sdf = _sphere()
    mesh = marching_tets(sdf, verts, grid, 2048, 4096)
    faces = np.asarray(mesh.faces[: mesh.face_count])
    halves = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    directed = {tuple(h) for h in halves}
    assert len(directed) == len(halves)
    assert all((b, a) in directed for a, b in directed)
    # Euler characteristic of a sphere
    assert int(mesh.vert_count) - len(halves) // 2 + len(faces) == 2
    # A mesh of chords lies inside the sphere; 6 % at 5 edges a radius
    np.testing.assert_allclose(-signed_volume(mesh), 4 / 3 * np.pi * 0.31**3, rtol=0.06)


def test_counts_are_those_wanted_when_a_buffer_is_too_small():
    grid, verts, sdf = _sphere()
    full = marching_tets(sdf, verts, grid, 2048, 4096)
    v, f = int(full.vert_count), int(full.face_count)
    exact = marching_tets(sdf, verts, grid, v, f)
    np.testing.assert_array_equal(exact.verts, full.verts[:v])
    np.testing.assert_array_equal(exact.faces, full.faces[:f])
    small = marching_tets(sdf, verts, grid, v - 1, f - 1)
    assert (int(small.vert_count), int(small.face_count)) == (v, f)
    assert int(small.faces.max()) < v - 1


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_empty_mesh_has_finite_zero_gradient(value):
    grid = lattice_grid(box_lattice(4, (1.0, 1.0, 1.0)))
    sdf = jnp.full(len(grid.verts), value)
    mesh = marching_tets(sdf, jnp.asarray(grid.verts), grid, 8, 8)
    assert int(mesh.vert_count) == 0 and int(mesh.face_count) == 0
    np.testing.assert_array_equal(mesh.faces, -1)
    gradient = jax.grad(
        lambda s: marching_tets(s, jnp.asarray(grid.verts), grid, 8, 8).verts.sum()
    )(sdf)
    np.testing.assert_array_equal(gradient, 0)
