"""The forward pass, in the order of the paper: prior, image, viewpoint, pose, render, losses."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from pony_jax.model.instance import Instance
from pony_jax.model.objective import (
    Batch,
    FlowLosses,
    LossWeights,
    flow_losses,
    image_losses,
    total_loss,
)
from pony_jax.model.prior import Prior
from pony_jax.model.render import (
    Shaded,
    Visible,
    background_image,
    composite,
    find_surface,
    lit_values,
    render_flow,
    render_silhouette,
    surface_shading,
)
from pony_jax.model.stage import NO_CAPACITIES, Capacities, Stage
from pony_jax.ops import losses
from pony_jax.ops.bones import estimate_bones
from pony_jax.ops.cameras import Camera, camera_from_pose, transform_points
from pony_jax.ops.kinematics import hold_static_bones, posed_bone_transforms
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.rotations import look_at_rotation
from pony_jax.ops.schedules import linear_ramp
from pony_jax.ops.skinning import pose_bones, skin, skinning_weights
from pony_jax.ops.sparse_marching_tets import SparseMesh
from pony_jax.ops.viewpoint import (
    Hypotheses,
    choose_hypothesis,
    decode_hypotheses,
    hypothesis_probabilities,
    mirrored_outputs,
    orientation_matrix,
)

T = TypeVar("T")
Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in steps.

    Hypothesis probabilities are uniform until `uniform_until`, then blend into the softmax until
    `softmax_from`, but for a `uniform_share`: an image counts by the probability of the hypothesis
    that renders it, and one that counts nothing cannot learn that it is wrong. From `best_from` on
    the best hypothesis is drawn more and more often, up to `best_share` of a batch at `best_full`.
    The softmax's gain grows with the step to `max_gain` at `max_gain_at`, and is at least 1.
    """

    uniform_until: int
    softmax_from: int
    uniform_share: float
    best_from: int
    best_full: int
    best_share: float
    max_gain: float
    max_gain_at: int
    articulation_from: int
    attach_legs_from: int
    articulation_loss_from: int
    deformation_from: int
    fine_grid_from: int


@dataclasses.dataclass(frozen=True)
class CameraModel:
    """Where cameras may stand: distance and shifts in world units, angles in degrees."""

    distance: float
    fov_y_deg: float
    max_shift_xy: float
    max_shift_z: float
    hypotheses: str
    hypothesis_side: str
    level_horizon: bool
    max_turn_deg: tuple[float, float, float]


class Rig(NamedTuple):
    """The animals of a batch before they are posed.

    Attributes:
      verts: of the prior, deformed for each image where the stage does that (`s` is b or 1).
      leg_attachments: body bone that each leg hangs from.
      weights: share of each bone in each vertex; None while nothing articulates.
    """

    rest: Mesh
    deformation: Float[Array, "b v 3"] | None
    verts: Float[Array, "s v 3"]
    bones: Float[Array, "b k 2 3"]
    leg_attachments: Int[Array, " l"]
    weights: Float[Array, "s v k"] | None
    shape_feature: Float[Array, "b d"] | None


class Prediction(NamedTuple):
    """What the model sees in a batch, from the best viewpoint hypothesis, without randomness.

    Images are `[b, h, w, c]` in 0..1 (the render may exceed 1 in bright light), zero where nothing
    is, save the background of `image`; `normal` maps -1..1 of the camera frame to 0..1. `bones_px`
    has x right, y down.
    """

    image: Array
    mask: Array
    feature: Array
    normal: Array
    albedo: Array
    shading: Array
    posed_verts: Array
    posed_bones: Array
    bones_px: Array
    camera: Camera
    rotation: Array
    probabilities: Array
    angles_rad: Array
    rest: Mesh
    counts: Capacities


