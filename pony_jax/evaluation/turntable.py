"""The prior shape seen from around it."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pony_jax.model import Pony
from pony_jax.model.render import composite
from pony_jax.ops.cameras import Camera
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.rotations import look_at_rotation

PRIOR_AZIMUTHS_DEG = {"+z": 0.0, "-x": 90.0, "-z": 180.0, "+x": 270.0}
"""Views of the prior shape, by the object axis that they look from.

Not by parts of the body: which end the head is at is the model's own choice."""


def turntable_cameras(model: Pony, azimuths_deg: Float[Array, " n"]) -> Camera:
    """Returns level cameras around the object, from which the near side of its box fills the view.

    Azimuth 0 looks from the object's +z, 90 from its -x, with +z on the image's right.
    """
    azimuth = jnp.deg2rad(jnp.asarray(azimuths_deg, jnp.float32))
    forward = jnp.stack([jnp.sin(azimuth), jnp.zeros_like(azimuth), jnp.cos(azimuth)], axis=-1)
    half_side = max(model.prior.grid_extent) / 2
    distance = half_side / np.tan(np.deg2rad(model.camera.fov_y_deg / 2)) + half_side
    back = jnp.array([0.0, 0.0, model.camera.distance - distance])
    return model.camera.camera(look_at_rotation(forward), jnp.tile(back, (len(azimuth), 1)))


def render_prior(
    model: Pony, prior: Mesh, azimuths_deg: Float[Array, " n"], image_size: int
) -> Float[Array, "n h w 3"]:
    """Draws grey views of the prior shape, lit from the camera; see `turntable_cameras`."""
    cameras = turntable_cameras(model, azimuths_deg)
    rendering = model.rendering.resized(image_size)
    verts = jnp.broadcast_to(prior.verts, (len(azimuths_deg), *prior.verts.shape))
    visible = rendering.find_surface(verts, prior, cameras)
    grey = 0.15 + 0.75 * jnp.maximum(visible.surface.normal_cam[:, 2:], 0.0)
    return jnp.tile(composite(visible, grey, samples=rendering.samples), (1, 1, 1, 3))
