"""Gradients inside of and through `jax.shard_map`, with its default checks."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

import rasterizer_ffi
from tests.rasterizer_ffi.raster_scenes import random_scene

SCENE = random_scene(images=4, resolution=(6, 8))
TRI = jnp.asarray(SCENE.tri)
SPLIT, SHARED = PartitionSpec("images"), PartitionSpec()


def rast_of(pos):
    return jax.lax.stop_gradient(rasterizer_ffi.rasterize(pos, TRI, SCENE.resolution)[0])


def square(x):
    return jnp.sum(jnp.sin(x), axis=tuple(range(1, x.ndim)))


def stretched(pos, scale):
    return pos.at[..., 0].multiply(scale)


# Each gives a number an image. The first argument is of the images, the second of all of them.
def rasterize(pos, scale):
    rast, rast_db = rasterizer_ffi.rasterize(stretched(pos, scale), TRI, SCENE.resolution)
    return square(rast[..., :2]) + square(rast_db)


def rasterize_layers(pos, scale):
    rast, _ = rasterizer_ffi.rasterize_layers(stretched(pos, scale), TRI, SCENE.resolution, 2)
    return square(jnp.moveaxis(rast[..., :2], 0, 1))


def rasterize_ranges(pos, vertices):
    ranges = jnp.broadcast_to(jnp.array([2, 9], jnp.int32), (len(pos), 2))
    rast, _ = rasterizer_ffi.rasterize(vertices, TRI, SCENE.resolution, ranges)
    return square(rast[..., :2]) * square(pos)


def interpolate(pos, attr):
    rast = rast_of(pos)
    out, out_da = rasterizer_ffi.interpolate(attr, rast, TRI, rast, "all")
    return square(out) + square(out_da) + square(rasterizer_ffi.interpolate(pos, rast, TRI)[0])


def antialias(pos, color):
    rast = rast_of(pos)
    image = jnp.where(rast[..., 3:] > 0, color, 0.0)
    return square(rasterizer_ffi.antialias(image, rast, pos, TRI))


def antialias_pooled(pos, color):
    rast, background = rast_of(pos), 2 * color[None, None, None]
    image = jnp.broadcast_to(color, (len(pos), 3, 4, 3))
    pooled = rasterizer_ffi.antialias_pooled(
        image, rast, pos, TRI, samples=2, background=background
    )
    # Of each image the first three pixels, in colours of their own.
    pixel = jnp.add.outer(12 * jnp.arange(len(pos)), jnp.arange(3)).astype(jnp.int32).reshape(-1)
    rows = (pos[:, :3, :3] * color).reshape(-1, 3)
    some = rasterizer_ffi.antialias_pooled(rows, rast, pos, TRI, samples=2, pixel=pixel)
    return square(pooled) + square(some)


def texture(pos, tex):
    uv, uv_da = pos[:, :, None, :2], 0.1 * jnp.concatenate([pos, pos], -1)[:, :, None, :4]
    return square(rasterizer_ffi.texture(tex, uv, uv_da))


def texture_of_images(pos, tex):
    return square(rasterizer_ffi.texture(pos[:, :4, :4, None] * tex, pos[:, :, None, :2]))


def arrays_of(shape):
    return jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.0, shape), jnp.float32)


CASES = [
    (rasterize, jnp.float32(0.9)),
    (rasterize_layers, jnp.float32(0.9)),
    (rasterize_ranges, jnp.asarray(SCENE.pos[0])),
    (interpolate, jnp.asarray(SCENE.attr[0])),
    (antialias, arrays_of((3,))),
    (antialias_pooled, arrays_of((3,))),
    (texture, arrays_of((1, 4, 4, 2))),
    (texture_of_images, jnp.float32(0.9)),
]


def check_all(num_devices):
    """Compares with the plain gradient: inside of the map, and through it, by both arguments."""
    mesh = Mesh(np.array(jax.devices("cpu")[:num_devices]), ("images",))
    pos = jnp.asarray(SCENE.pos)

    def total(function):
        return lambda *args: jnp.sum(function(*args))

    for function, shared in CASES:
        wanted = jax.jit(jax.grad(total(function), (0, 1)))(pos, shared)
        assert all(np.any(np.asarray(x)) for x in wanted), function.__name__
        # In it, the gradient by what is shared is summed over the devices, as JAX does.
        inside = jax.shard_map(
            jax.grad(total(function), (0, 1)),
            mesh=mesh,
            in_specs=(SPLIT, SHARED),
            out_specs=(SPLIT, SHARED),
        )
        through = jax.grad(
            total(jax.shard_map(function, mesh=mesh, in_specs=(SPLIT, SHARED), out_specs=SPLIT)),
            (0, 1),
        )
        for sharded in (inside, through):
            # Sums over images in another order, a few roundings apart.
            for got, array in zip(jax.jit(sharded)(pos, shared), wanted, strict=True):
                largest = float(jnp.abs(array).max())
                np.testing.assert_allclose(
                    got, array, rtol=0, atol=1e-5 * largest, err_msg=function.__name__
                )


def test_gradients_on_two_devices():
    """In a process of its own: the number of devices is fixed when JAX starts."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    program = "from tests.rasterizer_ffi.test_shard_map import check_all; check_all(2)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
