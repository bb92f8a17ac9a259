"""Posed animals seen from any camera."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pony_jax.model.pony import Params, Pony
from pony_jax.model.shade import Light, View, draw_view
from pony_jax.ops.cameras import Camera
from pony_jax.ops.mesh import Mesh


def render_view(
    model: Pony,
    params: Params,
    verts_posed: Float[Array, "b v 3"],
    prior: Mesh,
    camera: Camera,
    appearance: Float[Array, "b d"],
    light: Light | None = None,
    *,
    image_size: int | None = None,
) -> View:
    """Draws posed animals; there is room for every pixel, so nothing is ever left out.

    Args:
      verts_posed: where the vertices of `prior` are, world frame.
      prior: mesh of the category, for its faces and for where texture is looked up.
      camera: of any images, see `CameraModel.camera`.
      appearance: vectors that texture and light are made of (`Prediction.appearance`).
      light: in the frames of these cameras (`Light.seen_from`); None takes the light of
        `appearance` as if these cameras had taken the photographs.
      image_size: side of the pictures, px; None takes that of training.
    """
    rendering = model.rendering.resized(image_size)
    visible = rendering.find_surface(verts_posed, prior, camera)
    shaded = model.apply({"params": params}, visible.surface, appearance, method=Pony.shade)
    if light is not None:
        shaded = shaded._replace(light=jnp.concatenate(light, axis=-1))
    return draw_view(visible, shaded, rendering)
