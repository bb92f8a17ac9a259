"""Geometry in one pass an op, those on floats with gradients: landmarks, skinning, the visible
surface and its light, marching on a lattice.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pony_jax.native.backend import Kernels

_SYMBOLS = {
    "landmarks": "GeometryLandmarks",
    "skinning_weights": "GeometrySkinningWeights",
    "skin": "GeometrySkin",
    "skin_grad": "GeometrySkinGrad",
    "surface": "GeometrySurface",
    "surface_grad": "GeometrySurfaceGrad",
    "lit_values": "GeometryLitValues",
    "lit_values_grad": "GeometryLitValuesGrad",
    "lattice_cells": "GeometryLatticeCells",
    "lattice_march": "GeometryLatticeMarch",
}


def _whole(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


_KERNELS = Kernels("libgeometry_cpu.so", __package__, _SYMBOLS, "GeometrySetMaxThreads")
set_max_threads = _KERNELS.set_max_threads


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
