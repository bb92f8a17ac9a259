"""Small random scenes, and one function that runs the whole chain of operations."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import rasterizer_ffi


class Scene(NamedTuple):
    pos: np.ndarray
    tri: np.ndarray
    attr: np.ndarray
    resolution: tuple[int, int]


def random_scene(
    seed=0, images=2, vertices=30, triangles=20, resolution=(19, 23), channels=3
) -> Scene:
    """Triangles that fill the image, some of them behind others or partly outside."""
    rng = np.random.default_rng(seed)
    pos = rng.uniform(-1.3, 1.3, (images, vertices, 4)).astype(np.float32)
    pos[..., 3] = rng.uniform(0.7, 1.6, (images, vertices))
    tri = rng.integers(0, vertices, (triangles, 3)).astype(np.int32)
    attr = rng.normal(size=(images, vertices, channels)).astype(np.float32)
    return Scene(pos, tri, attr, resolution)


def render(pos, tri, attr, resolution):
    """rasterize, interpolate with derivatives, antialias: everything that a gradient can take."""
    rast, rast_db = rasterizer_ffi.rasterize(pos, tri, resolution)
    out, out_da = rasterizer_ffi.interpolate(attr, rast, tri, rast_db, "all")
    return rasterizer_ffi.antialias(out, rast, pos, tri), out_da


def loss(pos, tri, attr, resolution):
    """A scalar that depends on every result."""
    out, out_da = render(pos, tri, attr, resolution)
    return jnp.sum(jnp.sin(3.0 * out)) + 1e-2 * jnp.sum(jnp.sin(out_da))
