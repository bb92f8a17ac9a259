"""The operations as JAX functions: shape checks, custom gradients, and calls of the FFI targets.

This file and `backends.py` are all that knows how JAX binds foreign functions. Every target accepts
the leading dimensions that `vmap` adds, of size 1 where an array is not mapped
(vmap_method="expand_dims").

Letters: b images, v vertices, f triangles, h w rows and columns, c channels, d channels with pixel
derivatives. Row 0 of an image is the bottom in clip space (y/w near -1).
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rasterizer_ffi.backends import has_target, target_name

_MAX_TRIANGLES = 2**24  # ids are stored as floats


def _call(
    op: str, results: Sequence[jax.ShapeDtypeStruct], *args: Any, **attributes: Any
) -> list[Array]:
    call = jax.ffi.ffi_call(target_name(op), results, vmap_method="expand_dims")
    return call(*args, **attributes)


def _floats(*shapes: tuple[int, ...]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


# ------------------------------------------------------------------------------
# Checks. Expected and got, by the name of the argument.
# ------------------------------------------------------------------------------


def _array(op: str, name: str, value: Any, dtype: Any, ranks: tuple[int, ...], shape: str) -> Array:
    array = jnp.asarray(value)
    if array.dtype != dtype:
        raise TypeError(
            f"{op}: expected {name} of dtype {np.dtype(dtype).name}, got {array.dtype.name}; "
            f"convert it with {name}.astype({np.dtype(dtype).name!r})"
        )
    if array.ndim not in ranks:
        raise ValueError(f"{op}: expected {name} of shape {shape}, got {array.shape}")
    return array


def _check(condition: bool, op: str, name: str, expected: str, got: Any) -> None:
    if not condition:
        raise ValueError(f"{op}: expected {name} {expected}, got {got}")


def _check_tri(op: str, tri: Any) -> Array:
    tri = _array(op, "tri", tri, jnp.int32, (2,), "[f, 3]")
    _check(tri.shape[1] == 3, op, "tri", "of shape [f, 3]", tri.shape)
    _check(tri.shape[0] <= _MAX_TRIANGLES, op, "tri", "with at most 2^24 triangles", tri.shape)
    return tri


def _check_pos(op: str, pos: Any) -> Array:
    pos = _array(op, "pos", pos, jnp.float32, (2, 3), "[b, v, 4], or [v, 4] in range mode")
    _check(pos.shape[-1] == 4, op, "pos", "with 4 clip-space components (x, y, z, w)", pos.shape)
    return pos


def _check_rast(op: str, name: str, rast: Any) -> Array:
    rast = _array(op, name, rast, jnp.float32, (4,), "[b, h, w, 4]")
    _check(rast.shape[3] == 4, op, name, "of shape [b, h, w, 4]", rast.shape)
    return rast


# ------------------------------------------------------------------------------
# rasterize
# ------------------------------------------------------------------------------


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
      resolution: (height, width) in pixels, static.
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
    return _rasterize(*args, bool(grad_db))


def _check_scene(op: str, pos: Any, tri: Any, resolution: Any, ranges: Any) -> tuple[Any, ...]:
    """The checked arguments of `rasterize`; without `ranges`, an empty array stands for them."""
    pos = _check_pos(op, pos)
    tri = _check_tri(op, tri)
    height, width = (int(n) for n in resolution)
    _check(height > 0 and width > 0, op, "resolution", "of two positive integers", resolution)
    if ranges is None:
        _check(pos.ndim == 3, op, "pos", "of shape [b, v, 4] (or `ranges` as well)", pos.shape)
        ranges = jnp.zeros((0, 2), jnp.int32)
    else:
        _check(pos.ndim == 2, op, "pos", "of shape [v, 4], as ranges are given", pos.shape)
        ranges = _array(op, "ranges", ranges, jnp.int32, (2,), "[b, 2]")
        _check(ranges.shape[1] == 2, op, "ranges", "of shape [b, 2]", ranges.shape)
    return pos, tri, ranges, (height, width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _rasterize(pos, tri, ranges, resolution, grad_db):
    del grad_db
    range_mode = pos.ndim == 2
    shape = (ranges.shape[0] if range_mode else pos.shape[0], *resolution, 4)
    return tuple(_call("rasterize", _floats(shape, shape), pos, tri, ranges, range_mode=range_mode))


def _rasterize_fwd(pos, tri, ranges, resolution, grad_db):
    rast, rast_db = _rasterize(pos, tri, ranges, resolution, grad_db)
    return (rast, rast_db), (pos, tri, ranges, rast)


def _rasterize_bwd(resolution, grad_db, residuals, cotangents):
    del resolution
    pos, tri, ranges, rast = residuals
    dy, ddb = cotangents
    (grad_pos,) = _call(
        "rasterize_grad",
        _floats(pos.shape),
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
    _check(num_layers >= 1, op, "num_layers", "of at least 1", num_layers)
    return _rasterize_layers(pos, tri, ranges, resolution, int(num_layers), bool(grad_db))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _rasterize_layers(pos, tri, ranges, resolution, num_layers, grad_db):
    del grad_db
    range_mode = pos.ndim == 2
    shape = (num_layers, ranges.shape[0] if range_mode else pos.shape[0], *resolution, 4)
    types = _floats(shape, shape)
    return tuple(_call("rasterize_layers", types, pos, tri, ranges, range_mode=range_mode))


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


# ------------------------------------------------------------------------------
# interpolate
# ------------------------------------------------------------------------------


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
    attr = _array(op, "attr", attr, jnp.float32, (2, 3), "[b, v, c], [1, v, c] or [v, c]")
    rast = _check_rast(op, "rast", rast)
    tri = _check_tri(op, tri)
    if attr.ndim == 2:
        attr = attr[None]
    num_images = rast.shape[0]
    _check(attr.shape[0] in (1, num_images), op, "attr", f"of 1 or {num_images} images", attr.shape)
    channels = _diff_channels(op, diff_attrs, attr.shape[2])
    if not channels:
        rast_db = rast  # unread
    else:
        _check(rast_db is not None, op, "rast_db", "of the same call of rasterize", rast_db)
        rast_db = _check_rast(op, "rast_db", rast_db)
        _check(rast_db.shape == rast.shape, op, "rast_db", f"of shape {rast.shape}", rast_db.shape)
    return _interpolate(attr, rast, tri, rast_db, channels)


def _diff_channels(op: str, diff_attrs: Any, num_channels: int) -> tuple[int, ...]:
    if diff_attrs is None:
        return ()
    if isinstance(diff_attrs, str):
        _check(diff_attrs == "all", op, "diff_attrs", "'all' or a list of channels", diff_attrs)
        return tuple(range(num_channels))
    channels = [int(c) for c in diff_attrs]
    for c in channels:
        inside = -num_channels <= c < num_channels
        _check(inside, op, "diff_attrs", f"in [{-num_channels}, {num_channels})", c)
    return tuple(c % num_channels for c in channels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _interpolate(attr, rast, tri, rast_db, channels):
    images = rast.shape[:3]
    return tuple(
        _call(
            "interpolate",
            _floats((*images, attr.shape[2]), (*images, 2 * len(channels))),
            attr,
            rast,
            tri,
            rast_db,
            diff_attrs=np.asarray(channels, np.int32),
        )
    )


def _interpolate_fwd(attr, rast, tri, rast_db, channels):
    args = (attr, rast, tri, rast_db)
    return _interpolate(*args, channels), args


def _interpolate_bwd(channels, residuals, cotangents):
    attr, rast, tri, rast_db = residuals
    dy, dda = cotangents
    unread = (*rast.shape[:3], 0)
    grad_attr, grad_rast, grad_rast_db = _call(
        "interpolate_grad",
        _floats(attr.shape, rast.shape, rast.shape if channels else unread),
        attr,
        rast,
        tri,
        rast_db,
        dy,
        dda if channels else dy,
        diff_attrs=np.asarray(channels, np.int32),
    )
    return grad_attr, grad_rast, None, grad_rast_db if channels else None


_interpolate.defvjp(_interpolate_fwd, _interpolate_bwd)


# ------------------------------------------------------------------------------
# antialias
# ------------------------------------------------------------------------------


def antialias_construct_topology_hash(tri: Int[Array, "f 3"]) -> Int[Array, "f 3"]:
    """The neighbourhood of triangles that `antialias` needs; build it once if `tri` never changes.

    Entry [t, k] is the vertex on the far side of the edge of triangle t that faces its vertex k, or
    -1 on an open boundary. The backend "nvdiffrast" returns -1 everywhere: `antialias` builds
    nvdiffrast's own table anew there. So do not pass what one backend returned to another.
    """
    tri = _check_tri("antialias_construct_topology_hash", tri)
    (topology,) = _call("topology", [jax.ShapeDtypeStruct(tri.shape, jnp.int32)], tri)
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

    Args:
      color: the image to be antialiased.
      rast, pos, tri: as in the call of `rasterize` that made `rast`.
      topology_hash: from `antialias_construct_topology_hash(tri)`; built here if None.
      pos_gradient_boost: factor on the gradient by `pos`, static.

    Raises:
      TypeError, ValueError: an argument's dtype or shape; expected and got are named.
    """
    op = "antialias"
    color = _array(op, "color", color, jnp.float32, (4,), "[b, h, w, c]")
    outlines = _check_outlines(op, rast, pos, tri, topology_hash)
    pixels = outlines[0].shape[:3]
    _check(color.shape[:3] == pixels, op, "color", f"of {pixels} pixels", color.shape)
    return _antialias(color, *outlines, float(pos_gradient_boost))


