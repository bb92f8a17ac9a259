"""The lattice fills its box, has no duplicate edge, and mirrors."""

import numpy as np
import pytest

from pony_jax.ops.tet_grid import LOCAL_POINTS, TET_EDGES, box_lattice, lattice_grid


def _volumes(grid):
    p = grid.verts[grid.tets].astype(np.float64)
    return np.linalg.det(p[:, 1:] - p[:, :1]) / 6


@pytest.mark.parametrize(
    ("resolution", "extent"), [(2, (1.0, 1.0, 1.0)), (8, (7.0, 7.0, 7.0)), (12, (2.6, 4.4, 5.0))]
)
def test_fills_the_box_with_positive_tets(resolution, extent):
    lattice = box_lattice(resolution, extent)
    grid = lattice_grid(lattice)
    size = np.array(lattice.num_cubes) * lattice.side
    # A pyramid of half a cube's height stands on each outer face of an outer cube.
    x, y, z = lattice.num_cubes
    pyramids = 2 * (x * y + y * z + z * x) * lattice.side**3 / 6
    volumes = _volumes(grid)
    assert np.all(volumes > 0)
    # float32 vertices: relative rounding of 1e-7 a coordinate
    np.testing.assert_allclose(volumes.sum(), np.prod(size) - pyramids, rtol=1e-5)
    np.testing.assert_allclose(grid.verts.max(axis=0), size / 2, rtol=1e-6)
    np.testing.assert_allclose(grid.verts.min(axis=0), -size / 2, rtol=1e-6)


def test_edges_are_sorted_unique_and_match_the_tets():
    grid = lattice_grid(box_lattice(6, (1.0, 2.0, 3.0)))
    keys = grid.edges[:, 0].astype(np.int64) * len(grid.verts) + grid.edges[:, 1]
    assert np.all(np.diff(keys) > 0)
    assert np.all(grid.edges[:, 0] < grid.edges[:, 1])
    expected = np.sort(grid.tets[:, np.array(TET_EDGES)], axis=-1)
    np.testing.assert_array_equal(grid.edges[grid.tet_edges], expected)


def test_inner_faces_are_shared_by_two_tets():
    lattice = box_lattice(8, (1.0, 1.0, 1.0))
    grid = lattice_grid(lattice)
    corners = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    faces = np.sort(grid.tets[:, corners].reshape(-1, 3), axis=-1)
    unique, count = np.unique(faces, axis=0, return_counts=True)
    # Faces between the outermost centres and the box have nothing on their other side.
    outermost = np.abs(grid.verts[unique]).max(axis=(1, 2)) > 0.5 - 0.6 * lattice.side
    np.testing.assert_array_equal(count[~outermost], 2)
    assert count.max() == 2 and np.sum(~outermost) > 100


def test_vertices_are_mirror_images():
    verts = lattice_grid(box_lattice(6, (2.0, 3.0, 3.0))).verts
    as_set = {tuple(v) for v in np.rint(verts * 1e4).astype(int)}
    mirrored = {(-x, y, z) for x, y, z in as_set}
    assert as_set == mirrored


def test_a_neighbourhood_is_in_the_order_of_the_vertices():
    # On a lattice of one cube more than it spans, so that no number is left out between.
    cells = np.array([3, 4, 5])
    cell = LOCAL_POINTS[:, :3] @ [cells[1] * cells[2], cells[2], 1]
    assert np.all(np.diff(2 * cell + LOCAL_POINTS[:, 3]) > 0)


@pytest.mark.parametrize(
    ("resolution", "extent", "message"),
    [
        (5, (1.0, 1.0, 1.0), "expected an even number >= 2, got 5"),
        (0, (1.0, 1.0, 1.0), "expected an even number >= 2, got 0"),
        (4, (1.0, 0.0, 1.0), "expected three positive lengths"),
    ],
)
def test_bad_input(resolution, extent, message):
    with pytest.raises(ValueError, match=message):
        box_lattice(resolution, extent)
