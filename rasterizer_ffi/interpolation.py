"""Vertex attributes at the pixels of an image.

Letters: b images, v vertices, f triangles, h w rows and columns, c channels, d channels with pixel
derivatives.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rasterizer_ffi.arguments import check, check_array, check_rast, check_static_int, check_tri
from rasterizer_ffi.targets import call, floats, vary_alike


def interpolate(
    attr: Float[Array, "b v c"] | Float[Array, "v c"],
    rast: Float[Array, "b h w 4"],
    tri: Int[Array, "f 3"],
    rast_db: Float[Array, "b h w 4"] | None = None,
    diff_attrs: Sequence[int] | Literal["all"] | None = None,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 2*d"]]:
    """Interpolates vertex attributes at the pixels of `rast`.

    Args:
      attr: attributes of the vertices; a leading 1, or none, is shared by all images.
      rast: from `rasterize`.
      tri: indices into the vertices of `attr`; may differ from those that were drawn.
      rast_db: from `rasterize`; needed for `diff_attrs`.
      diff_attrs: channels whose derivatives by pixel are wanted ("all" or a list; negative ones
        count from the end).

    Returns:
      out: attributes, 0 where nothing is drawn.
      out_da: (dA/dX, dA/dY) of each channel of `diff_attrs`, in their order; d = 0 without them.

    Raises:
      TypeError, ValueError: an argument's dtype or shape; expected and got are named.
    """
    op = "interpolate"
    attr = check_array(op, "attr", attr, jnp.float32, (2, 3), "[b, v, c], [1, v, c] or [v, c]")
    rast = check_rast(op, "rast", rast)
    tri = check_tri(op, tri)
    if attr.ndim == 2:
        attr = attr[None]
    num_images = rast.shape[0]
    check(attr.shape[0] in (1, num_images), op, "attr", f"of 1 or {num_images} images", attr.shape)
    channels = _diff_channels(op, diff_attrs, attr.shape[2])
    if not channels:
        rast_db = rast  # unread
    else:
        check(rast_db is not None, op, "rast_db", "of the same call of rasterize", rast_db)
        rast_db = check_rast(op, "rast_db", rast_db)
        check(rast_db.shape == rast.shape, op, "rast_db", f"of shape {rast.shape}", rast_db.shape)
    attr, rast, tri, rast_db = vary_alike(attr, rast, tri, rast_db)
    return _interpolate(attr, rast, tri, rast_db, channels)


def _diff_channels(op: str, diff_attrs: Any, num_channels: int) -> tuple[int, ...]:
    if diff_attrs is None:
        return ()
    if isinstance(diff_attrs, str):
        check(diff_attrs == "all", op, "diff_attrs", "'all' or a list of channels", diff_attrs)
        return tuple(range(num_channels))
    try:
        listed = list(diff_attrs)
    except TypeError:
        raise TypeError(
            f"{op}: expected diff_attrs to be 'all' or a list of channels, got {diff_attrs!r}"
        ) from None
    channels = [check_static_int(op, "each of diff_attrs", c) for c in listed]
    for c in channels:
        inside = -num_channels <= c < num_channels
        check(inside, op, "diff_attrs", f"in [{-num_channels}, {num_channels})", c)
    return tuple(c % num_channels for c in channels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _interpolate(attr, rast, tri, rast_db, channels):
    images = rast.shape[:3]
    return tuple(
        call(
            "interpolate",
            floats((*images, attr.shape[2]), (*images, 2 * len(channels))),
            attr,
            rast,
            tri,
            rast_db,
            diff_attrs=channels,
        )
    )


def _interpolate_fwd(attr, rast, tri, rast_db, channels):
    args = (attr, rast, tri, rast_db)
    return _interpolate(*args, channels), args


def _interpolate_bwd(channels, residuals, cotangents):
    attr, rast, tri, rast_db = residuals
    dy, dda = cotangents
    unread = (*rast.shape[:3], 0)
    grad_attr, grad_rast, grad_rast_db = call(
        "interpolate_grad",
        floats(attr.shape, rast.shape, rast.shape if channels else unread),
        attr,
        rast,
        tri,
        rast_db,
        dy,
        dda if channels else dy,
        diff_attrs=channels,
    )
    return grad_attr, grad_rast, None, grad_rast_db if channels else None


_interpolate.defvjp(_interpolate_fwd, _interpolate_bwd)
