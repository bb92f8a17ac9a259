"""Antialiasing with several samples a pixel, of one colour each.

Letters: b images, v vertices, f triangles, h w rows and columns, c channels, s samples along a side
of a pixel, n pixels with a colour.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rasterizer_ffi.antialiasing import antialias_arguments, antialias_checked, check_outlines
from rasterizer_ffi.arguments import MAX_RESOLUTION, check, check_array, check_static_int
from rasterizer_ffi.targets import call, floats, vary_alike


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
    where `rast` shows a triangle, else that of the background. On a CPU no image of that size is
    made; on a GPU one is.

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
    outlines = check_outlines(op, rast, pos, tri, topology_hash)
    samples = check_static_int(op, "samples", samples, 1, MAX_RESOLUTION)
    shape = outlines[0].shape
    if pixel is None:
        color = check_array(op, "color", color, jnp.float32, (4,), "[b, h, w, c]")
        b, h, w, c = color.shape
        wanted = (b, h * samples, w * samples, 4)
        check(shape == wanted, op, "rast", f"of shape {wanted}", shape)
    else:
        color = check_array(op, "color", color, jnp.float32, (2,), "[n, c]")
        pixel = check_array(op, "pixel", pixel, jnp.int32, (1,), "[n]")
        check(len(pixel) == len(color), op, "pixel", f"of {len(color)} rows", pixel.shape)
        (b, h, w), c = (shape[0], shape[1] // samples, shape[2] // samples), color.shape[1]
        whole = shape[1:3] == (h * samples, w * samples)
        check(whole, op, "rast", f"of {samples} x {samples} samples a pixel", shape)
    if background is None:
        background = jnp.zeros((1, 1, 1, c), jnp.float32)
    background = check_array(op, "background", background, jnp.float32, (4,), "[b, h, w, c]")
    sizes = zip(background.shape, ({1, b}, {1, h}, {1, w}, {c}), strict=True)
    fits = all(size in allowed for size, allowed in sizes)
    expected = f"of shape {(b, h, w, c)}, where all but the last may be 1"
    check(fits, op, "background", expected, background.shape)
    background = jax.lax.stop_gradient(background)
    return _antialias_pooled(*vary_alike(color, *outlines, background, pixel), samples)


def _composed(color, rast, pos, tri, background, topology, pixel, samples, packed):
    """The same, of an image of all samples: where there is no kernel that makes none."""
    b, h, w, c = rast.shape[0], rast.shape[1] // samples, rast.shape[2] // samples, color.shape[-1]
    if packed:
        pixel = jnp.where(pixel < 0, b * h * w, pixel)  # JAX counts those from the end
        rows = jnp.zeros((b * h * w, c), color.dtype)
        color = rows.at[pixel].set(color[0, 0], mode="drop", unique_indices=True)
        color = color.reshape(b, h, w, c)
    covered = rast[..., 3].reshape(b, h, samples, w, samples, 1) > 0
    fine = jnp.where(covered, color[:, :, None, :, None], background[:, :, None, :, None])
    fine = fine.reshape(b, h * samples, w * samples, c)
    return _mean_of_samples(antialias_checked(fine, rast, pos, tri, topology, 1.0), samples)


# These take what the targets take, of which the composition needs less.


def _compose(
    color, rast, pos, tri, ranges, topology, background, pixel, *, range_mode, samples, packed
):
    del ranges, range_mode
    out = _composed(color, rast, pos, tri, background, topology, pixel, int(samples), packed)
    unread = jnp.zeros(rast.shape[:3], jnp.uint8), jnp.zeros(out.shape[:3], jnp.int32)
    return vary_alike(out, *unread)


def _compose_grad(
    color,
    rast,
    pos,
    tri,
    ranges,
    topology,
    background,
    pixel,
    crossings,
    covered,
    dy,
    *,
    range_mode,
    samples,
    packed,
):
    del ranges, range_mode, crossings, covered

    def composed(color, pos):
        return _composed(color, rast, pos, tri, background, topology, pixel, int(samples), packed)

    return jax.vjp(composed, color, pos)[1](dy)


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
    return *antialias_arguments(color, rast, pos, tri, topology), background, pixel


def _antialias_pooled_fwd(color, rast, pos, tri, topology, background, pixel, samples):
    inputs = color, rast, pos, tri, topology, background, pixel
    image = color.shape[:3]
    if pixel is not None:
        image = rast.shape[0], rast.shape[1] // samples, rast.shape[2] // samples
    types = [
        *floats((*image, color.shape[-1])),
        jax.ShapeDtypeStruct(rast.shape[:3], jnp.uint8),
        jax.ShapeDtypeStruct(image, jnp.int32),
    ]
    out, crossings, covered = call(
        "antialias_pooled",
        types,
        *_antialias_pooled_args(*inputs),
        otherwise=_compose,
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
    grad_color, grad_pos = call(
        "antialias_pooled_grad",
        floats(args[0].shape, pos.shape),
        *args,
        crossings,
        covered,
        dy,
        otherwise=_compose_grad,
        range_mode=pos.ndim == 2,
        samples=np.int64(samples),
        packed=pixel is not None,
    )
    return grad_color.reshape(color.shape), None, grad_pos, None, None, None, None


_antialias_pooled.defvjp(_antialias_pooled_fwd, _antialias_pooled_bwd)
