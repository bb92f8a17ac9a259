"""The operations as citizens of JAX: transformations, abstract evaluation, messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import rasterizer_ffi
from tests.rasterizer_ffi.raster_scenes import loss, random_scene, render


def assert_same_bits(got, wanted) -> None:
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_jit_is_eager():
    scene = random_scene()
    eager = render(*scene)
    jitted = jax.jit(functools.partial(render, resolution=scene.resolution))(*scene[:3])
    assert_same_bits(jitted, eager)


@pytest.mark.parametrize("shared_tri", [True, False])
def test_vmap_is_a_loop(shared_tri):
    scenes = [random_scene(seed) for seed in range(3)]
    pos, attr = (np.stack([getattr(s, name) for s in scenes]) for name in ("pos", "attr"))
    tri = scenes[0].tri if shared_tri else np.stack([s.tri for s in scenes])
    resolution = scenes[0].resolution

    def value_and_grad(pos, tri, attr):
        return jax.value_and_grad(loss, argnums=(0, 2))(pos, tri, attr, resolution)

    got = jax.jit(jax.vmap(value_and_grad, in_axes=(0, None if shared_tri else 0, 0)))(
        pos, tri, attr
    )
    loop = [
        value_and_grad(p, tri if shared_tri else t, a)
        for p, t, a in zip(pos, [s.tri for s in scenes], attr, strict=True)
    ]
    wanted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, wanted)


def test_nested_vmap_with_shared_arrays():
    scene = random_scene(images=1)
    pos = scene.pos * np.linspace(0.5, 1.0, 6, dtype=np.float32).reshape(2, 3, 1, 1, 1)
    attr = np.stack([scene.attr, 2 * scene.attr])

    def image(pos, attr):
        return render(pos, scene.tri, attr, scene.resolution)[0]

    got = jax.vmap(jax.vmap(image, in_axes=(0, None)))(pos, attr)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(got[i, j], image(pos[i, j], attr[i]))


def test_grad_of_vmap_sums_over_what_is_shared():
    scene = random_scene(images=1)
    pos = np.stack([scene.pos, 0.8 * scene.pos])

    def total(attr):
        each = jax.vmap(lambda p: loss(p, scene.tri, attr, scene.resolution))(pos)
        return jnp.sum(each)

    wanted = sum(jax.grad(loss, argnums=2)(p, scene.tri, scene.attr, scene.resolution) for p in pos)
    np.testing.assert_allclose(jax.grad(total)(scene.attr), wanted, rtol=1e-5, atol=1e-5)


def test_shard_map_over_the_batch():
    scene = random_scene(images=2)
    mesh = Mesh(np.array(jax.devices("cpu")[:1]), ("batch",))
    batch, everywhere = PartitionSpec("batch"), PartitionSpec()

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(batch, everywhere, batch), out_specs=batch
    )
    def sharded(pos, tri, attr):
        return render(pos, tri, attr, scene.resolution)[0]

    np.testing.assert_array_equal(sharded(*scene[:3]), render(*scene)[0])


def test_checkpoint_changes_nothing():
    scene = random_scene()
    gradient = jax.grad(loss)(*scene)
    rematerialised = jax.grad(jax.checkpoint(loss, static_argnums=3))(*scene)
    np.testing.assert_array_equal(rematerialised, gradient)


def test_forward_mode_is_refused():
    scene = random_scene()
    with pytest.raises(TypeError, match=r"forward-mode autodiff .* custom_vjp"):
        jax.jvp(lambda pos: render(pos, *scene[1:]), (scene.pos,), (scene.pos,))


def test_no_gradient_through_an_unused_result():
    scene = random_scene()

    def depth_free(pos):
        rast, _ = rasterizer_ffi.rasterize(pos, scene.tri, scene.resolution)
        return jnp.sum(rast[..., 2:])  # depth and id carry no gradient

    np.testing.assert_array_equal(jax.grad(depth_free)(scene.pos), 0)


def test_range_mode_is_instance_mode():
    scene = random_scene(images=1)
    rast, rast_db = rasterizer_ffi.rasterize(scene.pos, scene.tri, scene.resolution)
    ranges = np.array([[0, len(scene.tri)], [3, 0]], np.int32)
    ranged = rasterizer_ffi.rasterize(scene.pos[0], scene.tri, scene.resolution, ranges)
    assert_same_bits([ranged[0][:1], ranged[1][:1]], [rast, rast_db])
    assert not np.any(ranged[0][1])


def test_layers_peel_off_what_is_in_front():
    def sheet(z):  # covers the whole image
        return [[-1, -1, z, 1], [3, -1, z, 1], [-1, 3, z, 1]]

    pos = np.array([sheet(0.5) + sheet(-0.5) + sheet(0.5)], np.float32)
    tri = np.arange(9, dtype=np.int32).reshape(3, 3)
    rast, _ = rasterizer_ffi.rasterize_layers(pos, tri, (5, 6), 3)
    np.testing.assert_array_equal(rast[0], rasterizer_ffi.rasterize(pos, tri, (5, 6))[0])
    # Triangles 0 and 2 coincide: the later one is seen, the other never.
    np.testing.assert_array_equal(
        rast[..., 3],
        np.broadcast_to(np.array([2, 3, 0], np.float32)[:, None, None, None], (3, 1, 5, 6)),
    )
    grad = jax.grad(
        lambda p: jnp.sum(rasterizer_ffi.rasterize_layers(p, tri, (5, 6), 3)[0][..., 0])
    )(pos)
    assert np.any(np.asarray(grad)[0, 3:6]) and np.any(np.asarray(grad)[0, 6:])
    assert not np.any(np.asarray(grad)[0, :3])


SCENE = random_scene()
RAST = np.zeros((2, 19, 23, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rasterizer_ffi.rasterize(SCENE.pos[..., :3], SCENE.tri, (8, 8)),
         ValueError, r"expected pos with 4 clip-space components .*got \(2, 30, 3\)"),
        (lambda: rasterizer_ffi.rasterize(SCENE.pos[0], SCENE.tri, (8, 8)),
         ValueError, r"expected pos of shape \[b, v, 4\] .*got \(30, 4\)"),
        (lambda: rasterizer_ffi.rasterize(jnp.asarray(SCENE.pos, jnp.bfloat16), SCENE.tri, (8, 8)),
         TypeError, "expected pos of dtype float32, got bfloat16"),
        (lambda: rasterizer_ffi.rasterize(SCENE.pos, SCENE.tri.astype(np.int16), (8, 8)),
         TypeError, "expected tri of dtype int32, got int16"),
        (lambda: rasterizer_ffi.rasterize(SCENE.pos, SCENE.tri, (0, 8)),
         ValueError, r"expected resolution of two positive integers .* got \(0, 8\)"),
        (lambda: rasterizer_ffi.rasterize(SCENE.pos, SCENE.tri, (8, 8), np.zeros((2, 2), np.int32)),
         ValueError, r"expected pos of shape \[v, 4\]"),
        (lambda: rasterizer_ffi.interpolate(SCENE.attr[:, :, 0], RAST, SCENE.tri[:, :2]),
         ValueError, r"expected tri of shape \[f, 3\], got \(20, 2\)"),
        (lambda: rasterizer_ffi.interpolate(np.zeros((3, 30, 1), np.float32), RAST, SCENE.tri),
         ValueError, r"expected attr of 1 or 2 images, got \(3, 30, 1\)"),
        (lambda: rasterizer_ffi.interpolate(SCENE.attr, RAST, SCENE.tri, None, "all"),
         ValueError, "expected rast_db of the same call of rasterize, got None"),
        (lambda: rasterizer_ffi.interpolate(SCENE.attr, RAST, SCENE.tri, RAST, [3]),
         ValueError, r"expected diff_attrs in \[-3, 3\), got 3"),
        (lambda: rasterizer_ffi.antialias(RAST[:, 1:], RAST, SCENE.pos, SCENE.tri),
         ValueError, r"expected color of \(2, 19, 23\) pixels, got \(2, 18, 23, 4\)"),
        (lambda: rasterizer_ffi.antialias(RAST, RAST, SCENE.pos, SCENE.tri, SCENE.tri[1:]),
         ValueError, r"expected topology_hash of shape \(20, 3\), got \(19, 3\)"),
    ],
)  # fmt: skip
def test_messages_name_expected_and_got(call, error, message):
    with pytest.raises(error, match=message):
        call()
