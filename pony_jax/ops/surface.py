"""The visible surface of rasterised meshes, and the light that falls on it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import rasterizer_ffi
from pony_jax.ops.cameras import transform_points
from pony_jax.ops.mesh import face_normals, vertex_normals
from pony_jax.ops.numerics import safe_normalize, without_padding
from pony_jax.ops.shading import directional_shading, shading_normal
from pony_jax.ops.substitution import substitutable


class Surface(NamedTuple):
    """The visible surface at the foreground pixels of a batch, packed (`n` is a capacity).

    Attributes:
      pixel: position in the flattened batch of images; `b * h * w` for padding.
      image: index of the image; the last for padding.
      point_rest: position on the prior shape, where texture and features are looked up; 0 for
        padding.
      normal_cam: two-sided shading normal, camera frame; 0 for padding.
      pixel_count: number of foreground pixels, whatever the capacity.
    """

    pixel: Int[Array, " n"]
    image: Int[Array, " n"]
    point_rest: Float[Array, "n 3"]
    normal_cam: Float[Array, "n 3"]
    pixel_count: Int[Array, ""]


@substitutable
def visible_surface(
    verts_posed: Float[Array, "b v 3"],
    verts_rest: Float[Array, "v 3"],
    cam_from_world: Float[Array, "b 4 4"],
    coverage: Float[Array, "b hs ws 4"],
    faces: Int[Array, "f 3"],
    *,
    samples: int,
    max_pixels: int,
) -> Surface:
    """What each covered pixel of rasterised meshes shows.

    Args:
      coverage: `rast` of `rasterizer_ffi.rasterize`, at `samples` by `samples` a pixel.
      max_pixels: n, the capacity.
    """
    rast = first_covered_sample(coverage, samples)
    image_pixels = rast.shape[1] * rast.shape[2]

    # Positions and normals of the camera frame, made at the vertices: a pixel needs no camera.
    verts_cam = transform_points(cam_from_world, verts_posed)[..., :3]
    verts_rest = jnp.broadcast_to(verts_rest, verts_posed.shape)
    attributes = jnp.concatenate([verts_rest, verts_cam, vertex_normals(verts_cam, faces)], axis=-1)
    attributes, _ = rasterizer_ffi.interpolate(attributes, rast, faces)

    face_id = rast[..., 3].reshape(-1).astype(jnp.int32)
    prefix = jnp.cumsum(face_id > 0, dtype=jnp.int32)
    pixel = jnp.searchsorted(prefix, jnp.arange(1, max_pixels + 1, dtype=jnp.int32))
    row = jnp.minimum(pixel, len(face_id) - 1)
    image = row // image_pixels
    packed = (
        attributes.reshape(-1, 9)
        .at[pixel]
        .get(mode="fill", fill_value=0.0, unique_indices=True, indices_are_sorted=True)
    )
    point_rest, point_cam, normal_cam = jnp.split(packed, 3, axis=-1)
    face_normal_cam = face_normals(verts_cam, faces, image, jnp.maximum(face_id[row] - 1, 0))
    normal_cam = safe_normalize(shading_normal(normal_cam, face_normal_cam, -point_cam))
    normal_cam = jnp.where((pixel < len(face_id))[:, None], normal_cam, 0.0)
    return Surface(pixel, image, point_rest, normal_cam, prefix[-1])


def first_covered_sample(
    coverage: Float[Array, "b hs ws 4"], samples: int
) -> Float[Array, "b h w 4"]:
    """The first covered sample of each pixel."""
    rast = coverage[:, ::samples, ::samples]
    for i in range(1, samples * samples):
        sample = coverage[:, i // samples :: samples, i % samples :: samples]
        rast = jnp.where(rast[..., 3:] > 0, rast, sample)
    return rast


def point_shading(
    normal_cam: Float[Array, "n 3"], light: Float[Array, "b 5"], image: Int[Array, " n"]
) -> Float[Array, "n 1"]:
    """How much of the light of its image falls on each point; see `directional_shading`.

    Args:
      light: of each image: unit direction towards it in the camera frame, ambient, diffuse.
    """
    # A product with one-hot rows instead of a gather, whose transpose is a slow scatter.
    of_point = jax.nn.one_hot(image, len(light), dtype=light.dtype) @ light
    return directional_shading(normal_cam, *jnp.split(of_point, [3, 4], axis=-1))


@substitutable
def shaded_values(
    albedo: Float[Array, "n 3"],
    feature: Float[Array, "n c"],
    normal_cam: Float[Array, "n 3"],
    light: Float[Array, "b 5"],
    image: Int[Array, " n"],
    count: Int[Array, ""],
) -> Float[Array, "n 4+c"]:
    """Colour, coverage 1 and feature of the points of a `Surface`; 0 from `count` on.

    Args:
      albedo: 0..1.
      light: of each image: unit direction towards it in the camera frame, ambient, diffuse.
      image: that each point belongs to.
    """
    rgb = albedo * point_shading(normal_cam, light, image)
    values = jnp.concatenate([rgb, jnp.ones_like(rgb[:, :1]), feature], axis=-1)
    return without_padding(values, count)
