"""Coats of rigged models: the file's own colours, changed material by material, and patches.

What covers much of the animal is its coat, and changes together; eyes, hooves and horns vary
little. Fields at the vertices are interpolated before they become colours, as in
`pony_jax.data.synthetic.coat`, so that edges of patches are sharp.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from pony_jax.data.rigged.template import RiggedTemplate
from pony_jax.data.synthetic.coat import COATS, NUM_WAVES, smooth_noise

FIELD_CHANNELS = 7  # gain of the file's colour, colour of patches, the field between them
_COAT_SHARE = 0.08  # of the surface; materials that cover more are the animal's coat
_PALETTE = np.array([COATS[name].base for name in COATS], np.float32)
_RECOLOUR_CHANCE = 0.6
_PATCH_CHANCE = 0.3
_MAX_GAIN = 5.0


def srgb_of_linear(linear: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Colours as they are shown; glTF states factors in linear light (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def sample_coat(key: PRNGKeyArray, template: RiggedTemplate) -> Float[Array, "d 7"]:
    """Fields of a random coat at the drawn vertices, for `albedo_of_fields`."""
    key_uniform, key_waves = jax.random.split(key)
    num_materials = len(template.material_names)
    uniform = jax.random.uniform(key_uniform, (10 + 4 * num_materials,))
    chances, tint, jitter = jnp.split(uniform, (6, 10))
    waves = jax.random.normal(key_waves, (3, NUM_WAVES, 4))
    is_coat, mean_colour = _coat_materials(template)

    wanted = jnp.asarray(_PALETTE)[(chances[0] * len(_PALETTE)).astype(int)]
    ratio = jnp.clip(wanted / mean_colour, 1 / _MAX_GAIN, _MAX_GAIN)
    recoloured = jnp.where(chances[1] < _RECOLOUR_CHANCE, ratio, 1.0)
    shift = jnp.exp(0.5 * (tint[0] - 0.5) + 0.12 * (tint[1:4] - 0.5))
    jitter = jitter.reshape(num_materials, 4)
    own = jnp.exp(0.4 * (jitter[:, :1] - 0.5) + 0.08 * (jitter[:, 1:] - 0.5))
    gains = own * jnp.where(is_coat[:, None], recoloured * shift, 1.0)

    points = jnp.asarray(template.verts[template.welded])
    coated = jnp.asarray(is_coat[template.materials], jnp.float32)[:, None]
    mottle = smooth_noise(waves[0], points, 0.15) + smooth_noise(waves[1], points, 0.5)
    gain = gains[template.materials] * (1 + 0.06 * mottle[:, None] * coated)
    patch = jnp.asarray(_PALETTE)[(chances[2] * len(_PALETTE)).astype(int)]
    patch = jnp.where(chances[3] < 0.5, jnp.array([0.92, 0.90, 0.86]), patch)
    field = 0.35 * (smooth_noise(waves[2], points, 0.55) - 0.8 * chances[4])
    field = jnp.where((chances[5] < _PATCH_CHANCE) & (coated[:, 0] > 0), field, -1.0)
    patches = jnp.broadcast_to(patch, points.shape)
    return jnp.concatenate([gain, patches, field[:, None]], axis=-1)


def _coat_materials(
    template: RiggedTemplate,
) -> tuple[np.ndarray, Float[np.ndarray, "3"]]:
    """Which materials are the coat, and its mean colour, sRGB."""
    corners = template.verts[template.faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    material_of_face = template.materials[template.drawn_faces[:, 0]]
    areas = np.bincount(material_of_face, area, len(template.material_names))
    is_coat = areas > _COAT_SHARE * areas.sum()
    colours = srgb_of_linear(template.colours).astype(np.float64)
    for material, texture in template.textures.items():
        colours[template.materials == material] *= texture.mean(axis=(0, 1))
    of_faces = colours[template.drawn_faces[:, 0]]
    weight = area * is_coat[material_of_face]
    return is_coat, (of_faces * weight[:, None]).sum(0) / weight.sum() + 1e-3


def albedo_of_fields(
    colours: Float[Array, "*n 3"], fields: Float[Array, "*n 7"]
) -> Float[Array, "*n 3"]:
    """Colour of skin from the file's own (sRGB) and interpolated coat fields, in 0..1."""
    gain, patch, field = jnp.split(fields, (3, 6), axis=-1)
    share = jnp.clip(0.5 + field / 0.03, 0.0, 1.0)
    return jnp.clip(colours * gain + share * (patch - colours * gain), 0.0, 1.0)
