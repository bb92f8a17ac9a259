"""The model in use: everything that it sees in images, without randomness."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pony_jax.model.capacities import Capacities, wanted_capacities
from pony_jax.model.pony import Estimate, Params, Pony
from pony_jax.model.rig import Rig, pose
from pony_jax.model.schedule import Step
from pony_jax.model.shade import Light, draw_view
from pony_jax.model.stage import Stage
from pony_jax.ops.cameras import Camera, transform_points
from pony_jax.ops.sparse_marching_tets import SparseMesh


class Prediction(NamedTuple):
    """What the model sees in images, from the best viewpoint hypothesis of each.

    Attributes:
      image, mask, feature, normal, albedo, shading: pictures [b, h, w, c], see `shade.View`.
      rig: the animals at rest.
      angles_rad: Euler angles of the bones, 0 while nothing articulates.
      posed_verts, posed_bones: the animals in their poses, world frame; see `rig.Posed`.
      bones_px: ends of the posed bones in the image, x right, y down.
      camera: where the images were taken from.
      rotation: rows are the animal's right, up and forward vectors, camera frame.
      light: that the images show.
      appearance: vectors that texture and light are made of, for `Pony.albedo`.
      hypothesis_rotations: `rotation` of every viewpoint hypothesis.
      probabilities: of the hypotheses.
      counts: sizes that the buffers wanted; where one exceeds the stage's capacity, everything
        here is of a truncated mesh or picture and must not be used.
    """

    image: Float[Array, "b h w 3"]
    mask: Float[Array, "b h w 1"]
    feature: Float[Array, "b h w c"]
    normal: Float[Array, "b h w 3"]
    albedo: Float[Array, "b h w 3"]
    shading: Float[Array, "b h w 1"]
    rig: Rig
    angles_rad: Float[Array, "b k 3"]
    posed_verts: Float[Array, "b v 3"]
    posed_bones: Float[Array, "b k 2 3"]
    bones_px: Float[Array, "b k 2 2"]
    camera: Camera
    rotation: Float[Array, "b 3 3"]
    light: Light
    appearance: Float[Array, "b d"]
    hypothesis_rotations: Float[Array, "b m 3 3"]
    probabilities: Float[Array, "b m"]
    counts: Capacities


def predict(
    model: Pony,
    params: Params,
    shape: SparseMesh,
    batch: dict[str, Array],
    step: Step,
    stage: Stage,
) -> Prediction:
    """Predicts everything about a batch; `evaluation.Predictor` is the door for users.

    Args:
      shape: of the category, `Pony.shape`.
      batch: `image` [b, h, h, 3], `patch_key` and `patch_out` [b, t, t, c].
      step: training steps behind the parameters.
    """
    bound, settings = model.bind({"params": params}), model.refinement
    estimate = bound.estimate(shape.mesh, batch, step, stage)
    silhouette = None
    if settings.steps:
        silhouette = nn.sigmoid(bound.instance.silhouette(batch["patch_key"], batch["image"]))
        estimate = _with_refined_pose(model, estimate, silhouette, stage)
    rig, camera = estimate.rig, estimate.camera
    posed = pose(rig, estimate.angles_rad, model.instance.skeleton, attach_legs=stage.attach_legs)
    visible = model.rendering.find_surface(
        posed.verts, rig.prior, camera, max_pixels=stage.capacities.pixels
    )
    appearance = estimate.appearance
    if settings.steps:
        appearance = settings.appearance(
            lambda appearance: model.apply(
                {"params": params}, visible.surface, appearance, method=Pony.shade
            ),
            appearance,
            visible,
            batch["image"],
            silhouette,
        )
    shaded = bound.shade(visible.surface, appearance)
    view = draw_view(visible, shaded, model.rendering)
    b, k = posed.bones.shape[:2]
    angles_rad = estimate.angles_rad
    return Prediction(
        **view._asdict(),
        rig=rig,
        angles_rad=jnp.zeros((b, k, 3)) if angles_rad is None else angles_rad,
        posed_verts=posed.verts,
        posed_bones=posed.bones,
        bones_px=_pixels_of(posed.bones, camera, model.rendering.image_size),
        camera=camera,
        rotation=jnp.swapaxes(camera.cam_from_world[:, :3, :3], 1, 2),
        light=Light.of(shaded),
        appearance=appearance,
        hypothesis_rotations=estimate.viewpoints.rotations,
        probabilities=estimate.probabilities,
        counts=wanted_capacities(shape, visible.surface.pixel_count),
    )


def _with_refined_pose(
    model: Pony, estimate: Estimate, silhouette: Float[Array, "b h w 1"], stage: Stage
) -> Estimate:
    """The estimate with joint angles and cameras that fit the silhouettes better."""
    if estimate.angles_rad is None:
        return estimate
    angles_rad, camera = model.refinement.pose(
        estimate.rig,
        estimate.angles_rad,
        estimate.camera,
        silhouette,
        model.instance.skeleton,
        model.camera,
        model.rendering,
        attach_legs=stage.attach_legs,
    )
    return estimate._replace(angles_rad=angles_rad, camera=camera)


def _pixels_of(
    points: Float[Array, "b k 2 3"], camera: Camera, image_size: int
) -> Float[Array, "b k 2 2"]:
    """Where points are in an image, px."""
    b, k = points.shape[:2]
    clip = transform_points(camera.clip_from_world, points.reshape(b, 2 * k, 3))
    pixels = (clip[..., :2] / clip[..., 3:] + 1) * image_size / 2
    return pixels.reshape(b, k, 2, 2)
