"""The model as the paper's figure shows it: prior, viewpoint, rig, pose, surface, shading."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from pony_jax.model.capacities import Capacities, expected_capacities
from pony_jax.model.instance import Instance
from pony_jax.model.prior import Prior
from pony_jax.model.refine import RefineSettings
from pony_jax.model.render import Shaded, Surface, Visible
from pony_jax.model.rig import Posed, Rig, RigSettings, make_rig, pose
from pony_jax.model.schedule import Schedule, Step
from pony_jax.model.shade import RenderSettings
from pony_jax.model.stage import Stage
from pony_jax.model.viewpoint import CameraModel, Viewpoints, choose, probabilities_at
from pony_jax.ops.cameras import Camera
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.sparse_marching_tets import SparseMesh

Params = dict[str, Any]


class Estimate(NamedTuple):
    """What the networks read off the images of a batch.

    Attributes:
      scores: of the viewpoint hypotheses with their handicaps (`Instance.handicaps`), by which one
        is chosen: small is good.
      probabilities: of the viewpoint hypotheses.
      chosen: hypothesis whose camera is used.
      angles_rad: Euler angles of the bones; None while nothing articulates.
      appearance: vector that texture and light are made of.
    """

    viewpoints: Viewpoints
    scores: Float[Array, "b m"]
    probabilities: Float[Array, "b m"]
    chosen: Int[Array, " b"]
    camera: Camera
    rig: Rig
    angles_rad: Float[Array, "b k 3"] | None
    appearance: Float[Array, "b d"]


class Scene(NamedTuple):
    """The animals of a batch in front of their cameras, shaded where they are seen."""

    posed: Posed
    visible: Visible
    shaded: Shaded


class Pony(nn.Module):
    """MagicPony. Its parameters are those of `prior` (the category) and `instance` (an image).

    The methods of the forward pass run inside `apply`, as in
    `model.apply({"params": params}, batch, step, stage, method=Pony.__call__)`.
    `objective.Objective.loss` and `predict.predict` are made of it.

    Attributes:
      batch_size: images of a training batch.
      token_shape: side and channels of token maps.
    """

    prior: Prior
    instance: Instance
    camera: CameraModel
    rigging: RigSettings
    rendering: RenderSettings
    schedule: Schedule
    refinement: RefineSettings
    batch_size: int
    token_shape: tuple[int, int]

    def __call__(
        self,
        batch: dict[str, Array],
        step: Step,
        stage: Stage,
        *,
        key: Array | None = None,
        shift_yz: Float[Array, ""] | float = 0.0,
    ) -> tuple[SparseMesh, Estimate, Scene]:
        """Runs the forward pass.

        Args:
          batch: `image` [b, h, h, 3], `patch_key` and `patch_out` [b, t, t, c].
          step: number of training steps, for the hypotheses' probabilities.
          key: draws viewpoint hypotheses as training does; None takes the best ones.
          shift_yz: of the prior's grid, see `Prior.shape`.
        """
        shape = self.shape(stage, shift_yz)
        estimate = self.estimate(shape.mesh, batch, step, stage, key=key)
        posed = pose(
            estimate.rig,
            estimate.angles_rad,
            self.instance.skeleton,
            attach_legs=stage.attach_legs,
        )
        visible = self.rendering.find_surface(
            posed.verts, shape.mesh, estimate.camera, max_pixels=stage.capacities.pixels
        )
        shaded = self.shade(visible.surface, estimate.appearance)
        return shape, estimate, Scene(posed, visible, shaded)

    def shape(self, stage: Stage, shift_yz: Float[Array, ""] | float = 0.0) -> SparseMesh:
        """Returns the shape of the category; see `Prior.shape`."""
        return self.prior.shape(
            stage.grid_resolution,
            max_blocks=stage.capacities.blocks,
            max_points=stage.capacities.points,
            max_verts=stage.capacities.verts,
            max_faces=stage.capacities.faces,
            shift_yz=shift_yz,
        )

    def estimate(
        self,
        prior: Mesh,
        batch: dict[str, Array],
        step: Step,
        stage: Stage,
        *,
        key: Array | None = None,
    ) -> Estimate:
        """Reads off each image from where it was taken, and its animal's shape, pose and colours.

        Args:
          prior: mesh of the category.
          batch, step, key: as for `__call__`.
        """
        viewpoints = self.camera.read(
            self.instance.viewpoint, batch, read_elevation=step >= self.schedule.elevation_from
        )
        scores = viewpoints.scores + lax.stop_gradient(self.instance.handicaps())
        probabilities = probabilities_at(scores, self.schedule, step)
        chosen = choose(probabilities, self.schedule, step, key)
        camera = self.camera.camera_of(viewpoints, chosen)

        patch_key = batch["patch_key"]
        deformation = angles = None
        if stage.deformation or stage.articulation:
            shape_feature = self.instance.shape_feature(patch_key)
        if stage.deformation:
            deformation = self.instance.deformation(prior.verts, shape_feature, prior.vert_count)
        rig = make_rig(
            prior,
            deformation,
            self.instance.skeleton,
            self.rigging,
            num_images=len(patch_key),
            attach_legs=stage.attach_legs,
        )
        if stage.articulation:
            angles = self.instance.joint_angles(patch_key, shape_feature, rig.bones_rest, camera)
        appearance = self.instance.appearance(batch["patch_out"])
        return Estimate(viewpoints, scores, probabilities, chosen, camera, rig, angles, appearance)

    def shade(self, surface: Surface, appearance: Float[Array, "b d"]) -> Shaded:
        """Returns what the networks say of the visible surface of each image."""
        points, count = surface.point_rest, surface.pixel_count
        light = jnp.concatenate(self.instance.light(appearance), axis=-1)
        albedo = self.instance.albedo(points, appearance, surface.image, count)
        return Shaded(albedo, self.prior.feature(points, count), light)

    def albedo(
        self, points_prior: Float[Array, "n 3"], appearance: Float[Array, " d"]
    ) -> Float[Array, "n 3"]:
        """Returns the colours, 0..1, of one animal at points on the prior shape."""
        image = jnp.zeros(len(points_prior), jnp.int32)
        return self.instance.albedo(points_prior, appearance[None], image)

    # What can be asked without parameters.

    def init_params(self, key: Array) -> Params:
        """Returns fresh parameters: `prior` (the category) and `instance` (what an image says)."""
        prior_key, instance_key = jax.random.split(key)
        side, dim = self.token_shape
        tokens = jnp.zeros((1, side, side, dim))
        size = self.rendering.image_size
        camera = self.camera.camera(jnp.eye(3)[None], jnp.zeros((1, 3)))
        instance = nn.init(Instance.touch_all, self.instance)
        return {
            "prior": self.prior.init(prior_key, jnp.zeros((1, 3)))["params"],
            "instance": instance(instance_key, tokens, camera, size)["params"],
        }

    def stage_at(self, step: int, capacities: Capacities) -> Stage:
        """Returns the stage that training step `step` runs in."""
        return self.schedule.stage_at(step, capacities)

    def expected_counts(self, step: int) -> Capacities:
        """Returns sizes that the starting shape wants, and images that it fills to a quarter.

        Buffers grown to these last for a while; what turns out too small is grown later.
        """
        return expected_capacities(
            self.prior.start_half_axes,
            cell_size=2 * max(self.prior.grid_extent) / self.schedule.resolution_at(step),
            mirror=self.prior.sdf_mirror,
            num_pixels=self.batch_size * self.rendering.image_size**2,
        )
