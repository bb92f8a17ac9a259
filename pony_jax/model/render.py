"""Deferred shading: what each pixel sees, shaded once, composited with supersampled coverage."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

import rasterizer_ffi
from pony_jax.ops.cameras import Camera, transform_points
from pony_jax.ops.surface import (
    Surface,
    first_covered_sample,
    point_shading,
    shaded_values,
    visible_surface,
)

BACKGROUNDS = ("black", "white", "checkerboard")


class Visible(NamedTuple):
    """The rasterised scene: the surface to be shaded, and what compositing needs."""

    surface: Surface
    coverage: Float[Array, "b hs ws 4"]
    verts_clip: Float[Array, "b v 4"]
    faces: Int[Array, "f 3"]

    def at_surface(self, pixels: Shaped[Array, "b h w c"]) -> Shaped[Array, "n c"]:
        """Returns pictures' values at the pixel of each point of the surface; 0 for padding."""
        rows = pixels.reshape(-1, pixels.shape[-1])
        return rows.at[self.surface.pixel].get(mode="fill", fill_value=0)


def find_surface(
    verts_posed: Float[Array, "b v 3"],
    verts_rest: Float[Array, "v 3"],
    faces: Int[Array, "f 3"],
    camera: Camera,
    *,
    image_size: int,
    samples: int,
    max_pixels: int,
) -> Visible:
    """Rasterises posed meshes at `samples` by `samples` a pixel and gathers what pixels see.

    A pixel shows its first covered sample in scan order. (The original takes the top left sample
    even where that one misses the mesh, and shades the origin there.)
    """
    size = image_size * samples
    verts_clip = transform_points(camera.clip_from_world, verts_posed)
    coverage, _ = rasterizer_ffi.rasterize(verts_clip, faces, (size, size), grad_db=False)
    surface = visible_surface(
        verts_posed,
        verts_rest,
        camera.cam_from_world,
        coverage,
        faces,
        samples=samples,
        max_pixels=max_pixels,
    )
    return Visible(surface, coverage, verts_clip, faces)


def render_flow(visible: Visible, *, num_frames: int, samples: int) -> Float[Array, "b h w 2"]:
    """Where what a pixel shows moves from its frame to the next, by projected vertices.

    MagicPony@e4a8b20:magicpony/render/render.py:render_mesh. Units are half an image (differences
    of normalised device coordinates), x right, y down. The last frame of a clip has no next one and
    no flow.

    Args:
      visible: clips of `num_frames` frames, one after the other; all frames share their faces.

    Raises:
      ValueError: if the batch does not consist of such clips.
    """
    b, v, _ = visible.verts_clip.shape
    if num_frames < 1 or b % num_frames:
        raise ValueError(f"expected clips of {num_frames} frames, got {b} frames in all")
    position = visible.verts_clip[..., :2] / visible.verts_clip[..., 3:]
    position = position.reshape(-1, num_frames, v, 2)
    ahead = jnp.pad(position[:, 1:] - position[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0)))
    rast = first_covered_sample(visible.coverage, samples)
    flow, _ = rasterizer_ffi.interpolate(ahead.reshape(b, v, 2), rast, visible.faces)
    packed = flow.reshape(-1, 2).at[visible.surface.pixel].get(mode="fill", fill_value=0.0)
    return composite(visible, packed, samples=samples)


def render_silhouette(
    verts_posed: Float[Array, "b v 3"],
    faces: Int[Array, "f 3"],
    camera: Camera,
    *,
    image_size: int,
    samples: int,
) -> Float[Array, "b h w 1"]:
    """Coverage of each pixel, differentiable in the vertices and the camera."""
    size = image_size * samples
    verts_clip = transform_points(camera.clip_from_world, verts_posed)
    coverage, _ = rasterizer_ffi.rasterize(verts_clip, faces, (size, size), grad_db=False)
    ones = jnp.ones((len(verts_clip), image_size, image_size, 1))
    return rasterizer_ffi.antialias_pooled(ones, coverage, verts_clip, faces, samples=samples)


def seen_verts(
    verts_clip: Float[Array, "b v 4"], faces: Int[Array, "f 3"], *, image_size: int
) -> Bool[Array, "b v"]:
    """Vertices of the faces that some pixel of a render shows, one sample a pixel."""
    rast, _ = rasterizer_ffi.rasterize(verts_clip, faces, (image_size, image_size), grad_db=False)
    face_id = rast[..., 3].reshape(len(rast), -1).astype(jnp.int32)

    num_verts = verts_clip.shape[1]

    def of_image(face_id: Int[Array, " p"]) -> Bool[Array, " v"]:
        shown = jnp.zeros(len(faces) + 1, bool).at[face_id].set(True)[1:]
        corners = jnp.where(shown[:, None], faces, num_verts)
        return jnp.zeros(num_verts, bool).at[corners].set(True, mode="drop")

    return jax.vmap(of_image)(face_id)


def background_image(kind: str, size: int) -> Float[np.ndarray, "h w 3"]:
    """What lies behind the animal: 'black', 'white' or a 'checkerboard' of 8 px, RGB 0..1.

    Raises:
      ValueError: for another kind.
    """
    if kind == "checkerboard":
        cell = np.arange(size) // 8 % 2
        dark = (cell[:, None] != cell[None])[..., None]
        return np.tile(np.where(dark, 0.33, 0.66), (1, 1, 3)).astype(np.float32)
    if kind not in BACKGROUNDS:
        raise ValueError(f"background: expected one of {BACKGROUNDS}, got {kind!r}")
    return np.full((size, size, 3), float(kind == "white"), np.float32)


class Shaded(NamedTuple):
    """What the networks say of a surface's `n` points in `b` images.

    Attributes:
      albedo: 0..1.
      feature: 0..1.
      light: of each image: unit direction towards it in the camera frame, ambient, diffuse.
    """

    albedo: Float[Array, "n 3"]
    feature: Float[Array, "n c"]
    light: Float[Array, "b 5"]


def surface_shading(surface: Surface, light: Float[Array, "b 5"]) -> Float[Array, "n 1"]:
    """How much of the light of its image falls on each point; see `point_shading`."""
    return point_shading(surface.normal_cam, light, surface.image)


def lit_values(surface: Surface, shaded: Shaded) -> Float[Array, "n 4+c"]:
    """Colour, coverage 1 and feature of each point, to be composited; 0 for padding."""
    where = surface.normal_cam, shaded.light, surface.image, surface.pixel_count
    return shaded_values(shaded.albedo, shaded.feature, *where)


def composite(
    visible: Visible,
    values: Float[Array, "n c"],
    *,
    samples: int,
    background: Float[Array, "h w c"] | None = None,
) -> Float[Array, "b h w c"]:
    """Images of values given at the foreground pixels, smooth at silhouettes.

    Each pixel's value is repeated over its samples, cut by their coverage, antialiased and
    averaged, so the gradient of the silhouette reaches the vertices.

    Args:
      background: what shows behind, without gradient; None is zero.
    """
    return rasterizer_ffi.antialias_pooled(
        values,
        visible.coverage,
        visible.verts_clip,
        visible.faces,
        samples=samples,
        background=None if background is None else background[None],
        pixel=visible.surface.pixel,
    )