@dataclasses.dataclass(frozen=True)
class Pony:
    """The whole model; pure functions of parameters.

    Attributes:
      samples: subsamples of a pixel along each axis.
      clip_frames: consecutive images of a batch that are frames of one clip; 1 = none are.
      background: behind the rendered colours, see `render.background_image`.
      viewpoint_tokens: token map that viewpoints are read from, 'patch_key' or 'patch_out'.
      viewpoint_mirror: whether the mirrored tokens are read as well, so that a mirror image has the
        mirrored viewpoint.
      jitter: largest shift of the grid in training, as a share of `prior.grid_scale`.
      eikonal_points: points of the Eikonal loss, half of them uniform in the grid's box and half
        near the surface.
      refine_steps: of gradient descent that `predict` spends on joint angles and camera position,
        and then on the appearance vector.
      refine_pose_rate, refine_appearance_rate: of the two descents' Adam; radians and world units a
        step, and units of the vector.
    """

    prior: Prior
    instance: Instance
    camera: CameraModel
    weights: LossWeights
    schedule: Schedule
    coarse_resolution: int
    fine_resolution: int
    image_size: int
    batch_size: int
    clip_frames: int
    viewpoint_tokens: str
    viewpoint_mirror: bool
    background: str
    samples: int
    jitter: float
    eikonal_points: int
    refine_steps: int
    refine_pose_rate: float
    refine_appearance_rate: float
    skinning_temperature: float
    leg_attachments: tuple[int, ...] | None
    token_shape: tuple[int, int]

    # Parameters and stages

    def init(self, key: Array) -> Params:
        """Fresh parameters: `prior` (the category) and `instance` (what is read off an image)."""
        prior_key, instance_key = jax.random.split(key)
        side, dim = self.token_shape
        tokens = jnp.zeros((1, side, side, dim))
        bones = jnp.zeros((1, self.instance.skeleton.num_bones, 2, 3))
        camera = self._camera(jnp.eye(3)[None], jnp.zeros((1, 3)))

        def touch_all(instance: Instance) -> None:
            shape_feature = instance.shape_feature(tokens)
            appearance = instance.appearance(tokens)
            instance.viewpoint(tokens)
            instance.light(appearance)
            instance.albedo(jnp.zeros((1, 3)), appearance, jnp.zeros(1, jnp.int32))
            instance.deformation(jnp.zeros((1, 3)), shape_feature)
            instance.joint_angles(tokens, shape_feature, bones, camera)
            if instance.silhouette_hidden:
                instance.silhouette(tokens, jnp.zeros((1, self.image_size, self.image_size, 3)))

        prior = self.prior.init(prior_key, jnp.zeros((1, 3)))["params"]
        instance = self.instance.init(instance_key, method=touch_all)["params"]
        return {"prior": prior, "instance": instance}

    def stage_at(self, step: int, capacities: Capacities) -> Stage:
        """The stage that training step `step` runs in."""
        schedule = self.schedule
        fine = step >= schedule.fine_grid_from
        return Stage(
            grid_resolution=self.fine_resolution if fine else self.coarse_resolution,
            articulation=step >= schedule.articulation_from,
            deformation=step >= schedule.deformation_from,
            attach_legs=step >= schedule.attach_legs_from,
            capacities=capacities,
        )

    def expected_counts(self, step: int) -> Capacities:
        """Sizes of the starting shape and of images filled to a quarter.

        Buffers grown to these last for a while; the training loop grows what turns out too small.
        """
        resolution = self.stage_at(step, NO_CAPACITIES).grid_resolution
        cell = 2 * max(self.prior.grid_extent) / resolution
        x, y, z = self.prior.start_half_axes
        # Thomsen's formula for the area of an ellipsoid, within 2 %.
        area = 4 * np.pi * (((x * y) ** 1.6 + (x * z) ** 1.6 + (y * z) ** 1.6) / 3) ** (1 / 1.6)
        verts = 8 * area / cell**2  # 6.4 a cell's face are used (measured), and legs are to come
        pixels = 0.24 * self.batch_size * self.image_size**2
        sides = 1 if self.prior.sdf_mirror else 2
        blocks, points = 0.1 * sides * verts, 0.33 * sides * verts  # a tenth more than measured
        return Capacities(*map(int, (verts, 2 * verts, pixels, blocks, points)))

    # The forward pass

    def _apply(self, params: Params, method: str, *args: Any) -> Any:
        return self.instance.apply({"params": params["instance"]}, *args, method=method)

    def _camera(self, rotation: Float[Array, "b 3 3"], translation: Float[Array, "b 3"]) -> Camera:
        return camera_from_pose(
            rotation, translation, distance=self.camera.distance, fov_y_deg=self.camera.fov_y_deg
        )

    def _prior_shape(
        self, params: Params, stage: Stage, shift_yz: Array | float = 0.0
    ) -> SparseMesh:
        return self.prior.apply(
            {"params": params["prior"]},
            stage.grid_resolution,
            max_blocks=stage.capacities.blocks,
            max_points=stage.capacities.points,
            max_verts=stage.capacities.verts,
            max_faces=stage.capacities.faces,
            shift_yz=shift_yz,
            method="shape",
        )

    def _hypotheses(self, params: Params, batch: Batch) -> Hypotheses:
        kind, tokens = self.camera.hypotheses, batch[self.viewpoint_tokens]
        if self.viewpoint_mirror:
            both = jnp.concatenate([tokens, tokens[:, :, ::-1]])
            raw, mirrored = jnp.split(self._apply(params, "viewpoint", both), 2)
            raw = (raw + mirrored_outputs(mirrored, kind)) / 2
        else:
            raw = self._apply(params, "viewpoint", tokens)
        return decode_hypotheses(
            raw,
            kind=kind,
            side=self.camera.hypothesis_side,
            zero_y=self.camera.level_horizon,
            max_trans_xy=self.camera.max_shift_xy,
            max_trans_z=self.camera.max_shift_z,
            max_turn_deg=self.camera.max_turn_deg,
        )

    def _probabilities(
        self, hypotheses: Hypotheses, step: Int[Array, ""] | int
    ) -> Float[Array, "b m"]:
        schedule = self.schedule
        return hypothesis_probabilities(
            hypotheses.logits,
            # A line through the origin, but at least 1.
            temperature_gain=linear_ramp(
                step,
                schedule.max_gain_at / schedule.max_gain,
                schedule.max_gain_at,
                1.0,
                schedule.max_gain,
            ),
            uniform_mix=linear_ramp(
                step,
                schedule.uniform_until,
                schedule.softmax_from,
                1.0,
                schedule.uniform_share,
            ),
        )

    def _rig(self, params: Params, batch: Batch, rest: Mesh, stage: Stage) -> Rig:
        """Deforms the prior for each image and puts the skeleton into it."""
        b = len(batch["patch_key"])
        valid = jnp.arange(len(rest.verts)) < rest.vert_count
        shape_feature = deformation = weights = None
        if stage.deformation or stage.articulation:
            shape_feature = self._apply(params, "shape_feature", batch["patch_key"])
        verts = rest.verts[None]
        if stage.deformation:
            deformation = self._apply(
                params, "deformation", rest.verts, shape_feature, rest.vert_count
            )
            verts = verts + deformation
        skeleton = self.instance.skeleton
        bones, attachments = estimate_bones(verts, valid, skeleton, self.leg_attachments)
        if stage.articulation:
            weights = skinning_weights(verts, bones, self.skinning_temperature, rest.vert_count)
        bones = jnp.broadcast_to(bones, (b, *bones.shape[1:]))
        return Rig(rest, deformation, verts, bones, attachments, weights, shape_feature)

    def _angles(
        self, params: Params, batch: Batch, rig: Rig, camera: Camera
    ) -> Float[Array, "b k 3"] | None:
        """Joint angles as the network reads them off the images; None while nothing articulates."""
        if rig.weights is None:
            return None
        return self._apply(
            params, "joint_angles", batch["patch_key"], rig.shape_feature, rig.bones, camera
        )

    def _pose(
        self, rig: Rig, angles_rad: Float[Array, "b k 3"] | None, stage: Stage
    ) -> tuple[Float[Array, "b v 3"], Float[Array, "b k 2 3"]]:
        """Vertices and bones at some joint angles."""
        b = len(rig.bones)
        verts = jnp.broadcast_to(rig.verts, (b, *rig.verts.shape[1:]))
        if angles_rad is None:
            return verts, rig.bones
        transforms = posed_bone_transforms(
            rig.bones, angles_rad, self.instance.skeleton, rig.leg_attachments, stage.attach_legs
        )
        weights = jnp.broadcast_to(rig.weights, (b, *rig.weights.shape[1:]))
        posed = skin(verts, weights, transforms, rig.rest.vert_count)
        return posed, pose_bones(rig.bones, transforms)

    def _find_surface(
        self, verts_posed: Float[Array, "b v 3"], rest: Mesh, camera: Camera, stage: Stage
    ) -> Visible:
        return find_surface(
            verts_posed,
            rest.verts,
            rest.faces,
            camera,
            image_size=self.image_size,
            samples=self.samples,
            max_pixels=stage.capacities.pixels,
        )

    def _shade(self, params: Params, appearance: Float[Array, "b d"], visible: Visible) -> Shaded:
        """What the networks say of the visible surface."""
        surface, count = visible.surface, visible.surface.pixel_count
        light = jnp.concatenate(self._apply(params, "light", appearance), axis=-1)
        albedo = self._apply(params, "albedo", surface.point_rest, appearance, surface.image, count)
        feature = self.prior.apply(
            {"params": params["prior"]},
            surface.point_rest,
            count,
            method=lambda prior, points, count: prior.feature(points, count),
        )
        return Shaded(albedo, feature, light)

    def _background(self, values: Float[Array, "n c"]) -> Float[Array, "h w c"] | None:
        """Behind values whose first three channels are a colour; behind the others is zero."""
        if self.background == "black":
            return None
        rgb = background_image(self.background, self.image_size)
        return jnp.pad(rgb, ((0, 0), (0, 0), (0, values.shape[-1] - 3)))

    def _counts(self, shape: SparseMesh, visible: Visible) -> Capacities:
        return Capacities(
            verts=shape.mesh.vert_count,
            faces=shape.mesh.face_count,
            pixels=visible.surface.pixel_count,
            blocks=shape.block_count,
            points=shape.point_count,
        )

    def loss(
        self, params: Params, batch: Batch, step: Int[Array, ""], key: Array, stage: Stage
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training objective of one batch.

        Returns:
          The scalar loss, and `{'metrics': every term, 'counts': sizes wanted of the buffers}`.
          Where a count exceeds its capacity the loss is of a truncated mesh and must not be used.
        """
        jitter_key, pose_key, prior_key, dropout_key = jax.random.split(key, 4)
        largest = self.jitter * self.prior.grid_scale
        shift = jax.random.uniform(jitter_key, minval=-largest, maxval=largest)
        shape = self._prior_shape(params, stage, shift)
        rest = shape.mesh

        hypotheses = self._hypotheses(params, batch)
        probabilities = self._probabilities(hypotheses, step)
        schedule = self.schedule
        chosen = choose_hypothesis(
            pose_key,
            probabilities,
            best_share=linear_ramp(
                step, schedule.best_from, schedule.best_full, 0.0, schedule.best_share
            ),
            training=True,
        )
        camera = self._chosen_camera(hypotheses, chosen)
        rig = self._rig(params, batch, rest, stage)
        angles = self._angles(params, batch, rig, camera)
        verts_posed, _ = self._pose(rig, angles, stage)
        visible = self._find_surface(verts_posed, rest, camera, stage)
        appearance = self._apply(params, "appearance", batch["patch_out"])
        values = lit_values(visible.surface, self._shade(params, appearance, visible))
        render = composite(
            visible, values, samples=self.samples, background=self._background(values)
        )

        pick = jnp.arange(len(chosen)), chosen
        loss, metrics = total_loss(
            image_losses(render, batch),
            self._regularisers(params, rig, angles, step, prior_key)
            | self._silhouette_term(params, batch, dropout_key),
            flow=self._flow_losses(visible, render[..., 3:4], batch, chosen),
            score=hypotheses.logits[pick],
            probability=probabilities[pick],
            num_hypotheses=probabilities.shape[1],
            weights=self.weights,
        )
        metrics["best_probability"] = jnp.mean(jnp.max(probabilities, axis=-1))
        return loss, {"metrics": metrics, "counts": self._counts(shape, visible)}

    def _flow_losses(
        self,
        visible: Visible,
        alpha: Float[Array, "b h w 1"],
        batch: Batch,
        chosen: Int[Array, " b"],
    ) -> FlowLosses | None:
        """Of the posed meshes of consecutive frames; None where flow does not count."""
        if not self.weights.flow:
            return None
        flow = render_flow(visible, num_frames=self.clip_frames, samples=self.samples)
        return flow_losses(flow, alpha, batch, chosen, num_frames=self.clip_frames)

    def _chosen_camera(self, hypotheses: Hypotheses, chosen: Int[Array, " b"]) -> Camera:
        orientation = hypotheses.orientation[jnp.arange(len(chosen)), chosen]
        rotation = orientation_matrix(orientation, self.camera.hypotheses)
        return self._camera(rotation, hypotheses.translation_cam)

    def _regularisers(
        self,
        params: Params,
        rig: Rig,
        angles_rad: Float[Array, "b k 3"] | None,
        step: Int[Array, ""],
        key: Array,
    ) -> dict[str, Float[Array, ""]]:
        """The terms that do not depend on the render."""
        eikonal_key, gap_key = jax.random.split(key)
        terms = {"eikonal": self._eikonal(params, rig.rest, eikonal_key)}
        if rig.deformation is not None:
            terms["deformation"] = losses.deformation_loss(rig.deformation, rig.rest.vert_count)
        if angles_rad is not None:
            on = step >= self.schedule.articulation_loss_from
            terms["articulation"] = jnp.where(on, losses.articulation_loss(angles_rad), 0.0)
            if self.weights.leg_gap:
                terms["leg_gap"] = self._leg_gap(params, rig, gap_key)
        return terms

    def _silhouette_term(
        self, params: Params, batch: Batch, dropout_key: Array
    ) -> dict[str, Float[Array, ""]]:
        if not self.instance.silhouette_hidden:
            return {}
        logits = self._apply(params, "silhouette", batch["patch_key"], batch["image"], dropout_key)
        return {"silhouette": losses.silhouette_loss(logits, batch["mask"])}

    def _eikonal(self, params: Params, rest: Mesh, key: Array) -> Float[Array, ""]:
        """Unit gradients in the box and near the surface (the origin stands in for padding)."""
        box_key, row_key, noise_key = jax.random.split(key, 3)
        n = self.eikonal_points // 2
        extent = jnp.array(self.prior.grid_extent)
        in_box = (jax.random.uniform(box_key, (n, 3)) - 0.5) * extent
        row = jax.random.randint(row_key, (n,), 0, jnp.maximum(rest.vert_count, 1))
        noise = (jax.random.uniform(noise_key, (n, 3)) - 0.5) * 0.1 * self.prior.grid_scale
        near = lax.stop_gradient(rest.verts)[row] + noise
        gradients = self.prior.apply(
            {"params": params["prior"]}, jnp.concatenate([in_box, near]), method="sdf_gradients"
        )
        return losses.eikonal_loss(gradients)

    def _leg_gap(self, params: Params, rig: Rig, key: Array) -> Float[Array, ""]:
        """Depth of the shape in the plane of symmetry, between the lower legs of each pair.

        From the side, two legs and one leg in the middle look alike.
        """
        skeleton = self.instance.skeleton
        legs = rig.bones[0, skeleton.num_body_bones :]
        legs = legs.reshape(skeleton.num_legs, skeleton.num_leg_bones, 2, 3)[:2]  # the +x side
        foot, hip = legs[:, 0, 1], legs[:, -1, 0]
        # From above the knee to below the foot, since a foot in the middle is not found as one.
        share_key, z_key = jax.random.split(key)
        share = jax.random.uniform(share_key, (500, 2, 1), minval=0.6, maxval=1.2)
        points = hip + share * (foot - hip)
        half_width = 0.04 * self.prior.grid_scale
        z = points[..., 2] + jax.random.uniform(z_key, (500, 2), minval=-1.0) * half_width
        points = jnp.stack([jnp.zeros_like(z), points[..., 1], z], axis=-1)
        sdf = self.prior.apply(
            {"params": params["prior"]},
            points.reshape(-1, 3),
            method=lambda prior, points: prior.sdf(points),
        )
        return losses.outside_loss(sdf, margin=0.015 * self.prior.grid_scale)

    # Use

    def predict(
        self, params: Params, batch: Batch, step: Int[Array, ""] | int, stage: Stage
    ) -> Prediction:
        """Everything that the model sees in a batch; see `Prediction`."""
        hypotheses = self._hypotheses(params, batch)
        probabilities = self._probabilities(hypotheses, step)
        chosen = jnp.argmax(probabilities, axis=-1)
        camera = self._chosen_camera(hypotheses, chosen)
        shape = self._prior_shape(params, stage)
        rest = shape.mesh
        rig = self._rig(params, batch, rest, stage)
        angles = self._angles(params, batch, rig, camera)
        if self.refine_steps:
            logits = self._apply(params, "silhouette", batch["patch_key"], batch["image"])
            silhouette = nn.sigmoid(logits)
            if angles is not None:
                angles, camera = self._refine_pose(rig, angles, camera, silhouette, stage)
        verts_posed, bones_posed = self._pose(rig, angles, stage)
        visible = self._find_surface(verts_posed, rest, camera, stage)
        appearance = self._apply(params, "appearance", batch["patch_out"])
        if self.refine_steps:
            appearance = self._refine_appearance(
                params, appearance, visible, batch["image"], silhouette
            )
        shaded = self._shade(params, appearance, visible)
        shading = surface_shading(visible.surface, shaded.light)
        parts = {
            "image": shaded.albedo * shading,
            "mask": jnp.ones_like(shading),
            "feature": shaded.feature,
            "normal": (visible.surface.normal_cam + 1) / 2,
            "albedo": shaded.albedo,
            "shading": shading,
        }
        values = jnp.concatenate(list(parts.values()), axis=-1)
        values = composite(
            visible, values, samples=self.samples, background=self._background(values)
        )
        ends = np.cumsum([part.shape[-1] for part in parts.values()])[:-1]
        images = dict(zip(parts, jnp.split(values, ends, axis=-1), strict=True))
        b, k = bones_posed.shape[:2]
        clip = transform_points(camera.clip_from_world, bones_posed.reshape(b, 2 * k, 3))
        bones_px = (clip[..., :2] / clip[..., 3:] + 1) * self.image_size / 2
        return Prediction(
            **images,
            posed_verts=verts_posed,
            posed_bones=bones_posed,
            bones_px=bones_px.reshape(b, k, 2, 2),
            camera=camera,
            rotation=jnp.swapaxes(camera.cam_from_world[:, :3, :3], 1, 2),
            probabilities=probabilities,
            angles_rad=jnp.zeros((b, k, 3)) if angles is None else angles,
            rest=rest,
            counts=self._counts(shape, visible),
        )

    def _refine_pose(
        self,
        rig: Rig,
        angles_rad: Float[Array, "b k 3"],
        camera: Camera,
        silhouette: Float[Array, "b h w 1"],
        stage: Stage,
    ) -> tuple[Float[Array, "b k 3"], Camera]:
        """Joint angles and camera position that fit the predicted silhouette better.

        A network that reads angles off tokens is right to within a token; the silhouette is known
        to a pixel. Gradient descent from the network's answer on the silhouette losses.
        """
        rotation = jnp.swapaxes(camera.cam_from_world[:, :3, :3], 1, 2)
        translation = camera.cam_from_world[:, :3, 3] + jnp.array([0.0, 0.0, self.camera.distance])
        ones = jnp.ones_like(silhouette)

        def loss(pose: tuple[Array, Array]) -> Array:
            angles_rad, translation = pose
            angles_rad = hold_static_bones(angles_rad, self.instance.skeleton)
            verts_posed, _ = self._pose(rig, angles_rad, stage)
            alpha = render_silhouette(
                verts_posed,
                rig.rest.faces,
                self._camera(rotation, translation),
                image_size=self.image_size,
                samples=self.samples,
            )
            fit = self.weights.mask * losses.mask_loss(alpha, silhouette, ones)
            fit += self.weights.mask_pyramid * losses.mask_pyramid_loss(alpha, silhouette, ones)
            # A sum over images: each is refined on its own.
            size = len(angles_rad) * losses.articulation_loss(angles_rad)
            return jnp.sum(fit) + self.weights.articulation * size

        angles_rad, translation = self._descend(
            loss, (angles_rad, translation), self.refine_pose_rate
        )
        return angles_rad, self._camera(rotation, translation)

    def _refine_appearance(
        self,
        params: Params,
        appearance: Float[Array, "b d"],
        visible: Visible,
        image: Float[Array, "b h w 3"],
        silhouette: Float[Array, "b h w 1"],
    ) -> Float[Array, "b d"]:
        """Appearance vectors whose colours come nearer to the photograph's.

        Texture and light are still what the model has learned to make of a vector, so hidden sides
        stay plausible; the vector is found by gradient descent instead of by one look.
        """

        def packed(pixels: Float[Array, "b h w c"]) -> Float[Array, "n c"]:
            rows = pixels.reshape(-1, pixels.shape[-1])
            return rows.at[visible.surface.pixel].get(mode="fill", fill_value=0.0)

        photograph, is_animal = packed(image), packed(silhouette) > 0.5

        def loss(appearance: Float[Array, "b d"]) -> Array:
            shaded = self._shade(params, appearance, visible)
            rgb = shaded.albedo * surface_shading(visible.surface, shaded.light)
            error = rgb - photograph
            return jnp.sum(jnp.where(is_animal, error * error, 0.0))

        return self._descend(loss, appearance, self.refine_appearance_rate)

    def _descend(self, loss: Callable[[T], Array], start: T, rate: float) -> T:
        """Adam's answer after `refine_steps` at a rate that falls to 0.

        Adam looks at each number alone, so what belongs to an image depends on that image alone.
        """
        adam = optax.adam(optax.cosine_decay_schedule(rate, self.refine_steps))

        def step(_: int, state: tuple[T, optax.OptState]) -> tuple[T, optax.OptState]:
            value, moments = state
            updates, moments = adam.update(jax.grad(loss)(value), moments)
            return optax.apply_updates(value, updates), moments

        value, _ = lax.fori_loop(0, self.refine_steps, step, (start, adam.init(start)))
        return value

    def render_prior(
        self, params: Params, stage: Stage, azimuths_deg: Float[Array, " n"], image_size: int
    ) -> Float[Array, "n h w 3"]:
        """Grey views of the prior shape from around it, lit from the camera.

        Azimuth 0 looks from the object's +z, 90 from its -x, with +z on the image's right.
        """
        azimuth = jnp.deg2rad(jnp.asarray(azimuths_deg, jnp.float32))
        forward = jnp.stack([jnp.sin(azimuth), jnp.zeros_like(azimuth), jnp.cos(azimuth)], axis=-1)
        # Far enough for the near side of the grid's box to fill the view.
        longest = max(self.prior.grid_extent) / 2
        distance = longest / np.tan(np.deg2rad(self.camera.fov_y_deg / 2)) + longest / 2
        back = jnp.array([0.0, 0.0, self.camera.distance - distance])
        camera = self._camera(look_at_rotation(forward), jnp.tile(back, (len(azimuth), 1)))
        rest = self._prior_shape(params, stage).mesh
        visible = find_surface(
            jnp.broadcast_to(rest.verts, (len(azimuth), *rest.verts.shape)),
            rest.verts,
            rest.faces,
            camera,
            image_size=image_size,
            samples=self.samples,
            max_pixels=len(azimuth) * image_size**2,
        )
        grey = 0.15 + 0.75 * jnp.maximum(visible.surface.normal_cam[:, 2:], 0.0)
        return jnp.tile(composite(visible, grey, samples=self.samples), (1, 1, 1, 3))