def _check_outlines(
    op: str, rast: Any, pos: Any, tri: Any, topology: Any
) -> tuple[Array, Array, Array, Array]:
    """The checked arguments that say where silhouettes are."""
    rast = _check_rast(op, "rast", rast)
    pos = _check_pos(op, pos)
    tri = _check_tri(op, tri)
    if pos.ndim == 3:
        _check(pos.shape[0] == rast.shape[0], op, "pos", f"of {rast.shape[0]} images", pos.shape)
    if topology is None:
        topology = antialias_construct_topology_hash(tri)
    topology = _array(op, "topology_hash", topology, jnp.int32, (2,), "[f, 3]")
    _check(
        topology.shape == tri.shape, op, "topology_hash", f"of shape {tri.shape}", topology.shape
    )
    return rast, pos, tri, topology


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _antialias(color, rast, pos, tri, topology, boost):
    return _antialias_fwd(color, rast, pos, tri, topology, boost)[0]


def _antialias_args(color, rast, pos, tri, topology):
    no_ranges = jnp.zeros((rast.shape[0], 2), jnp.int32)
    return color, rast, pos, tri, no_ranges, topology


def _antialias_fwd(color, rast, pos, tri, topology, boost):
    del boost
    out, crossings = _call(
        "antialias",
        [*_floats(color.shape), jax.ShapeDtypeStruct(rast.shape[:3], jnp.uint8)],
        *_antialias_args(color, rast, pos, tri, topology),
        range_mode=pos.ndim == 2,
    )
    return out, (color, rast, pos, tri, topology, crossings)


