"""Which triangle each pixel shows, and the layers behind it.

Letters: b images, v vertices, f triangles, h w rows and columns, l layers. Row 0 of an image is the
bottom in clip space (y/w near -1).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rasterizer_ffi.arguments import (
    check,
    check_array,
    check_pos,
    check_resolution,
    check_static_bool,
    check_static_int,
    check_tri,
)
from rasterizer_ffi.targets import call, floats, vary_alike


def rasterize(
    pos: Float[Array, "b v 4"] | Float[Array, "v 4"],
    tri: Int[Array, "f 3"],
    resolution: tuple[int, int],
    ranges: Int[Array, "b 2"] | None = None,
    grad_db: bool = True,
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w 4"]]:
    """Draws triangles: which one each pixel shows, and where on it the pixel's centre lies.

    Args:
      pos: clip-space positions (x, y, z, w): [b, v, 4], each image draws all of `tri` (instance
        mode), or [v, 4] together with `ranges` (range mode).
      tri: vertex indices. A triangle with an index outside [0, v) draws nothing: pad with -1.
      resolution: (height, width) in pixels, static; at most 2^15 each.
      ranges: (first triangle, count) of each image, in range mode.
      grad_db: whether gradients flow through `rast_db`; False is faster where it is not used.

    Returns:
      rast: (u, v, z/w, triangle index + 1); u and v weight the triangle's first and second vertex.
        All 0 where nothing is drawn.
      rast_db: (du/dX, du/dY, dv/dX, dv/dY) per pixel along columns (X) and rows (Y).

    Raises:
      TypeError, ValueError: an argument's dtype or shape; expected and got are named.
    """
    args = _check_scene("rasterize", pos, tri, resolution, ranges)
    return _rasterize(*args, check_static_bool("rasterize", "grad_db", grad_db))


def _check_scene(op: str, pos: Any, tri: Any, resolution: Any, ranges: Any) -> tuple[Any, ...]:
    """The checked arguments of `rasterize`; without `ranges`, an empty array stands for them."""
    pos = check_pos(op, pos)
    tri = check_tri(op, tri)
    resolution = check_resolution(op, resolution)
    if ranges is None:
        check(pos.ndim == 3, op, "pos", "of shape [b, v, 4] (or `ranges` as well)", pos.shape)
        ranges = jnp.zeros((0, 2), jnp.int32)
    else:
        check(pos.ndim == 2, op, "pos", "of shape [v, 4], as ranges are given", pos.shape)
        ranges = check_array(op, "ranges", ranges, jnp.int32, (2,), "[b, 2]")
        check(ranges.shape[1] == 2, op, "ranges", "of shape [b, 2]", ranges.shape)
    pos, tri, ranges = vary_alike(pos, tri, ranges)
    return pos, tri, ranges, resolution


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _rasterize(pos, tri, ranges, resolution, grad_db):
    del grad_db
    range_mode = pos.ndim == 2
    shape = (ranges.shape[0] if range_mode else pos.shape[0], *resolution, 4)
    return tuple(call("rasterize", floats(shape, shape), pos, tri, ranges, range_mode=range_mode))


def _rasterize_fwd(pos, tri, ranges, resolution, grad_db):
    rast, rast_db = _rasterize(pos, tri, ranges, resolution, grad_db)
    return (rast, rast_db), (pos, tri, ranges, rast)


def _rasterize_bwd(resolution, grad_db, residuals, cotangents):
    del resolution
    pos, tri, ranges, rast = residuals
    dy, ddb = cotangents
    (grad_pos,) = call(
        "rasterize_grad",
        floats(pos.shape),
        pos,
        tri,
        ranges,
        rast,
        dy,
        ddb if grad_db else dy,  # unread
        range_mode=pos.ndim == 2,
        with_db=grad_db,
    )
    return grad_pos, None, None


_rasterize.defvjp(_rasterize_fwd, _rasterize_bwd)


def rasterize_layers(
    pos: Float[Array, "b v 4"] | Float[Array, "v 4"],
    tri: Int[Array, "f 3"],
    resolution: tuple[int, int],
    num_layers: int,
    ranges: Int[Array, "b 2"] | None = None,
    grad_db: bool = True,
) -> tuple[Float[Array, "l b h w 4"], Float[Array, "l b h w 4"]]:
    """Depth peeling: what `rasterize` shows, what is behind that, and so on.

    Layer i holds, at each pixel, the nearest triangle strictly behind the one of layer i - 1 (of
    triangles at equal depth only the last in `tri` is seen). Layer 0 is what `rasterize` returns.

    Args:
      pos, tri, resolution, ranges, grad_db: as for `rasterize`.
      num_layers: how many layers, static.

    Returns:
      rast, rast_db: as of `rasterize`, with the layers in front.

    Raises:
      TypeError, ValueError: an argument's dtype or shape; expected and got are named.
    """
    op = "rasterize_layers"
    pos, tri, ranges, resolution = _check_scene(op, pos, tri, resolution, ranges)
    num_layers = check_static_int(op, "num_layers", num_layers, 1)
    grad_db = check_static_bool(op, "grad_db", grad_db)
    return _rasterize_layers(pos, tri, ranges, resolution, num_layers, grad_db)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _rasterize_layers(pos, tri, ranges, resolution, num_layers, grad_db):
    del grad_db
    range_mode = pos.ndim == 2
    shape = (num_layers, ranges.shape[0] if range_mode else pos.shape[0], *resolution, 4)
    types = floats(shape, shape)
    return tuple(call("rasterize_layers", types, pos, tri, ranges, range_mode=range_mode))


def _rasterize_layers_fwd(pos, tri, ranges, resolution, num_layers, grad_db):
    rast, rast_db = _rasterize_layers(pos, tri, ranges, resolution, num_layers, grad_db)
    return (rast, rast_db), (pos, tri, ranges, rast)


def _rasterize_layers_bwd(resolution, num_layers, grad_db, residuals, cotangents):
    pos, tri, ranges, rast = residuals
    grad_pos = jnp.zeros_like(pos)
    for layer in range(num_layers):
        layer_cotangents = tuple(ct[layer] for ct in cotangents)
        layer_residuals = (pos, tri, ranges, rast[layer])
        grad_pos += _rasterize_bwd(resolution, grad_db, layer_residuals, layer_cotangents)[0]
    return grad_pos, None, None


_rasterize_layers.defvjp(_rasterize_layers_fwd, _rasterize_layers_bwd)
