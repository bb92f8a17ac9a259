"""Kernels of the geometry against the plain functions: edge sizes, padding, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.kernels import skinning, surface
from pony_jax.model.render import Shaded, Surface, find_surface, lit_values
from pony_jax.ops.bones import Skeleton, estimate_bones
from pony_jax.ops.cameras import camera_from_pose
from pony_jax.ops.skinning import skin, skinning_weights
from pony_jax.ops.substitution import without_substitutes
from pony_jax.ops.surface import shaded_values
from rasterizer_ffi.library import load_library
from tests.kernels.kernel_checks import gradient_program

SIZE = 16
NO_FACES, ONE_FACE = jnp.full((2, 3), -1), jnp.array([[0, 1, 2], [-1, -1, -1]])


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def matrices(*shape: int) -> jax.Array:
    return jnp.eye(4) + 0.3 * normal(1, *shape, 4, 4)


def assert_equals_plain(function, *args):
    """Of the largest, or 1: sums of terms that cancel are as uncertain as the terms."""
    assert_program_equals_plain(gradient_program(function, *args), *args)


def assert_program_equals_plain(program, *args):
    got = program(*args)
    with without_substitutes():
        expected = program(*args)
    for a, e in zip(got, expected, strict=True):
        scale = max(1.0, float(np.max(np.abs(e), initial=0.0)))
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("b, v, k", [(1, 1, 1), (3, 37, 20), (2, 1500, 5), (2, 0, 4)])
def test_skinning_equals_the_plain_one(b, v, k):
    verts, bones = normal(0, b, v, 3), normal(2, b, k, 2, 3).at[0, 0, 1].set(0.5)
    bones = bones.at[0, 0, 0].set(0.5)  # no length

    def run(verts, bones, transforms):
        weights = skinning_weights(verts, bones, 0.05)
        return weights, skin(verts, weights, transforms)

    assert_equals_plain(run, verts, bones, matrices(b, k))
    weights = skinning_weights(verts, bones, 0.05)
    np.testing.assert_allclose(jnp.sum(weights, axis=-1), 1.0, atol=1e-6)


def test_skinning_leaves_out_padding():
    """Vertices from the count on are 0 and have no gradient; those before are what they were."""
    b, v, k = 3, 37, 20
    verts, bones, transforms = normal(0, b, v, 3), normal(2, b, k, 2, 3), matrices(b, k)

    def run(verts, transforms, count):
        weights = skinning_weights(verts, bones, 0.05, count)
        return weights, skin(verts, weights, transforms, count)

    of_all = gradient_program(lambda *args: run(*args, None), verts, transforms)(verts, transforms)
    program = gradient_program(run, verts, transforms, jnp.int32(0))
    for count in (-1, 0, 1, 21, 37, 50):
        args = verts, transforms, jnp.int32(count)
        assert_program_equals_plain(program, *args)
        *results, by_verts, _ = program(*args)
        used = min(max(count, 0), v)
        for got, expected in zip(results, of_all[:2], strict=True):
            np.testing.assert_array_equal(got[:, :used], expected[:, :used])
            np.testing.assert_array_equal(got[:, used:], 0.0)
        np.testing.assert_array_equal(by_verts[:, used:], 0.0)


def test_weights_of_far_bones_vanish():
    """Far below the smallest float: 0, not what its bits would overflow to."""
    bones = jnp.zeros((1, 2, 2, 3)).at[0, 1].set(50.0)
    np.testing.assert_array_equal(
        skinning_weights(jnp.zeros((1, 3, 3)), bones, 0.05), [[[1.0, 0.0]] * 3]
    )


def test_weights_are_constants_for_skin():
    weights = jax.nn.softmax(normal(3, 2, 9, 4))

    def total(weights):
        return jnp.sum(skin(normal(0, 2, 9, 3), weights, matrices(2, 4)))

    np.testing.assert_array_equal(jax.grad(total)(weights), 0.0)
    with without_substitutes():
        np.testing.assert_array_equal(jax.grad(total)(weights), 0.0)


@pytest.mark.parametrize("b", [1, 3])
@pytest.mark.parametrize("body_from", ["z_minmax", "z_minmax_y+"])
def test_bones_equal_the_plain_ones(b, body_from):
    verts = jnp.round(8 * normal(0, b, 310, 3)) / 8  # with ties, and on the planes of symmetry
    skeleton = Skeleton(body_from=body_from)

    @jax.jit
    def run(verts, valid):
        def total(verts):
            bones, attachments = estimate_bones(verts, valid, skeleton, None)
            return jnp.sum(bones), (bones, attachments)

        return jax.grad(total, has_aux=True)(verts)

    for num_valid in (0, 1, 2, 300):
        grad, (got, attachments) = run(verts, jnp.arange(310) < num_valid)
        with without_substitutes():
            _, (bones, expected) = run(verts, jnp.arange(310) < num_valid)
        np.testing.assert_array_equal(attachments, expected)
        np.testing.assert_allclose(got, bones, atol=1e-6)
        np.testing.assert_array_equal(grad, 0.0)


def test_the_mean_of_many_vertices_is_exact():
    verts = 1 + normal(0, 2, 30_000, 3)
    valid = jnp.ones(30_000, bool)
    mean, *_ = skinning.landmarks(verts, valid, above_feet=True)
    exact = np.mean(np.asarray(verts, np.float64), axis=1)
    # Half a unit in the last place of float32; summed one after the other it is off by 1.6e-6.
    np.testing.assert_allclose(mean, exact, rtol=0, atol=0.5 * 2**-23 * 1.01)


def sphere(rings: int = 5, sectors: int = 7) -> tuple[jax.Array, jax.Array]:
    """Vertices and faces of a bumpy sphere; two more vertices and faces are padding."""
    angle, turn = np.meshgrid(
        np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, sectors), indexing="ij"
    )
    points = np.stack([np.sin(angle) * np.cos(turn), np.cos(angle), np.sin(angle) * np.sin(turn)])
    points = points.reshape(3, -1).T + 0.05 * np.asarray(normal(5, rings * sectors, 3))
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(sectors - 1), indexing="ij")
    a = (i * sectors + j).reshape(-1)
    faces = np.concatenate(
        [np.stack([a, a + 1, a + sectors], 1), np.stack([a + 1, a + 1 + sectors, a + sectors], 1)]
    )
    verts = np.concatenate([points, np.zeros((2, 3))])
    faces = np.concatenate([faces, np.full((2, 3), -1)])
    return jnp.asarray(verts, jnp.float32), jnp.asarray(faces, jnp.int32)


PIXEL_COUNT = 4  # its place among the arrays of the following function's results


def surface_of(faces, *, samples: int, max_pixels: int):
    def run(verts, rest, translation):
        rotation = jnp.broadcast_to(jnp.eye(3), (len(verts), 3, 3))
        camera = camera_from_pose(rotation, translation, distance=10.0, fov_y_deg=25.0)
        how = {"image_size": SIZE, "samples": samples, "max_pixels": max_pixels}
        surface = find_surface(verts, rest, faces, camera, **how).surface
        return surface.point_rest, surface.normal_cam, surface[:2], surface.pixel_count

    return run


def scene(b: int) -> tuple[jax.Array, ...]:
    rest, faces = sphere()
    verts = rest + 0.05 * normal(0, b, *rest.shape)
    return verts, rest, 0.2 * normal(6, b, 3), faces


@pytest.mark.parametrize(("b", "samples"), [(3, 1), (1, 2), (1, 3), (3, 3)])
def test_surface_equals_the_plain_one(b, samples):
    *args, faces = scene(b)
    run = surface_of(faces, samples=samples, max_pixels=b * SIZE**2 - 5)
    program = gradient_program(run, *args)
    assert program(*args)[PIXEL_COUNT] > 30 * b
    assert_program_equals_plain(program, *args)


@pytest.mark.parametrize("max_pixels", [0, 1, 60])
def test_surface_over_its_capacity_equals_the_plain_one(max_pixels):
    *args, faces = scene(3)
    assert_equals_plain(surface_of(faces, samples=2, max_pixels=max_pixels), *args)


@pytest.mark.parametrize("faces", [NO_FACES, ONE_FACE])
def test_surface_of_hardly_a_mesh_equals_the_plain_one(faces):
    verts, rest, translation, _ = scene(2)
    verts = verts.at[:, :3].set(jnp.array([[-1.0, -1, 0], [1, -1, 0.3], [0, 1, 0]]))
    run = surface_of(faces, samples=2, max_pixels=400)
    program = gradient_program(run, verts, rest, translation)
    assert (program(verts, rest, translation)[PIXEL_COUNT] > 0) == (faces is ONE_FACE)
    assert_program_equals_plain(program, verts, rest, translation)


def lit(count: int, num_images: int):
    """Values of the points before `count`, which belong to the images in turn."""

    def run(albedo, feature, normal_cam, light):
        n = len(albedo)
        image = jnp.sort(jnp.arange(n, dtype=jnp.int32) % num_images)
        nothing = jnp.zeros((n, 0))
        surface = Surface(image, image, nothing, normal_cam, jnp.int32(count))
        return lit_values(surface, Shaded(albedo, feature, light))[: min(count, n)]

    return run


def points_and_light(n: int, c: int, b: int) -> tuple[jax.Array, ...]:
    return normal(0, n, 3), normal(1, n, c), normal(2, n, 3), normal(3, b, 5)


@pytest.mark.parametrize(
    "n, count, c, b",
    [
        (0, 0, 16, 3),
        (1, 1, 0, 1),
        (30, 0, 16, 3),
        (30, 17, 0, 1),
        (30, 17, 16, 3),
        (30, 40, 16, 3),
        (2500, 2100, 16, 3),
    ],
)
def test_lit_values_equal_the_plain_ones(n, count, c, b):
    assert_equals_plain(lit(count, b), *points_and_light(n, c, b))


def test_lit_values_by_hand():
    """Light from in front of one point and from behind the other; a third is padding."""
    albedo = jnp.array([[0.5, 0.25, 1.0]] * 3)
    normals = jnp.array([[0.0, 0, 1], [0, 0, -1], [0, 0, 1]])
    light = jnp.array([[0.0, 0.6, 0.8, 0.3, 0.5]])
    image, count = jnp.zeros(3, jnp.int32), jnp.int32(2)
    arrays = albedo, normal(0, 3, 2), normals, light
    out, pull = jax.vjp(lambda *arrays: shaded_values(*arrays, image, count), *arrays)
    expected = np.zeros((3, 6), np.float32)
    expected[0, :3], expected[1, :3] = albedo[0] * (0.3 + 0.5 * 0.8), albedo[1] * 0.3
    expected[:2, 3], expected[:2, 4:] = 1.0, arrays[1][:2]
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    by_albedo, by_feature, by_normal, by_light = pull(jnp.ones_like(out))
    np.testing.assert_allclose(by_albedo[:, 0], [0.7, 0.3, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(by_feature, [[1, 1], [1, 1], [0, 0]])
    np.testing.assert_allclose(by_normal[0], 1.75 * 0.5 * light[0, :3], rtol=1e-6)
    np.testing.assert_array_equal(by_normal[1:], 0.0)
    # The sum of an albedo is 1.75.
    np.testing.assert_allclose(by_light, [[0, 0, 1.75 * 0.5, 2 * 1.75, 1.75 * 0.8]], rtol=1e-6)


def test_unknown_instruction_sets_are_refused(monkeypatch):
    monkeypatch.setenv("PONY_JAX_ISA", "avx2")
    with pytest.raises(ValueError, match=r"PONY_JAX_ISA: expected one of .*'v4'\), got 'avx2'"):
        load_library("libpony_cpu.so", "pony_jax.kernels", isa_variable="PONY_JAX_ISA")


def test_wrong_shapes_are_refused():
    verts, mats, count = jnp.zeros((2, 5, 3)), jnp.zeros((2, 4, 4, 4)), jnp.int32(5)
    with pytest.raises(Exception, match=r"bones: expected shape \[b,k,2,3\], got \[1,4,2,3\]"):
        skinning.bone_shares(verts, jnp.zeros((1, 4, 2, 3)), count, temperature=0.1)
    with pytest.raises(Exception, match=r"transforms: expected shape \[b,k,4,4\], got \[2,4,4,4"):
        skinning.skin(verts, jnp.zeros((2, 5, 6)), mats, count)
    with pytest.raises(Exception, match=r"count: expected shape \[\] or \[0\], got \[2\]"):
        skinning.skin(verts, jnp.zeros((2, 5, 4)), mats, jnp.zeros(2, jnp.int32))
    with pytest.raises(Exception, match=r"valid: expected shape \[v\], got \[4\]"):
        skinning.landmarks(verts, jnp.ones(4, bool), above_feet=True)
    coverage, faces = jnp.zeros((2, 5, 4, 4)), jnp.zeros((1, 3), jnp.int32)
    args = verts, verts[0], jnp.zeros((2, 4, 4)), coverage, faces
    with pytest.raises(Exception, match=r"with whole pixels, got \[2,5,4,4\]"):
        surface.forward(*args, samples=2, max_pixels=9)
    albedo, feature, normals, light = points_and_light(4, 2, 1)
    where = jnp.zeros(4, jnp.int32), jnp.int32(4)
    with pytest.raises(Exception, match=r"feature: expected shape \[n,c\], got \[3,2\]"):
        surface.values(albedo, feature[:3], normals, light, *where)
    with pytest.raises(Exception, match=r"light: expected shape .* image or more, got \[0,5\]"):
        surface.values(albedo, feature, normals, light[:0], *where)
