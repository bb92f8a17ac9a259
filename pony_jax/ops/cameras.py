"""Pinhole cameras that look along -z, and projective transforms of points."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Camera(NamedTuple):
    """Cameras of a batch. Clip space has y down: row 0 of a render is the top of the image."""

    clip_from_world: Float[Array, "b 4 4"]
    cam_from_world: Float[Array, "b 4 4"]
    position_world: Float[Array, "b 3"]


def perspective_matrix(
    fov_y_deg: float, aspect: float = 1.0, near: float = 0.1, far: float = 1000.0
) -> Float[np.ndarray, "4 4"]:
    """Camera space (x right, y up, looking along -z) to clip space (y down, z/w -1 at `near`).

    MagicPony@e4a8b20:magicpony/render/util.py:perspective.

    Args:
      fov_y_deg: vertical field of view, degrees.
      aspect: width / height.
      near: distance of the near plane, world units.
      far: distance of the far plane.

    Raises:
      ValueError: for a field of view outside (0, 180) or planes that are not 0 < near < far.
    """
    if not 0 < fov_y_deg < 180:
        raise ValueError(f"fov_y_deg: expected 0 < fov < 180 degrees, got {fov_y_deg}")
    if not 0 < near < far:
        raise ValueError(f"near, far: expected 0 < near < far, got near={near}, far={far}")
    tangent = np.tan(np.deg2rad(fov_y_deg) / 2)
    return np.array(
        [
            [1 / (tangent * aspect), 0, 0, 0],
            [0, -1 / tangent, 0, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ],
        np.float32,
    )


def camera_from_pose(
    rotation: Float[Array, "b 3 3"],
    translation_cam: Float[Array, "b 3"],
    *,
    distance: float,
    fov_y_deg: float,
) -> Camera:
    """Cameras that see an object in given poses.

    Args:
      rotation: rows are the object's right, up and forward vectors in camera space.
      translation_cam: offset of the object's origin from (0, 0, -distance), camera space.
      distance: of the object's origin from the camera, world units.
      fov_y_deg: vertical field of view, degrees.
    """
    b = len(rotation)
    cam_from_object = jnp.swapaxes(rotation, 1, 2)
    translation = translation_cam + jnp.array([0.0, 0.0, -distance])
    upper = jnp.concatenate([cam_from_object, translation[:, :, None]], axis=2)
    last_row = jnp.broadcast_to(jnp.array([[[0.0, 0.0, 0.0, 1.0]]]), (b, 1, 4))
    cam_from_world = jnp.concatenate([upper, last_row], axis=1)
    return Camera(
        clip_from_world=jnp.asarray(perspective_matrix(fov_y_deg)) @ cam_from_world,
        cam_from_world=cam_from_world,
        position_world=-jnp.einsum("bij,bj->bi", rotation, translation),
    )


def transform_points(
    matrix: Float[Array, "*b 4 4"], points: Float[Array, "*b n 3"]
) -> Float[Array, "*b n 4"]:
    """Homogeneous images `matrix @ (x, y, z, 1)` of points."""
    # Written out: XLA's CPU backend takes four times as long for a product with an axis of three.
    x, y, z = jnp.moveaxis(points, -1, 0)
    rows = jnp.moveaxis(matrix, -2, 0)[..., None]
    images = [r[..., 0, :] * x + r[..., 1, :] * y + r[..., 2, :] * z + r[..., 3, :] for r in rows]
    return jnp.stack(images, axis=-1)
