"""Kernels of marching against the plain functions: equal whole numbers for any capacities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.kernels import lattice
from pony_jax.kernels.library import call
from pony_jax.ops.sparse_marching_tets import SparseMesh, sparse_marching_tets
from pony_jax.ops.substitution import without_substitutes
from pony_jax.ops.tet_grid import box_lattice

LATTICE = box_lattice(16, (3.0, 4.0, 5.0))


def blobs(points: jax.Array, size: float) -> jax.Array:
    """Four pieces, symmetric in x = 0, that reach the border where they are large."""
    x, y, z = jnp.abs(points[:, 0]), points[:, 1], points[:, 2]
    pieces = [
        size - jnp.sqrt((x - 0.6) ** 2 + (y - 0.2 * i) ** 2 + (z - i) ** 2) for i in (-1.0, 1.0)
    ]
    return jnp.maximum(*pieces)


def meshes(mirror: bool, **capacities: int) -> list[SparseMesh]:
    """Of blobs from none at all to more than the lattice."""
    shift = jnp.array([0.0, 0.03, 0.02])

    @jax.jit
    def run(size):
        how = ENOUGH | capacities

        def field(points, count):
            return blobs(points, size)

        return sparse_marching_tets(field, LATTICE, shift, mirror=mirror, **how)

    return [run(size) for size in (-1.0, 0.4, 0.7, 1.2, 30.0)]


ENOUGH = {"max_blocks": 800, "max_points": 4000, "max_verts": 4000, "max_faces": 8000}


@pytest.mark.parametrize(
    ("mirror", "capacities"),
    [(True, {}), (False, {}), (True, {"max_verts": 151}), (False, {"max_faces": 77})],
)
def test_meshes_equal_xla(mirror, capacities):
    got = meshes(mirror, **capacities)
    with without_substitutes():
        expected = meshes(mirror, **capacities)
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.mesh.verts, e.mesh.verts, atol=1e-6)
        for whole, expected_whole in zip(a.mesh[1:] + a[1:], e.mesh[1:] + e[1:], strict=True):
            np.testing.assert_array_equal(whole, expected_whole)
    counts = [int(a.mesh.face_count) for a in got]
    assert counts[0] == 0 < counts[1] < counts[2] < counts[3] <= ENOUGH["max_faces"]


def whole(*shape):
    return jnp.zeros(shape, jnp.int32)


def find(inside, points, blocks, max_cells, num_blocks):
    """The cells by tables of any kind."""
    results = jax.eval_shape(
        lambda: lattice.cells_at_surface(
            inside, whole(*inside.shape), max_cells=max_cells, num_blocks=num_blocks
        )
    )
    return call("LatticeCells", jax.tree.leaves(results), inside, points, blocks)


def march(cells, tables, max_verts, max_faces):
    shapes = (max_verts,), (), (max_faces, 3), ()
    results = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes]
    return call("LatticeMarch", results, *cells, *tables)


def test_wrong_shapes_are_refused():
    inside = jnp.zeros((2, 3, 4, 5), bool)
    with pytest.raises(Exception, match=r"points: expected shape \[12,4\], got \[12,3\]"):
        find(inside, whole(12, 3), whole(2, 3, 4, 5), 9, 3)
    with pytest.raises(Exception, match=r"groups: expected shape .* got \[2,2,4,5\]"):
        find(inside, whole(12, 4), whole(2, 2, 4, 5), 9, 3)
    with pytest.raises(Exception, match=r"inside: expected shape .* with a cell, got \[2,3,1,5\]"):
        find(inside[:, :, :1], whole(12, 4), whole(2, 3, 1, 5), 9, 3)
    tables = [whole(14, 2), whole(12, 4), whole(12, 6, 2), whole(16, 2, 3)]
    with pytest.raises(Exception, match=r"index: expected .* with room for a cell, got \[0\]"):
        march((whole(0), whole(0), whole(9)), tables, 3, 3)
    with pytest.raises(Exception, match=r"tets: expected shape \[12,4\], got \[12,5\]"):
        tables[1] = whole(12, 5)
        march((whole(5), whole(5), whole(9)), tables, 3, 3)


def test_wrong_tables_lead_out_of_no_array():
    rng = np.random.default_rng(0)

    def wild(*shape):
        return jnp.asarray(rng.integers(-(2**31), 2**31, shape), jnp.int32)

    inside = jnp.asarray(rng.random((2, 4, 5, 6)) > 0.5)
    *cells, touched = find(inside, wild(12, 4), wild(2, 4, 5, 6), 30, 7)
    assert touched.shape == (7,) and int(cells[3]) <= 60
    tables = [wild(14, 2), wild(12, 4), wild(12, 6, 2), wild(16, 2, 3)]
    made = march((wild(30), wild(30), wild(60)), tables, 50, 60)
    assert int(jnp.max(made[2])) < 50
