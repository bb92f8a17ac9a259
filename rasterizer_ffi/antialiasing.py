"""Silhouettes blended by coverage, which gives them a gradient.

Letters: b images, v vertices, f triangles, h w rows and columns, c channels.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rasterizer_ffi.arguments import (
    check,
    check_array,
    check_pos,
    check_rast,
    check_static_float,
    check_tri,
)
from rasterizer_ffi.targets import call, floats, vary_alike


def antialias_construct_topology_hash(tri: Int[Array, "f 3"]) -> Int[Array, "f 3"]:
    """The neighbourhood of triangles that `antialias` needs; build it once if `tri` never changes.

    Entry [t, k] is the vertex on the far side of the edge of triangle t that faces its vertex k, or
    -1 on an open boundary. The backend "nvdiffrast" returns -1 everywhere: `antialias` builds
    nvdiffrast's own table anew there. So do not pass what one backend returned to another.
    """
    tri = check_tri("antialias_construct_topology_hash", tri)
    (topology,) = call("topology", [jax.ShapeDtypeStruct(tri.shape, jnp.int32)], tri)
    return topology


def antialias(
    color: Float[Array, "b h w c"],
    rast: Float[Array, "b h w 4"],
    pos: Float[Array, "b v 4"] | Float[Array, "v 4"],
    tri: Int[Array, "f 3"],
    topology_hash: Int[Array, "f 3"] | None = None,
    pos_gradient_boost: float = 1.0,
) -> Float[Array, "b h w c"]:
    """Blends the two sides of silhouette edges by coverage, which gives them a gradient by `pos`.

    As in nvdiffrast, a pixel between several silhouettes may leave the range of the colours around
    it, and edges of triangles that reach behind the camera (w <= 0) are not smoothed.

    Args:
      color: the image to be antialiased.
      rast, pos, tri: as in the call of `rasterize` that made `rast`.
      topology_hash: from `antialias_construct_topology_hash(tri)`; built here if None.
      pos_gradient_boost: factor on the gradient by `pos`, static.

    Raises:
      TypeError, ValueError: an argument's dtype or shape; expected and got are named.
    """
    op = "antialias"
    color = check_array(op, "color", color, jnp.float32, (4,), "[b, h, w, c]")
    outlines = check_outlines(op, rast, pos, tri, topology_hash)
    pixels = outlines[0].shape[:3]
    check(color.shape[:3] == pixels, op, "color", f"of {pixels} pixels", color.shape)
    boost = check_static_float(op, "pos_gradient_boost", pos_gradient_boost)
    return antialias_checked(*vary_alike(color, *outlines), boost)


def check_outlines(
    op: str, rast: Any, pos: Any, tri: Any, topology: Any
) -> tuple[Array, Array, Array, Array]:
    """The checked arguments that say where silhouettes are."""
    rast = check_rast(op, "rast", rast)
    pos = check_pos(op, pos)
    tri = check_tri(op, tri)
    if pos.ndim == 3:
        check(pos.shape[0] == rast.shape[0], op, "pos", f"of {rast.shape[0]} images", pos.shape)
    if topology is None:
        topology = antialias_construct_topology_hash(tri)
    topology = check_array(op, "topology_hash", topology, jnp.int32, (2,), "[f, 3]")
    check(topology.shape == tri.shape, op, "topology_hash", f"of shape {tri.shape}", topology.shape)
    return rast, pos, tri, topology


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def antialias_checked(color, rast, pos, tri, topology, boost):
    return _antialias_fwd(color, rast, pos, tri, topology, boost)[0]


def antialias_arguments(color, rast, pos, tri, topology):
    no_ranges = jnp.zeros((rast.shape[0], 2), jnp.int32)
    return color, rast, pos, tri, no_ranges, topology


def _antialias_fwd(color, rast, pos, tri, topology, boost):
    del boost
    out, crossings = call(
        "antialias",
        [*floats(color.shape), jax.ShapeDtypeStruct(rast.shape[:3], jnp.uint8)],
        *antialias_arguments(color, rast, pos, tri, topology),
        range_mode=pos.ndim == 2,
    )
    return out, (color, rast, pos, tri, topology, crossings)


def _antialias_bwd(boost, residuals, dy):
    *inputs, crossings = residuals
    color, _, pos, _, _ = inputs
    grad_color, grad_pos = call(
        "antialias_grad",
        floats(color.shape, pos.shape),
        *antialias_arguments(*inputs),
        crossings,
        dy,
        range_mode=pos.ndim == 2,
        pos_gradient_boost=np.float32(boost),
    )
    return grad_color, None, grad_pos, None, None


antialias_checked.defvjp(_antialias_fwd, _antialias_bwd)
