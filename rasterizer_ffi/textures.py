"""Texture lookups at each pixel.

Letters: n textures, b images, h w rows and columns, c channels.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rasterizer_ffi.arguments import check, check_array, check_static_int
from rasterizer_ffi.targets import call, floats, vary_alike

_FILTERS = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")
_BOUNDARIES = ("cube", "wrap", "clamp", "zero")


class _Lookup(NamedTuple):
    """The static part of a texture lookup; the fields are attributes of the FFI targets."""

    height: int
    width: int
    max_level: int
    filter: int
    boundary: int
    with_da: bool
    with_bias: bool

    def attributes(self) -> dict[str, Any]:
        numbers = ("height", "width", "max_level", "filter", "boundary")
        return self._asdict() | {name: np.int64(getattr(self, name)) for name in numbers}


def texture(
    tex: Float[Array, "n h w c"] | Float[Array, "n 6 h w c"],
    uv: Float[Array, "b h w 2"] | Float[Array, "b h w 3"],
    uv_da: Float[Array, "b h w 4"] | Float[Array, "b h w 6"] | None = None,
    mip_level_bias: Float[Array, "b h w"] | None = None,
    mip: Sequence[Array] | None = None,
    filter_mode: str = "auto",
    boundary_mode: str = "wrap",
    max_mip_level: int | None = None,
) -> Float[Array, "b h w c"]:
    """Looks up a texture at each pixel.

    Args:
      tex: one texture per image, or one (n = 1) for all. Row 0 is t = 0. Cube maps have six faces,
        ordered +x, -x, +y, -y, +z, -z.
      uv: coordinates (s, t), where 0 and 1 are the borders; for cube maps a direction (x, y, z).
      uv_da: derivatives of `uv` by pixel, as `interpolate` returns them; they choose the level.
      mip_level_bias: added to the level; alone, it is the level.
      mip: the levels below `tex`, each half the size of the one before; built by averaging if None.
      filter_mode: "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"; "auto" is
        the last if `uv_da` or `mip_level_bias` is given, else "linear".
      boundary_mode: "wrap", "clamp", "zero" (black outside), or "cube".
      max_mip_level: the coarsest level used; None means all.

    Raises:
      TypeError, ValueError: an argument's dtype or shape, an unknown mode, or a level of odd size
        that would have to be halved; expected and got are named.
    """
    op = "texture"
    if filter_mode == "auto":
        given = uv_da is not None or mip_level_bias is not None
        filter_mode = "linear-mipmap-linear" if given else "linear"
    check(filter_mode in _FILTERS, op, "filter_mode", f"'auto' or one of {_FILTERS}", filter_mode)
    check(boundary_mode in _BOUNDARIES, op, "boundary_mode", f"one of {_BOUNDARIES}", boundary_mode)
    cube = boundary_mode == "cube"
    shape = "[n, 6, h, w, c]" if cube else "[n, h, w, c]"
    tex = check_array(op, "tex", tex, jnp.float32, (5 if cube else 4,), shape)
    if cube:
        square = tex.shape[1] == 6 and tex.shape[2] == tex.shape[3]
        check(square, op, "tex", "of six square faces [n, 6, h, h, c]", tex.shape)
    check(min(tex.shape) > 0, op, "tex", "with no empty dimension", tex.shape)
    coordinates = 3 if cube else 2
    uv = check_array(op, "uv", uv, jnp.float32, (4,), f"[b, h, w, {coordinates}]")
    check(uv.shape[3] == coordinates, op, "uv", f"with {coordinates} coordinates", uv.shape)
    check(tex.shape[0] in (1, uv.shape[0]), op, "tex", f"of 1 or {uv.shape[0]} images", tex.shape)

    mipmapped = "mipmap" in filter_mode
    if mipmapped:
        given = uv_da is not None or mip_level_bias is not None
        check(given, op, "uv_da or mip_level_bias", f"for filter_mode {filter_mode!r}", None)
    else:
        uv_da = mip_level_bias = None
    absent = jnp.zeros((*uv.shape[:3], 0), jnp.float32)
    da, bias = absent, absent
    if uv_da is not None:
        da = check_array(op, "uv_da", uv_da, jnp.float32, (4,), f"[b, h, w, {2 * coordinates}]")
        expected = (*uv.shape[:3], 2 * coordinates)
        check(da.shape == expected, op, "uv_da", f"of shape {expected}", da.shape)
    if mip_level_bias is not None:
        bias = check_array(op, "mip_level_bias", mip_level_bias, jnp.float32, (3,), "[b, h, w]")
        check(bias.shape == uv.shape[:3], op, "mip_level_bias", f"of {uv.shape[:3]}", bias.shape)
        bias = bias[..., None]
    if max_mip_level is not None:
        max_mip_level = check_static_int(op, "max_mip_level", max_mip_level, 0, 30)
    levels = _mip_levels(op, tex, mip, max_mip_level) if mipmapped else [tex]
    lookup = _Lookup(
        height=tex.shape[-3],
        width=tex.shape[-2],
        max_level=len(levels) - 1,
        filter=_FILTERS.index(filter_mode),
        boundary=_BOUNDARIES.index(boundary_mode),
        with_da=uv_da is not None,
        with_bias=mip_level_bias is not None,
    )
    num_textures, num_channels = tex.shape[0], tex.shape[-1]
    stack = [level.reshape(num_textures, -1, num_channels) for level in levels]
    stack = stack[0] if len(stack) == 1 else jnp.concatenate(stack, axis=1)
    return _texture(*vary_alike(stack, uv, da, bias), lookup)


def _mip_levels(op: str, tex: Array, mip: Any, max_level: int | None) -> list[Array]:
    """All levels of a texture, from itself to the coarsest that is used."""
    levels = [tex]
    if mip is not None:
        listed = isinstance(mip, list | tuple)
        check(listed, op, "mip", "to be a list of levels", type(mip).__name__)
        for level in mip[:max_level]:
            height, width = (max(n // 2, 1) for n in levels[-1].shape[-3:-1])
            expected = (*tex.shape[:-3], height, width, tex.shape[-1])
            array = check_array(op, "mip", level, jnp.float32, (tex.ndim,), str(expected))
            check(array.shape == expected, op, "mip", f"level of shape {expected}", array.shape)
            levels.append(array)
        return levels
    while levels[-1].shape[-3:-1] != (1, 1) and (max_level is None or len(levels) <= max_level):
        *lead, height, width, channels = levels[-1].shape
        even = all(n == 1 or n % 2 == 0 for n in (height, width))
        check(
            even, op, "a level to be halved", "of even size (or a max_mip_level)", (height, width)
        )
        down, across = min(height, 2), min(width, 2)
        blocks = levels[-1].reshape(*lead, height // down, down, width // across, across, channels)
        levels.append(blocks.mean(axis=(-4, -2)))
    return levels


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _texture(stack, uv, uv_da, bias, lookup):
    shape = (*uv.shape[:3], stack.shape[2])
    (out,) = call("texture", floats(shape), stack, uv, uv_da, bias, **lookup.attributes())
    return out


def _texture_fwd(stack, uv, uv_da, bias, lookup):
    return _texture(stack, uv, uv_da, bias, lookup), (stack, uv, uv_da, bias)


def _texture_bwd(lookup, residuals, dy):
    types = floats(*(x.shape for x in residuals))
    return tuple(call("texture_grad", types, *residuals, dy, **lookup.attributes()))


_texture.defvjp(_texture_fwd, _texture_bwd)