def _antialias_bwd(boost, residuals, dy):
    *inputs, crossings = residuals
    color, _, pos, _, _ = inputs
    grad_color, grad_pos = _call(
        "antialias_grad",
        _floats(color.shape, pos.shape),
        *_antialias_args(*inputs),
        crossings,
        dy,
        range_mode=pos.ndim == 2,
        pos_gradient_boost=np.float32(boost),
    )
    return grad_color, None, grad_pos, None, None


_antialias.defvjp(_antialias_fwd, _antialias_bwd)


# ------------------------------------------------------------------------------
# antialias_pooled
# ------------------------------------------------------------------------------


def antialias_pooled(
    color: Float[Array, "b h w c"] | Float[Array, "n c"],
    rast: Float[Array, "b h*s w*s 4"],
    pos: Float[Array, "b v 4"] | Float[Array, "v 4"],
    tri: Int[Array, "f 3"],
    topology_hash: Int[Array, "f 3"] | None = None,
    *,
    samples: int,
    background: Float[Array, "#b #h #w c"] | None = None,
    pixel: Int[Array, " n"] | None = None,
) -> Float[Array, "b h w c"]:
    """Images of one colour a pixel, cut by the coverage of its samples, antialiased and averaged.

    Equal, but for rounding, to the mean over the samples of each pixel of
    `antialias(fine, rast, pos, tri)`, where `fine` [b, h*s, w*s, c] has the colour of the pixel
    where `rast` shows a triangle, else that of the background. The backend "cpu" makes no image
    of that size; the others do.

    Args:
      color: of the pixels; with `pixel` of some only, the others have 0.
      rast, pos, tri: as in the call of `rasterize` that made `rast`, at the resolution of samples.
      topology_hash: from `antialias_construct_topology_hash(tri)`; built here if None.
      samples: s, along each side of a pixel, static.
      background: what shows behind, a constant without gradient; dimensions of size 1 are shared.
        None is zero.
      pixel: the position of each row of `color` among the pixels of all images, row by row; none
        twice. A row whose position is no pixel's is padding.

    Raises:
      TypeError, ValueError: an argument's dtype or shape; expected and got are named.
    """
    op = "antialias_pooled"
    outlines = _check_outlines(op, rast, pos, tri, topology_hash)
    samples = int(samples)
    _check(samples >= 1, op, "samples", "of at least 1", samples)
    shape = outlines[0].shape
    if pixel is None:
        color = _array(op, "color", color, jnp.float32, (4,), "[b, h, w, c]")
        b, h, w, c = color.shape
        wanted = (b, h * samples, w * samples, 4)
        _check(shape == wanted, op, "rast", f"of shape {wanted}", shape)
    else:
        color = _array(op, "color", color, jnp.float32, (2,), "[n, c]")
        pixel = _array(op, "pixel", pixel, jnp.int32, (1,), "[n]")
        _check(len(pixel) == len(color), op, "pixel", f"of {len(color)} rows", pixel.shape)
        (b, h, w), c = (shape[0], shape[1] // samples, shape[2] // samples), color.shape[1]
        whole = shape[1:3] == (h * samples, w * samples)
        _check(whole, op, "rast", f"of {samples} x {samples} samples a pixel", shape)
    if background is None:
        background = jnp.zeros((1, 1, 1, c), jnp.float32)
    background = _array(op, "background", background, jnp.float32, (4,), "[b, h, w, c]")
    sizes = zip(background.shape, ({1, b}, {1, h}, {1, w}, {c}), strict=True)
    fits = all(size in allowed for size, allowed in sizes)
    expected = f"of shape {(b, h, w, c)}, where all but the last may be 1"
    _check(fits, op, "background", expected, background.shape)
    background = jax.lax.stop_gradient(background)
    if not has_target(op):
        if pixel is not None:
            pixel = jnp.where(pixel < 0, b * h * w, pixel)  # JAX counts those from the end
            color = jnp.zeros((b * h * w, c)).at[pixel].set(color, mode="drop", unique_indices=True)
        color = color.reshape(b, h, w, c)
        return _composed_antialias_pooled(color, *outlines, background, samples)
    return _antialias_pooled(color, *outlines, background, pixel, samples)


def _composed_antialias_pooled(color, rast, pos, tri, topology, background, samples):
    b, h, w, c = color.shape
    covered = rast[..., 3].reshape(b, h, samples, w, samples, 1) > 0
    fine = jnp.where(covered, color[:, :, None, :, None], background[:, :, None, :, None])
    fine = fine.reshape(b, h * samples, w * samples, c)
    return _mean_of_samples(_antialias(fine, rast, pos, tri, topology, 1.0), samples)


def _mean_of_samples(fine: Float[Array, "b h*s w*s c"], samples: int) -> Float[Array, "b h w c"]:
    b, hs, ws, c = fine.shape
    return fine.reshape(b, hs // samples, samples, ws // samples, samples, c).mean(axis=(2, 4))


@functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
def _antialias_pooled(color, rast, pos, tri, topology, background, pixel, samples):
    return _antialias_pooled_fwd(color, rast, pos, tri, topology, background, pixel, samples)[0]


def _antialias_pooled_args(color, rast, pos, tri, topology, background, pixel):
    if pixel is None:
        pixel = jnp.zeros(0, jnp.int32)
    else:
        color = color[None, None]
    return *_antialias_args(color, rast, pos, tri, topology), background, pixel


def _antialias_pooled_fwd(color, rast, pos, tri, topology, background, pixel, samples):
    inputs = color, rast, pos, tri, topology, background, pixel
    image = color.shape[:3]
    if pixel is not None:
        image = rast.shape[0], rast.shape[1] // samples, rast.shape[2] // samples
    types = [
        *_floats((*image, color.shape[-1])),
        jax.ShapeDtypeStruct(rast.shape[:3], jnp.uint8),
        jax.ShapeDtypeStruct(image, jnp.int32),
    ]
    out, crossings, covered = _call(
        "antialias_pooled",
        types,
        *_antialias_pooled_args(*inputs),
        range_mode=pos.ndim == 2,
        samples=np.int64(samples),
        packed=pixel is not None,
    )
    return out, (*inputs, crossings, covered)


def _antialias_pooled_bwd(samples, residuals, dy):
    *inputs, crossings, covered = residuals
    args = _antialias_pooled_args(*inputs)
    color, _, pos = inputs[:3]
    pixel = inputs[-1]
    grad_color, grad_pos = _call(
        "antialias_pooled_grad",
        _floats(args[0].shape, pos.shape),
        *args,
        crossings,
        covered,
        dy,
        range_mode=pos.ndim == 2,
        samples=np.int64(samples),
        packed=pixel is not None,
    )
    return grad_color.reshape(color.shape), None, grad_pos, None, None, None, None


_antialias_pooled.defvjp(_antialias_pooled_fwd, _antialias_pooled_bwd)


# ------------------------------------------------------------------------------
# texture
# ------------------------------------------------------------------------------

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
    _check(filter_mode in _FILTERS, op, "filter_mode", f"'auto' or one of {_FILTERS}", filter_mode)
    _check(
        boundary_mode in _BOUNDARIES, op, "boundary_mode", f"one of {_BOUNDARIES}", boundary_mode
    )
    cube = boundary_mode == "cube"
    shape = "[n, 6, h, w, c]" if cube else "[n, h, w, c]"
    tex = _array(op, "tex", tex, jnp.float32, (5 if cube else 4,), shape)
    if cube:
        square = tex.shape[1] == 6 and tex.shape[2] == tex.shape[3]
        _check(square, op, "tex", "of six square faces [n, 6, h, h, c]", tex.shape)
    _check(min(tex.shape) > 0, op, "tex", "with no empty dimension", tex.shape)
    coordinates = 3 if cube else 2
    uv = _array(op, "uv", uv, jnp.float32, (4,), f"[b, h, w, {coordinates}]")
    _check(uv.shape[3] == coordinates, op, "uv", f"with {coordinates} coordinates", uv.shape)
    _check(tex.shape[0] in (1, uv.shape[0]), op, "tex", f"of 1 or {uv.shape[0]} images", tex.shape)

    mipmapped = "mipmap" in filter_mode
    if mipmapped:
        given = uv_da is not None or mip_level_bias is not None
        _check(given, op, "uv_da or mip_level_bias", f"for filter_mode {filter_mode!r}", None)
    else:
        uv_da = mip_level_bias = None
    absent = jnp.zeros((*uv.shape[:3], 0), jnp.float32)
    da, bias = absent, absent
    if uv_da is not None:
        da = _array(op, "uv_da", uv_da, jnp.float32, (4,), f"[b, h, w, {2 * coordinates}]")
        expected = (*uv.shape[:3], 2 * coordinates)
        _check(da.shape == expected, op, "uv_da", f"of shape {expected}", da.shape)
    if mip_level_bias is not None:
        bias = _array(op, "mip_level_bias", mip_level_bias, jnp.float32, (3,), "[b, h, w]")
        _check(bias.shape == uv.shape[:3], op, "mip_level_bias", f"of {uv.shape[:3]}", bias.shape)
        bias = bias[..., None]
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
    return _texture(stack, uv, da, bias, lookup)


def _mip_levels(op: str, tex: Array, mip: Any, max_level: int | None) -> list[Array]:
    """All levels of a texture, from itself to the coarsest that is used."""
    levels = [tex]
    if mip is not None:
        for level in mip[:max_level]:
            height, width = (max(n // 2, 1) for n in levels[-1].shape[-3:-1])
            expected = (*tex.shape[:-3], height, width, tex.shape[-1])
            array = _array(op, "mip", level, jnp.float32, (tex.ndim,), str(expected))
            _check(array.shape == expected, op, "mip", f"level of shape {expected}", array.shape)
            levels.append(array)
        return levels
    while levels[-1].shape[-3:-1] != (1, 1) and (max_level is None or len(levels) <= max_level):
        *lead, height, width, channels = levels[-1].shape
        even = all(n == 1 or n % 2 == 0 for n in (height, width))
        _check(
            even, op, "a level to be halved", "of even size (or a max_mip_level)", (height, width)
        )
        down, across = min(height, 2), min(width, 2)
        blocks = levels[-1].reshape(*lead, height // down, down, width // across, across, channels)
        levels.append(blocks.mean(axis=(-4, -2)))
    return levels


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _texture(stack, uv, uv_da, bias, lookup):
    shape = (*uv.shape[:3], stack.shape[2])
    (out,) = _call("texture", _floats(shape), stack, uv, uv_da, bias, **lookup.attributes())
    return out


def _texture_fwd(stack, uv, uv_da, bias, lookup):
    return _texture(stack, uv, uv_da, bias, lookup), (stack, uv, uv_da, bias)


def _texture_bwd(lookup, residuals, dy):
    types = _floats(*(x.shape for x in residuals))
    return tuple(_call("texture_grad", types, *residuals, dy, **lookup.attributes()))


_texture.defvjp(_texture_fwd, _texture_bwd)
