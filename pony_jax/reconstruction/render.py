"""Pictures of a reconstructed animal from any camera, with its baked texture."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8
from PIL import Image, ImageDraw

import rasterizer_ffi
from pony_jax.ops.cameras import perspective_matrix
from pony_jax.ops.numerics import safe_normalize
from pony_jax.reconstruction.animal import Animal, TriangleMesh
from pony_jax.reconstruction.atlas import bake_animal

SHOWN = ("lit", "colours", "shading", "normals")
"""What pixels may show: colours in the light of the photograph, colours alone, light alone (as a
share of the brightest possible), or normals of camera space (-1..1 as 0..1)."""

_SAMPLES = 2  # along each axis of a pixel
_BACKGROUND = 0.93
_BODY, _LEG = (255, 120, 60), (60, 150, 255)


class Renderer:
    """Draws one animal.

    Attributes:
      animal: that is drawn.
      size: side of the (square) pictures, px.

    Args:
      texture_size: side of the baked colours, texels.
    """

    def __init__(self, animal: Animal, size: int, texture_size: int = 1024):
        self.animal = animal
        self.size = size
        self._textured = bake_animal(animal, texture_size)
        self._texture = np.asarray(self._textured.texture, np.float32)[None] / 255

    def draw(
        self,
        mesh: TriangleMesh,
        cam_from_world: Float[np.ndarray, "4 4"],
        shown: str = "lit",
    ) -> Image.Image:
        """A picture of a pose of the animal.

        Args:
          mesh: with the animal's faces.
          cam_from_world: where to look from, with the field of view of the animal's camera. The
            light keeps its place in the world.
          shown: one of `SHOWN`.

        Raises:
          ValueError: for anything else to be shown.
        """
        if shown not in SHOWN:
            raise ValueError(f"shown: expected one of {SHOWN}, got {shown!r}")
        clip_verts = _homogeneous(mesh.verts) @ self._clip_from_world(cam_from_world).T
        rows, light = self._textured.atlas.vert_rows, self.animal.light
        rgb = _render(
            clip_verts[rows].astype(np.float32),
            mesh.vertex_normals()[rows],
            self._textured.atlas.uv,
            self._textured.atlas.faces,
            self._texture,
            (self.animal.camera.cam_from_world[:3, :3].T @ light.direction_cam).astype(np.float32),
            np.array([light.ambient, light.diffuse], np.float32),
            cam_from_world[:3, :3].astype(np.float32),
            SHOWN.index(shown),
            self.size,
        )
        return Image.fromarray(np.asarray(rgb))

    def draw_bones(
        self, angles_rad: Float[np.ndarray, "k 3"], cam_from_world: Float[np.ndarray, "4 4"]
    ) -> Image.Image:
        """The skeleton over a faint picture of the shading: the body's bones and the legs'."""
        skeleton = self.animal.skeleton
        shading = self.draw(self.animal.pose(angles_rad), cam_from_world, "shading")
        picture = Image.blend(Image.new("RGB", shading.size, "white"), shading, 0.5)
        ends = skeleton.posed_bones(skeleton.world_from_rest(angles_rad)).reshape(-1, 3)
        clip = _homogeneous(ends) @ self._clip_from_world(cam_from_world).T
        px = ((clip[:, :2] / clip[:, 3:] + 1) * self.size / 2).reshape(-1, 2, 2)
        draw = ImageDraw.Draw(picture)
        radius = max(2, self.size // 100)
        body = {*skeleton.front(), *skeleton.rear()}
        for bone, (near, far) in enumerate(px.tolist()):
            colour = _BODY if bone in body else _LEG
            draw.line([*near, *far], fill=colour, width=max(2, radius - 1))
            for x, y in (near, far):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return picture

    def _clip_from_world(self, cam_from_world: np.ndarray) -> Float[np.ndarray, "4 4"]:
        return perspective_matrix(self.animal.camera.fov_y_deg) @ cam_from_world


@functools.partial(jax.jit, static_argnames="size")
def _render(
    verts_clip: Float[Array, "w 4"],
    normals: Float[Array, "w 3"],
    uv: Float[Array, "w 2"],
    faces: Int[Array, "f 3"],
    texture: Float[Array, "1 s s 3"],
    towards_light: Float[Array, " 3"],
    strengths: Float[Array, " 2"],
    cam_from_world: Float[Array, "3 3"],
    shown: Int[Array, ""] | int,
    size: int,
) -> UInt8[Array, "h w 3"]:
    """Pixels of `size` by `size`, each the mean of its samples."""
    fine = size * _SAMPLES
    rast, _ = rasterizer_ffi.rasterize(verts_clip[None], faces, (fine, fine), grad_db=False)
    values, _ = rasterizer_ffi.interpolate(jnp.concatenate([uv, normals], 1)[None], rast, faces)
    normal = safe_normalize(values[0, ..., 2:])
    ambient, diffuse = strengths

    def albedo() -> Float[Array, "f f 3"]:
        uv = values[..., :2]
        return rasterizer_ffi.texture(texture, uv, filter_mode="linear", boundary_mode="clamp")[0]

    def shading() -> Float[Array, "f f 1"]:
        return ambient + diffuse * jnp.maximum(normal @ towards_light, 0)[..., None]

    branches = [
        lambda: albedo() * shading(),
        albedo,
        lambda: jnp.tile(0.9 * shading() / jnp.maximum(ambient + diffuse, 1e-6), 3),
        lambda: 0.5 + 0.5 * normal @ cam_from_world.T,
    ]
    rgb = lax.switch(shown, branches)
    rgb = jnp.where(rast[0, ..., 3:] > 0, jnp.clip(rgb, 0, 1), _BACKGROUND)
    rgb = rgb.reshape(size, _SAMPLES, size, _SAMPLES, 3).mean(axis=(1, 3))
    return jnp.rint(255 * rgb).astype(jnp.uint8)


def orbit_camera(
    animal: Animal,
    azimuth_rad: float,
    around: Float[np.ndarray, " 3"] | None = None,
) -> Float[np.ndarray, "4 4"]:
    """A camera that has gone around the animal, which it shows whole; returns `cam_from_world`.

    Args:
      azimuth_rad: from the side of the photograph's camera, to its right (counter-clockwise seen
        from above).
      around: the point in the middle of the view; None is the middle of the posed mesh.
    """
    posed, rest = animal.posed_mesh.verts, animal.rest_mesh.verts
    middle = (posed.min(axis=0) + posed.max(axis=0)) / 2
    around = middle if around is None else around
    # A cylinder about the posed mesh, and about the rest mesh as if it stood in the same place.
    radius = half_height = 0.0
    for verts in (posed - middle, rest - (rest.min(axis=0) + rest.max(axis=0)) / 2):
        radius = max(radius, float(np.linalg.norm(verts[:, [0, 2]], axis=1).max()))
        half_height = max(half_height, float(np.abs(verts[:, 1]).max()))
    angle = np.deg2rad(animal.camera.fov_y_deg / 2)
    distance = 1.08 * max(radius / np.sin(angle), radius + half_height / np.tan(angle))
    eye = animal.camera.world_from_cam[:3, 3] - around
    azimuth = np.arctan2(eye[0], eye[2]) + azimuth_rad
    height = np.arcsin(eye[1] / np.linalg.norm(eye))
    back = np.array(
        [np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth)]
    )
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    matrix = np.eye(4)
    matrix[:3, :3] = [right, np.cross(back, right), back]
    matrix[:3, 3] = -matrix[:3, :3] @ around - [0, 0, distance]
    return matrix


def _homogeneous(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    return np.c_[points, np.ones(len(points))]
