"""Pictures of a shaded surface: in its light, and what lies beneath it."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pony_jax.model.render import (
    Shaded,
    Visible,
    background_image,
    composite,
    find_surface,
    surface_shading,
)
from pony_jax.ops.cameras import Camera
from pony_jax.ops.mesh import Mesh


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """How images are drawn.

    Attributes:
      image_size: side of an image, px.
      samples: subsamples of a pixel along each axis.
      background: behind the rendered colours, see `render.background_image`.
    """

    image_size: int
    samples: int
    background: str

    def resized(self, image_size: int | None) -> "RenderSettings":
        """Returns the same settings for images of another side, px; None keeps the side."""
        return self if image_size is None else dataclasses.replace(self, image_size=image_size)

    def find_surface(
        self,
        verts_posed: Float[Array, "b v 3"],
        prior: Mesh,
        camera: Camera,
        *,
        max_pixels: int | None = None,
    ) -> Visible:
        """Rasterises posed vertices of the prior; see `render.find_surface`.

        Args:
          max_pixels: capacity for the foreground of all images; None has room for every pixel.
        """
        return find_surface(
            verts_posed,
            prior.verts,
            prior.faces,
            camera,
            image_size=self.image_size,
            samples=self.samples,
            max_pixels=len(verts_posed) * self.image_size**2 if max_pixels is None else max_pixels,
        )

    def composite(self, visible: Visible, values: Float[Array, "n c"]) -> Float[Array, "b h w c"]:
        """Draws values of the visible surface, of which the first three are a colour.

        Behind the colour is the background, and zero behind the others.
        """
        background = None
        if self.background != "black":
            rgb = background_image(self.background, self.image_size)
            background = jnp.pad(rgb, ((0, 0), (0, 0), (0, values.shape[-1] - 3)))
        return composite(visible, values, samples=self.samples, background=background)


class Light(NamedTuple):
    """The light of each image.

    Attributes:
      direction_cam: unit vector towards it, camera frame.
      ambient, diffuse: strengths, see `ops.shading.directional_shading`.
    """

    direction_cam: Float[Array, "b 3"]
    ambient: Float[Array, "b 1"]
    diffuse: Float[Array, "b 1"]

    @classmethod
    def of(cls, shaded: Shaded) -> "Light":
        """Returns the light that a surface was shaded in."""
        return cls(*jnp.split(shaded.light, [3, 4], axis=-1))

    def seen_from(self, own: Camera, other: Camera) -> "Light":
        """Returns the same light, fixed to the world, in the frames of other cameras.

        Args:
          own: cameras in whose frames `direction_cam` is given.
        """
        other_from_own = other.cam_from_world[:, :3, :3] @ jnp.swapaxes(
            own.cam_from_world[:, :3, :3], 1, 2
        )
        direction = (other_from_own @ self.direction_cam[..., None])[..., 0]
        return self._replace(direction_cam=direction)


class View(NamedTuple):
    """Pictures of the animals of a batch, `[b, h, w, c]`, zero where nothing is.

    Attributes:
      image: colours in the light, in 0..1 save where light is bright; shows the background.
      mask: coverage.
      feature: features of the surface.
      normal: shading normal of the camera frame, -1..1 mapped to 0..1.
      albedo: colours without light, 0..1.
      shading: how much light falls on the surface.
    """

    image: Float[Array, "b h w 3"]
    mask: Float[Array, "b h w 1"]
    feature: Float[Array, "b h w c"]
    normal: Float[Array, "b h w 3"]
    albedo: Float[Array, "b h w 3"]
    shading: Float[Array, "b h w 1"]


def draw_view(visible: Visible, shaded: Shaded, settings: RenderSettings) -> View:
    """Draws everything that is known of a visible surface."""
    shading = surface_shading(visible.surface, shaded.light)
    parts = View(
        image=shaded.albedo * shading,
        mask=jnp.ones_like(shading),
        feature=shaded.feature,
        normal=(visible.surface.normal_cam + 1) / 2,
        albedo=shaded.albedo,
        shading=shading,
    )
    images = settings.composite(visible, jnp.concatenate(parts, axis=-1))
    ends = np.cumsum([part.shape[-1] for part in parts])[:-1]
    return View(*jnp.split(images, ends, axis=-1))
