"""Geometry in one pass an op, those on floats with gradients: transforms, landmarks, skinning, the
visible surface and its light, windows of maps, marching on a lattice, losses of images.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pony_jax.native.backend import Kernels

_SYMBOLS = {
    "transform": "GeometryTransform",
    "transform_grad": "GeometryTransformGrad",
    "landmarks": "GeometryLandmarks",
    "skinning_weights": "GeometrySkinningWeights",
    "skin": "GeometrySkin",
    "skin_grad": "GeometrySkinGrad",
    "surface": "GeometrySurface",
    "surface_grad": "GeometrySurfaceGrad",
    "lit_values": "GeometryLitValues",
    "lit_values_grad": "GeometryLitValuesGrad",
    "windows": "GeometryWindows",
    "windows_grad_maps": "GeometryWindowsGradMaps",
    "windows_grad_positions": "GeometryWindowsGradPositions",
    "image_losses": "GeometryImageLosses",
    "image_losses_grad": "GeometryImageLossesGrad",
    "compact": "GeometryCompact",
    "lattice_cells": "GeometryLatticeCells",
    "lattice_march": "GeometryLatticeMarch",
}


def _whole(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


_KERNELS = Kernels("libgeometry_cpu.so", __package__, _SYMBOLS, "GeometrySetMaxThreads")
set_max_threads = _KERNELS.set_max_threads


@jax.custom_vjp
def transform_points(
    matrix: Float[Array, "b 4 4"], points: Float[Array, "b n 3"]
) -> Float[Array, "b n 4"]:
    """Homogeneous images `matrix @ (x, y, z, 1)` of points."""
    (out,) = _KERNELS.call("transform", [(*points.shape[:2], 4)], matrix, points)
    return out


def _transform_backward(kept: tuple[Array, Array], grad_out: Array) -> tuple[Array, Array]:
    matrix, points = kept
    shapes = [matrix.shape, points.shape]
    grad_matrix, grad_points = _KERNELS.call("transform_grad", shapes, matrix, points, grad_out)
    return grad_matrix, grad_points


transform_points.defvjp(lambda m, p: (transform_points(m, p), (m, p)), _transform_backward)


def landmarks(
    verts: Float[Array, "b v 3"], valid: Bool[Array, " v"], *, margin: float, above_feet: bool
) -> tuple[Float[Array, "b 3"], Float[Array, "b 2 3"], Float[Array, "b 4 3"], Bool[Array, "b 4"]]:
    """Means, tips (foremost, hindmost), feet and whether they were found; not differentiable.

    See `pony_jax.ops.bones.Landmarks`. There must be a vertex, if only one of padding.

    Args:
      margin: share of the meshes' width, around x = 0, in which no foot is looked for.
      above_feet: tips are not looked for lower than 0.5 below the mean.
    """
    b = len(verts)
    how = {"margin": np.float64(margin), "above_feet": above_feet}
    results = [(b, 3), (b, 2, 3), (b, 4, 3), _whole(b, 4)]
    *places, found = _KERNELS.call("landmarks", results, verts, valid.astype(jnp.int32), **how)
    return *places, found > 0


def skinning_weights(
    verts: Float[Array, "b v 3"],
    bones: Float[Array, "b k 2 3"],
    count: Int[Array, "*any"],
    temperature: float,
) -> Float[Array, "b v k"]:
    """Softmax over bones of -distance / temperature; not differentiable.

    Args:
      count: vertices from this one on are padding: 0; empty uses all.
    """
    shape = (*verts.shape[:2], bones.shape[1])
    how = {"temperature": np.float64(temperature)}
    (weights,) = _KERNELS.call("skinning_weights", [shape], verts, bones, count, **how)
    return weights


@jax.custom_vjp
def skin(
    verts: Float[Array, "b v 3"],
    weights: Float[Array, "b v k"],
    transforms: Float[Array, "b k 4 4"],
    count: Int[Array, "*any"],
) -> Float[Array, "b v 3"]:
    """Vertices moved by weighted means of transforms; no gradient to the weights.

    Args:
      count: as for `skinning_weights`.
    """
    (out,) = _KERNELS.call("skin", [verts.shape], verts, weights, transforms, count)
    return out


def _skin_forward(*args: Array) -> tuple[Array, tuple[Array, ...]]:
    return skin(*args), args


def _skin_backward(kept: tuple[Array, ...], grad_out: Array) -> tuple[Array, None, Array, None]:
    verts, _, transforms, _ = kept
    shapes = [verts.shape, transforms.shape]
    grad_verts, grad_transforms = _KERNELS.call("skin_grad", shapes, *kept, grad_out)
    return grad_verts, None, grad_transforms, None


skin.defvjp(_skin_forward, _skin_backward)

_Packed = tuple[Array, Array, Array, Array, Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def visible_surface(
    verts: Float[Array, "b v 3"],
    verts_rest: Float[Array, "v 3"],
    cam_from_world: Float[Array, "b 4 4"],
    coverage: Float[Array, "b hs ws 4"],
    faces: Int[Array, "f 3"],
    samples: int,
    max_pixels: int,
) -> tuple[
    Int[Array, " n"], Int[Array, " n"], Float[Array, "n 3"], Float[Array, "n 3"], Int[Array, ""]
]:
    """What each covered pixel shows: pixel, image, point_rest, normal_cam and the pixels' number.

    See `pony_jax.model.render.Surface`. Padding is of the pixel behind the last and the last image.
    """
    args = verts, verts_rest, cam_from_world, coverage, faces
    return _run_surface(*args, samples, max_pixels)[0]


def _run_surface(
    verts: Array,
    verts_rest: Array,
    cam_from_world: Array,
    coverage: Array,
    faces: Array,
    samples: int,
    max_pixels: int,
) -> tuple[_Packed, tuple[Array, Array, Array]]:
    n, kept = max_pixels, (*verts.shape[:2], 8)
    results = [_whole(n), _whole(n), (n, 3), (n, 3), _whole(), _whole(n), kept]
    args = verts, verts_rest, cam_from_world, coverage, faces
    *packed, shown, at_verts = _KERNELS.call("surface", results, *args, samples=samples)
    return tuple(packed), (packed[0], shown, at_verts)


def _surface_forward(*args: Array) -> tuple[_Packed, tuple[Array, ...]]:
    packed, kept = _run_surface(*args)
    return packed, (*args[:5], *kept)


def _surface_backward(
    samples: int, max_pixels: int, kept: tuple[Array, ...], grad_out: _Packed
) -> tuple[Array, ...]:
    _, _, grad_point, grad_normal, _ = grad_out
    shapes = [x.shape for x in kept[:4]]
    grads = _KERNELS.call("surface_grad", shapes, *kept, grad_point, grad_normal, samples=samples)
    return (*grads, None)


visible_surface.defvjp(_surface_forward, _surface_backward)


@jax.custom_vjp
def lit_values(
    albedo: Float[Array, "n 3"],
    feature: Float[Array, "n c"],
    normal_cam: Float[Array, "n 3"],
    light: Float[Array, "b 5"],
    image: Int[Array, " n"],
    count: Int[Array, "*any"],
) -> Float[Array, "n 4+c"]:
    """Colour, coverage and feature of points; see `pony_jax.model.render.lit_values`.

    Args:
      light: at least one image's.
      image: an image that is not there counts as the nearest that is.
      count: points from this one on are padding: 0; empty uses all.
    """
    args = albedo, feature, normal_cam, light, image, count
    shape = len(feature), 4 + feature.shape[1]
    (out,) = _KERNELS.call("lit_values", [shape], *args)
    return out


def _lit_values_backward(kept: tuple[Array, ...], grad_out: Array) -> tuple[Array | None, ...]:
    shapes = [x.shape for x in kept[:4]]
    return *_KERNELS.call("lit_values_grad", shapes, *kept, grad_out), None, None


lit_values.defvjp(lambda *args: (lit_values(*args), args), _lit_values_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def bilinear_windows(
    maps: Float[Array, "b h w c"], xy_ndc: Float[Array, "b k 2"], side: int
) -> Float[Array, "b k side side c"]:
    """Bilinear look-up in squares of points; see `pony_jax.ops.sampling.bilinear_windows`."""
    shape = (*xy_ndc.shape[:2], side, side, maps.shape[-1])
    (out,) = _KERNELS.call("windows", [shape], maps, xy_ndc)
    return out


def _windows_forward(maps: Array, xy_ndc: Array, side: int) -> tuple[Array, tuple[Array, Array]]:
    return bilinear_windows(maps, xy_ndc, side), (maps, xy_ndc)


def _windows_backward(_: int, kept: tuple[Array, Array], grad_out: Array) -> tuple[Array, Array]:
    maps, xy_ndc = kept
    # Two calls: XLA drops the one whose result is not needed.
    args = xy_ndc, grad_out
    (grad_maps,) = _KERNELS.call("windows_grad_maps", [maps.shape], *args)
    (grad_xy,) = _KERNELS.call("windows_grad_positions", [xy_ndc.shape], maps, *args)
    return grad_maps, grad_xy


bilinear_windows.defvjp(_windows_forward, _windows_backward)


@jax.custom_vjp
def image_losses(
    render: Float[Array, "b h w n"],
    image: Float[Array, "b h w 3"],
    feature: Float[Array, "b h w c"],
    *maps: Float[Array, "b h w 1"],
) -> Float[Array, "b 6"]:
    """Losses of each image, in the order of `pony_jax.model.objective.image_losses`.

    No gradient but to the render.

    Args:
      render: colours, coverage and features: 4 + c channels.
      maps: mask, valid, distance_outside and distance_inside.
    """
    return _image_losses(render, image, feature, *maps)[0]


def _image_losses(*args: Array) -> list[Array]:
    b, h, w = args[0].shape[:3]
    overlap = jax.ShapeDtypeStruct((b, h, w), jnp.bool_)
    half = b, -(-h // 8) * 4, -(-w // 8) * 4
    return _KERNELS.call("image_losses", [(b, 6), overlap, half], *args)


def _image_losses_forward(*args: Array) -> tuple[Array, tuple[Array, ...]]:
    out, *kept = _image_losses(*args)
    return out, (*args, *kept)


def _image_losses_backward(kept: tuple[Array, ...], grad_out: Array) -> tuple[Array | None, ...]:
    shape = kept[0].shape
    (grad_render,) = _KERNELS.call("image_losses_grad", [shape], *kept, grad_out)
    return grad_render, *(None for _ in kept[1:-2])


image_losses.defvjp(_image_losses_forward, _image_losses_backward)


def compact(flags: Bool[Array, " n"], capacity: int) -> tuple[Int[Array, " n"], Int[Array, " c"]]:
    """Inclusive prefix sum and first places of flags; see `pony_jax.ops.marching_tets.compact`."""
    results = [_whole(len(flags)), _whole(capacity)]
    prefix, positions = _KERNELS.call("compact", results, flags)
    return prefix, positions


def lattice_cells(
    inside: Bool[Array, "2 x1 y1 z1"],
    points: Int[Array, "12 4"],
    groups: Int[Array, "2 x1 y1 z1"],
    max_cells: int,
    num_groups: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """The cells of a lattice that touch both signs, and the groups of vertices that they touch.

    See `pony_jax.ops.sparse_marching_tets`.

    Args:
      inside: signs of corners and centres; along each axis one layer more than there are cells.
      points: those that a cell touches: steps of 0 or 1 to their cells, and 1 for centres.
      groups: the one of each vertex, of 0 .. num_groups - 1.

    Returns:
      index [n], code [n], row [c] and count [] as in `_Cells` there, and whether each group is
      touched.
    """
    n, num_cells = max_cells, math.prod(size - 1 for size in inside.shape[1:])
    touched = jax.ShapeDtypeStruct((num_groups,), jnp.bool_)
    results = [_whole(n), _whole(n), _whole(num_cells), _whole(), touched]
    return tuple(_KERNELS.call("lattice_cells", results, inside, points, groups))


def lattice_march(
    cells: tuple[Int[Array, " n"], Int[Array, " n"], Int[Array, " c"]],
    tables: tuple[Array, Array, Array, Array],
    max_verts: int,
    max_faces: int,
) -> tuple[Int[Array, " v"], Int[Array, ""], Int[Array, "f 3"], Int[Array, ""]]:
    """The edges that a surface crosses, and its faces; see `pony_jax.ops.sparse_marching_tets`.

    Args:
      cells: index, code and row of `lattice_cells`, which must have room for one.
      tables: ends of a cell's edges [14, 2] and corners of its tetrahedra [12, 4], as its points;
        of each edge of those the step to the number of the cell that owns it, and its place among
        that one's edges [12, 6, 2]; triangles by occupied corners [16, 2, 3].

    Returns:
      Edge of each vertex (14 a cell; padding is after the last), how many are wanted, faces (-1 for
      padding and where a vertex had no room), how many are wanted.
    """
    results = [_whole(max_verts), _whole(), _whole(max_faces, 3), _whole()]
    return tuple(_KERNELS.call("lattice_march", results, *cells, *tables))
