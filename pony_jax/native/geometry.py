"""Transforms, landmarks, skinning and the visible surface, one pass each, with gradients."""

import functools

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
    "windows": "GeometryWindows",
    "windows_grad_maps": "GeometryWindowsGradMaps",
    "windows_grad_positions": "GeometryWindowsGradPositions",
    "compact": "GeometryCompact",
}

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
    found = jax.ShapeDtypeStruct((b, 4), jnp.int32)
    how = {"margin": np.float64(margin), "above_feet": above_feet}
    results = [(b, 3), (b, 2, 3), (b, 4, 3), found]
    *places, found = _KERNELS.call("landmarks", results, verts, valid.astype(jnp.int32), **how)
    return *places, found > 0


def skinning_weights(
    verts: Float[Array, "b v 3"], bones: Float[Array, "b k 2 3"], temperature: float
) -> Float[Array, "b v k"]:
    """Softmax over bones of -distance / temperature; not differentiable."""
    shape = (*verts.shape[:2], bones.shape[1])
    how = {"temperature": np.float64(temperature)}
    (weights,) = _KERNELS.call("skinning_weights", [shape], verts, bones, **how)
    return weights


@jax.custom_vjp
def skin(
    verts: Float[Array, "b v 3"],
    weights: Float[Array, "b v k"],
    transforms: Float[Array, "b k 4 4"],
) -> Float[Array, "b v 3"]:
    """Vertices moved by weighted means of transforms; no gradient to the weights."""
    (out,) = _KERNELS.call("skin", [verts.shape], verts, weights, transforms)
    return out


def _skin_forward(*args: Array) -> tuple[Array, tuple[Array, ...]]:
    return skin(*args), args


def _skin_backward(kept: tuple[Array, ...], grad_out: Array) -> tuple[Array, None, Array]:
    verts, _, transforms = kept
    shapes = [verts.shape, transforms.shape]
    grad_verts, grad_transforms = _KERNELS.call("skin_grad", shapes, *kept, grad_out)
    return grad_verts, None, grad_transforms


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
    def whole(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    n = max_pixels
    results = [whole(n), whole(n), (n, 3), (n, 3), whole(), whole(n), (*verts.shape[:2], 8)]
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def bilinear_windows(
    maps: Float[Array, "b h w c"], xy_ndc: Float[Array, "b k 2"], side: int
) -> Float[Array, "b k side side c"]:
    """Bilinear look-up in squares of points; see `pony_jax.ops.sampling.bilinear_windows`.

    At the middle of a pixel the gradient of a position is the mean of those at either side.
    """
    shape = (*xy_ndc.shape[:2], side, side, maps.shape[-1])
    (out,) = _KERNELS.call("windows", [shape], maps, xy_ndc, side=side)
    return out


def _windows_forward(maps: Array, xy_ndc: Array, side: int) -> tuple[Array, tuple[Array, Array]]:
    return bilinear_windows(maps, xy_ndc, side), (maps, xy_ndc)


def _windows_backward(
    side: int, kept: tuple[Array, Array], grad_out: Array
) -> tuple[Array, Array]:
    maps, xy_ndc = kept
    # Two calls: XLA drops the one whose result is not needed.
    args = xy_ndc, grad_out
    (grad_maps,) = _KERNELS.call("windows_grad_maps", [maps.shape], *args, side=side)
    (grad_xy,) = _KERNELS.call("windows_grad_positions", [xy_ndc.shape], maps, *args, side=side)
    return grad_maps, grad_xy


bilinear_windows.defvjp(_windows_forward, _windows_backward)


def compact(flags: Bool[Array, " n"], capacity: int) -> tuple[Int[Array, " n"], Int[Array, " c"]]:
    """Inclusive prefix sum and first places of flags; see `pony_jax.ops.marching_tets.compact`."""
    results = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in (flags.shape, (capacity,))]
    prefix, positions = _KERNELS.call("compact", results, flags)
    return prefix, positions
