"""The texture network fitted to one photograph, in use."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pony_jax.model.pony import Params, Pony
from pony_jax.model.refine import descend
from pony_jax.model.render import surface_shading
from pony_jax.ops.cameras import Camera
from pony_jax.ops.mesh import Mesh

_TEXTURE = "texture_field"
_RATE = 1e-3
_STEPS = 50


def fine_tune_texture(
    model: Pony,
    params: Params,
    prior: Mesh,
    posed_verts: Float[Array, "1 v 3"],
    camera: Camera,
    appearance: Float[Array, "1 d"],
    image: Float[Array, "1 h h 3"],
    is_animal: Bool[Array, "1 h h"],
) -> Params:
    """Returns parameters whose texture network shows one photograph's colours on the seen side.

    As the original does for its pictures: Adam, 50 steps on the absolute error of colours, the
    texture network alone (MagicPony@e4a8b20, `finetune_texture`), except that the rate falls to 0.
    Shape, pose, camera, light and the appearance vector stay as they are.

    Args:
      prior, posed_verts, camera, appearance: of `predict.Prediction`, of one image.
      is_animal: pixels whose colours count.
    """
    visible = model.rendering.find_surface(
        posed_verts, prior, camera, max_pixels=model.rendering.image_size**2
    )
    photograph, counts = visible.at_surface(image), visible.at_surface(is_animal[..., None])

    def with_texture(texture: Any) -> Params:
        return params | {"instance": params["instance"] | {_TEXTURE: texture}}

    def loss(texture: Any) -> Array:
        shaded = model.apply(
            {"params": with_texture(texture)}, visible.surface, appearance, method=Pony.shade
        )
        rgb = shaded.albedo * surface_shading(visible.surface, shaded.light)
        return jnp.mean(jnp.where(counts, abs(rgb - photograph), 0.0))

    texture = descend(loss, params["instance"][_TEXTURE], rate=_RATE, num_steps=_STEPS)
    return with_texture(texture)
