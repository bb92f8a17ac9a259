"""Refinement in use: what the networks read off an image, fitted to the image itself."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from pony_jax.model.render import Shaded, Visible, render_silhouette, surface_shading
from pony_jax.model.rig import Rig, pose
from pony_jax.model.shade import RenderSettings
from pony_jax.model.viewpoint import CameraModel
from pony_jax.ops import losses
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.cameras import Camera
from pony_jax.ops.kinematics import hold_static_bones

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class RefineSettings:
    """How poses and colours are refined.

    Attributes:
      steps: of gradient descent on joint angles and camera position, and then of as many on the
        appearance vector; 0 refines nothing.
      pose_rate, appearance_rate: of the two descents' Adam; radians and world units a step, and
        units of the vector.
      mask, mask_pyramid: weights of the losses that compare the pose's silhouette with the
        predicted one, at the image's pixels and at coarser ones.
      articulation: weight of the loss that keeps joint angles small.
    """

    steps: int
    pose_rate: float
    appearance_rate: float
    mask: float
    mask_pyramid: float
    articulation: float

    def __post_init__(self) -> None:
        if self.steps and not (self.mask or self.mask_pyramid):
            raise ValueError(
                "model.refine_mask, model.refine_mask_pyramid: expected one of them above 0 for "
                f"{self.steps} steps of refinement, got 0 and 0; poses are fitted to silhouettes "
                "by these losses, so give one a weight or set model.refine_steps to 0"
            )

    def pose(
        self,
        rig: Rig,
        angles_rad: Float[Array, "b k 3"],
        camera: Camera,
        silhouette: Float[Array, "b h w 1"],
        skeleton: Skeleton,
        camera_model: CameraModel,
        rendering: RenderSettings,
        *,
        attach_legs: bool,
    ) -> tuple[Float[Array, "b k 3"], Camera]:
        """Returns joint angles and cameras that fit the predicted silhouettes better.

        A network that reads angles off tokens is right to within a token; the silhouette is known
        to a pixel. Gradient descent from the network's answer on the silhouette losses. Cameras
        move, but do not turn.

        Args:
          silhouette: probability that a pixel shows the animal.
        """
        rotation = jnp.swapaxes(camera.cam_from_world[:, :3, :3], 1, 2)
        origin_cam = camera.cam_from_world[:, :3, 3]
        translation = origin_cam + jnp.array([0.0, 0.0, camera_model.distance])
        ones = jnp.ones_like(silhouette)

        def loss(estimate: tuple[Array, Array]) -> Array:
            angles_rad, translation = estimate
            angles_rad = hold_static_bones(angles_rad, skeleton)
            posed = pose(rig, angles_rad, skeleton, attach_legs=attach_legs)
            alpha = render_silhouette(
                posed.verts,
                rig.prior.faces,
                camera_model.camera(rotation, translation),
                image_size=rendering.image_size,
                samples=rendering.samples,
            )
            fit = self.mask * losses.mask_loss(alpha, silhouette, ones)
            fit += self.mask_pyramid * losses.mask_pyramid_loss(alpha, silhouette, ones)
            # A sum over images: each is refined on its own.
            size = len(angles_rad) * losses.articulation_loss(angles_rad)
            return jnp.sum(fit) + self.articulation * size

        angles_rad, translation = descend(
            loss, (angles_rad, translation), rate=self.pose_rate, num_steps=self.steps
        )
        return angles_rad, camera_model.camera(rotation, translation)

    def appearance(
        self,
        shade: Callable[[Float[Array, "b d"]], Shaded],
        appearance: Float[Array, "b d"],
        visible: Visible,
        image: Float[Array, "b h w 3"],
        silhouette: Float[Array, "b h w 1"],
    ) -> Float[Array, "b d"]:
        """Returns appearance vectors whose colours come nearer to the photograph's.

        Texture and light are still what the model has learned to make of a vector, so hidden sides
        stay plausible; the vector is found by gradient descent instead of by one look.

        Args:
          shade: appearance -> what the networks say of the visible surface.
          silhouette: probability that a pixel shows the animal.
        """
        photograph = visible.at_surface(image)
        is_animal = visible.at_surface(silhouette) > 0.5

        def loss(appearance: Float[Array, "b d"]) -> Array:
            shaded = shade(appearance)
            rgb = shaded.albedo * surface_shading(visible.surface, shaded.light)
            error = rgb - photograph
            return jnp.sum(jnp.where(is_animal, error * error, 0.0))

        return descend(loss, appearance, rate=self.appearance_rate, num_steps=self.steps)


def descend(loss: Callable[[T], Array], start: T, *, rate: float, num_steps: int) -> T:
    """Returns Adam's answer after `num_steps` at a rate that falls from `rate` to 0.

    Adam looks at each number alone, so what belongs to an image depends on that image alone.
    """
    adam = optax.adam(optax.cosine_decay_schedule(rate, num_steps))

    def step(_: int, state: tuple[T, optax.OptState]) -> tuple[T, optax.OptState]:
        value, moments = state
        updates, moments = adam.update(jax.grad(loss)(value), moments)
        return optax.apply_updates(value, updates), moments

    value, _ = lax.fori_loop(0, num_steps, step, (start, adam.init(start)))
    return value
