"""The sparse mesh against the dense reference: same vertices, faces and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.model.prior import Prior
from pony_jax.ops.marching_tets import marching_tets, signed_volume
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.sparse_marching_tets import (
    closing_distance,
    dense_marching_tets,
    sparse_marching_tets,
)
from pony_jax.ops.tet_grid import box_lattice, lattice_grid

LATTICES = {
    "default": box_lattice(40, (1.9, 4.4, 4.8)),
    "odd": box_lattice(30, (5.0, 7.0, 6.0)),
    "cube": box_lattice(32, (7.0, 7.0, 7.0)),
}
SIZES = {"max_blocks": 2000, "max_points": 8192, "max_verts": 8192, "max_faces": 16384}
SHIFT = jnp.array([0.0, 0.017, 0.017])


def dense(field, lattice, shift) -> Mesh:
    """The field at every vertex of the lattice, then marching through every tetrahedron."""
    grid = lattice_grid(lattice)
    halves = np.rint(grid.verts / (lattice.side / 2)).astype(int)
    sdf = jnp.minimum(field(grid.verts + shift), closing_distance(halves, lattice))
    return marching_tets(sdf, grid.verts + shift, grid, SIZES["max_verts"], SIZES["max_faces"])


def sparse(field, lattice, shift, mirror=True, **capacities):
    def unpadded(points, count):
        return field(points)

    return sparse_marching_tets(unpadded, lattice, shift, mirror=mirror, **SIZES | capacities)


def horse(points, thin=0.15):
    """A body on four legs, symmetric in x = 0."""
    p = points.at[:, 0].set(jnp.abs(points[:, 0]))
    body = 0.7 - jnp.linalg.norm((p - jnp.array([0, 0.3, 0])) / jnp.array([1, 1, 2]), axis=-1)
    legs = []
    for z in (1.0, -1.0):
        around = jnp.linalg.norm((p - jnp.array([0.3, 0.0, z]))[:, ::2] + 1e-6, axis=-1)
        legs.append(jnp.minimum(thin - around, 1.2 - jnp.abs(p[:, 1] + 0.5)))
    return jnp.maximum(body, jnp.maximum(*legs))


def assert_same_mesh(mesh, expected, atol=4e-6):
    assert (int(mesh.vert_count), int(mesh.face_count)) == (
        int(expected.vert_count),
        int(expected.face_count),
    )
    np.testing.assert_array_equal(mesh.faces, expected.faces)
    # Points and weights are the same operations, fused in another order: some float32 roundings
    # of coordinates up to 3.5, more where an edge's ends hardly differ.
    np.testing.assert_allclose(mesh.verts, expected.verts, atol=atol)


@pytest.mark.parametrize(
    ("name", "mirror"), [("default", True), ("default", False), ("odd", False), ("cube", True)]
)
def test_equals_the_dense_mesh(name, mirror):
    lattice = LATTICES[name]
    result = jax.jit(lambda shift: sparse(horse, lattice, shift, mirror))(SHIFT)
    expected = jax.jit(lambda shift: dense(horse, lattice, shift))(SHIFT)
    assert int(expected.face_count) > 500
    assert_same_mesh(result.mesh, expected)
    # Most of the lattice was not looked at.
    assert int(result.block_count) * 16 < 0.5 * len(lattice_grid(lattice).verts)


@pytest.mark.parametrize("mirror", [True, False])
def test_the_dense_march_folds_what_is_symmetric(mirror):
    lattice = LATTICES["odd"]
    sizes = {name: SIZES[name] for name in ("max_verts", "max_faces")}
    result = jax.jit(
        lambda shift: dense_marching_tets(
            lambda points, count: horse(points), lattice, shift, mirror=mirror, **sizes
        )
    )(SHIFT)
    assert_same_mesh(result.mesh, jax.jit(lambda shift: dense(horse, lattice, shift))(SHIFT))
    assert (int(result.block_count), int(result.point_count), int(result.steep_count)) == (0, 0, 0)


def test_blocks_that_a_steep_field_may_hide_a_surface_in_are_counted():
    lattice = LATTICES["cube"]

    def ball(centre, slope):
        # Steep around a ball that is smaller than a block and lies far from the other one. No
        # steeper than that blocks' middles, the nearest .58 away, still lie on its slope.
        def field(points):
            far = 1.5 - jnp.linalg.norm(points - jnp.array([0.0, 0.0, -1.5]), axis=-1)
            near = slope * (0.25 - jnp.linalg.norm(points - centre, axis=-1))
            return jnp.maximum(far, near)

        return field

    centre = jnp.array([0.0, 0.1, 2.5])
    gentle, steep = (sparse(ball(centre, slope), lattice, SHIFT) for slope in (1.0, 4.0))
    assert int(gentle.steep_count) == 0
    assert int(steep.steep_count) > 0
    assert int(steep.mesh.face_count) < int(gentle.mesh.face_count)  # it is missed, and told


def test_a_prior_makes_the_same_mesh_in_either_way():
    prior, params = _random_prior(0)

    def mesh(march):
        shape = prior.clone(march=march).apply({"params": params}, 40, method="shape", **SIZES)
        return shape.mesh

    assert_same_mesh(jax.jit(mesh, static_argnums=0)("sparse"), mesh("dense"))
    with pytest.raises(ValueError, match=r"march: expected one of .*'dense'.*, got 'dance'"):
        mesh("dance")


def _random_prior(seed):
    prior = Prior(
        grid_scale=7.0,
        grid_extent=(1.9, 4.4, 4.8),
        sdf_start="ellipsoid",
        ellipsoid=(0.4, 1.0, 1.8),
        sdf_constant=0.0,
        sdf_hidden=32,
        sdf_layers=3,
        sdf_frequencies=4,
        sdf_mirror=True,
        feature_dim=4,
        feature_hidden=8,
        feature_layers=2,
        feature_frequencies=2,
        feature_mirror=True,
        march="auto",
    )
    return prior, prior.init(jax.random.key(seed), jnp.zeros((1, 3)))["params"]


@functools.cache
def _both_ways():
    prior = _random_prior(0)[0]
    lattice = box_lattice(40, prior.grid_extent)
    weight = jax.random.normal(jax.random.key(7), (SIZES["max_verts"], 3))

    def of_sparse(params):
        shape = prior.apply({"params": params}, 40, shift_yz=0.02, method="shape", **SIZES)
        return jnp.sum(shape.mesh.verts * weight), shape.mesh

    def of_dense(params):
        sdf, variables = prior.bind({"params": params}).sdf.unbind()
        shift = jnp.array([0.0, 0.02, 0.02])
        mesh = dense(lambda points: sdf.apply(variables, points), lattice, shift)
        return jnp.sum(mesh.verts * weight), mesh

    return tuple(jax.jit(jax.value_and_grad(f, has_aux=True)) for f in (of_sparse, of_dense))


@pytest.mark.parametrize("seed", range(4))
def test_a_prior_and_its_gradient_equal_the_dense_ones(seed):
    _, params = _random_prior(seed)
    ((_, mesh), gradient), ((_, expected), dense_gradient) = (f(params) for f in _both_ways())
    assert int(expected.face_count) > 300
    assert_same_mesh(mesh, expected)
    for leaf, dense_leaf in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(dense_gradient), strict=True
    ):
        # Sums over some thousand points in float32, in another order.
        scale = float(jnp.abs(dense_leaf).max())
        np.testing.assert_allclose(leaf, dense_leaf, atol=1e-5 * scale)


@pytest.mark.parametrize("seed", range(4))
def test_a_rough_prior_of_many_pieces_equals_the_dense_one(seed):
    params = jax.tree.map(lambda leaf: 2.0 * leaf, _random_prior(seed)[1])
    ((_, mesh), _), ((_, expected), _) = (f(params) for f in _both_ways())
    assert 1000 < int(expected.face_count) <= SIZES["max_faces"]
    # Layers of twice the weights pass on roundings of points up to 64 times as large: 5.6e-6 seen.
    assert_same_mesh(mesh, expected, atol=1e-5)


def test_the_surface_is_followed_where_the_field_is_steeper_than_expected():
    lattice = LATTICES["default"]

    def steep(points):
        return 20.0 * horse(points)

    assert_same_mesh(
        jax.jit(lambda s: sparse(steep, lattice, s))(SHIFT).mesh,
        jax.jit(lambda s: dense(steep, lattice, s))(SHIFT),
    )


def test_the_mesh_is_closed_where_the_shape_reaches_beyond_the_lattice():
    lattice = box_lattice(12, (1.0, 1.4, 2.0))
    mesh = sparse(lambda points: jnp.full(len(points), 9.0), lattice, jnp.zeros(3)).mesh
    faces = np.asarray(mesh.faces[: mesh.face_count])
    halves = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    directed = {tuple(edge) for edge in halves}
    assert len(directed) == len(halves) > 0
    assert all((b, a) in directed for a, b in directed)
    # The box through the outermost centres, half a cube in on each side. Float32 coordinates.
    inner = (np.array(lattice.num_cubes) - 1) * lattice.side
    np.testing.assert_allclose(np.abs(mesh.verts).max(axis=0), inner / 2, rtol=1e-5)
    np.testing.assert_allclose(-signed_volume(mesh), np.prod(inner), rtol=1e-5)


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_an_empty_mesh_has_finite_zero_gradient(value):
    lattice = LATTICES["default"]

    def total(level):
        return jnp.sum(sparse(lambda p: jnp.full(len(p), level), lattice, SHIFT).mesh.verts)

    result = sparse(lambda p: jnp.full(len(p), value), lattice, SHIFT)
    assert int(result.mesh.vert_count) == int(result.mesh.face_count) == 0
    np.testing.assert_array_equal(result.mesh.faces, -1)
    assert float(jax.grad(total)(value)) == 0


def test_counts_are_those_wanted_when_a_buffer_is_too_small():
    lattice = LATTICES["default"]
    run = jax.jit(
        lambda blocks, points, verts, faces: sparse(
            horse,
            lattice,
            SHIFT,
            max_blocks=blocks,
            max_points=points,
            max_verts=verts,
            max_faces=faces,
        ),
        static_argnums=(0, 1, 2, 3),
    )
    full = run(*SIZES.values())
    blocks, points = int(full.block_count), int(full.point_count)
    verts, faces = int(full.mesh.vert_count), int(full.mesh.face_count)
    exact = run(blocks, points, verts, faces)
    # The field's operations are fused in another way for another number of points.
    np.testing.assert_allclose(exact.mesh.verts, full.mesh.verts[:verts], atol=4e-6)
    np.testing.assert_array_equal(exact.mesh.faces, full.mesh.faces[:faces])
    assert int(run(blocks - 1, points, verts, faces).block_count) > blocks - 1
    assert int(run(blocks, points - 1, verts, faces).point_count) == points
    fewer = run(blocks, points, verts - 1, faces - 1).mesh
    assert int(fewer.vert_count) == verts and int(fewer.face_count) == faces
    assert int(fewer.faces.max()) < verts - 1
    # Fewer than there are cells at the surface.
    assert int(run(blocks, points, 100, faces).mesh.vert_count) > 100
