"""Shading normals and directional light."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pony_jax.ops.numerics import safe_normalize


def shading_normal(
    smooth_normal: Float[Array, "*n 3"],
    face_normal: Float[Array, "*n 3"],
    to_camera: Float[Array, "*n 3"],
    *,
    two_sided: bool = True,
) -> Float[Array, "*n 3"]:
    """The normal that light falls on: the smooth one, bent to the face's where it is seen edge on.

    MagicPony@e4a8b20:magicpony/render/renderutils/bsdf.py. A smooth normal can
    point away from the camera at a silhouette; below an angle of 0.1 it gives way to the face's.
    The result is not of unit length where the two are mixed (a quirk; the renderer normalises it
    after turning it into the camera frame).

    Args:
      smooth_normal: interpolated vertex normal, of any length.
      face_normal: unit normal of the face, same frame.
      to_camera: from the point towards the camera, of any length.
      two_sided: turn both normals to the side of the face that the camera sees.
    """
    smooth_normal = safe_normalize(smooth_normal)
    to_camera = safe_normalize(to_camera)
    if two_sided:
        faces_camera = jnp.sum(face_normal * to_camera, axis=-1, keepdims=True) > 0
        smooth_normal = jnp.where(faces_camera, smooth_normal, -smooth_normal)
        face_normal = jnp.where(faces_camera, face_normal, -face_normal)
    cosine = jnp.sum(to_camera * smooth_normal, axis=-1, keepdims=True)
    share = jnp.clip(cosine / 0.1, 0.0, 1.0)
    return face_normal + share * (smooth_normal - face_normal)


def directional_shading(
    normal_cam: Float[Array, "*n 3"],
    direction: Float[Array, "*n 3"],
    ambient: Float[Array, "*n 1"],
    diffuse: Float[Array, "*n 1"],
) -> Float[Array, "*n 1"]:
    """Lambertian shading `ambient + diffuse * max(0, direction . normal)`; may exceed 1.

    MagicPony@e4a8b20:magicpony/render/light.py:DirectionalLight.

    Args:
      normal_cam: unit normals.
      direction: unit vectors towards the light, same frame.
    """
    cosine = jnp.sum(direction * normal_cam, axis=-1, keepdims=True)
    return ambient + diffuse * jnp.maximum(cosine, 0.0)
