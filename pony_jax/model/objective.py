"""The objective: image losses weighted by the hypothesis's probability, and regularisers."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pony_jax.model.capacities import wanted_capacities
from pony_jax.model.pony import Estimate, Params, Pony, Scene
from pony_jax.model.prior import Prior
from pony_jax.model.render import lit_values, render_flow
from pony_jax.model.stage import Stage
from pony_jax.ops import losses
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.mesh import Mesh

Batch = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weight of each term; a weight of zero leaves the term out.

    `score_feature_gain` multiplies the feature loss in the target that the hypothesis scores
    regress, where it tells the head from the tail.
    """

    mask: float
    mask_pyramid: float
    mask_distance: float
    mask_inverse_distance: float
    rgb: float
    feature: float
    hypothesis_score: float
    hypothesis_balance: float
    score_feature_gain: float
    eikonal: float
    deformation: float
    articulation: float
    silhouette: float
    leg_gap: float
    flow: float


class FlowLosses(NamedTuple):
    """Of the pairs of consecutive frames: n clips of p pairs, p + 1 frames.

    Attributes:
      per_pair: unweighted.
      agree: whether both frames of a pair have drawn the same viewpoint hypothesis. Where they have
        not, the camera jumps between them and the flow says nothing.
    """

    per_pair: Float[Array, "n p"]
    agree: Bool[Array, "n p"]


def image_losses(render: Float[Array, "b h w n"], batch: Batch) -> dict[str, Float[Array, " b"]]:
    """Reconstruction losses of each image, unweighted (MagicPony@e4a8b20, compute_reconstruction).

    Differentiable in the render alone.

    Args:
      render: colours, coverage and features, 4 + c channels.
      batch: as the schema has it; distances in units of the image side.
    """
    names = "image", "feature", "mask", "valid", "distance_outside", "distance_inside"
    image, feature, mask, valid, distance_outside, distance_inside = (
        lax.stop_gradient(batch[name]) for name in names
    )
    rgb, alpha, rendered_feature = jnp.split(render, [3, 4], axis=-1)
    overlap = losses.overlap_mask(alpha, mask, valid)
    return {
        "mask": losses.mask_loss(alpha, mask, valid),
        "mask_pyramid": losses.mask_pyramid_loss(alpha, mask, valid),
        "mask_distance": losses.mask_distance_loss(alpha, distance_outside),
        "mask_inverse_distance": losses.mask_inverse_distance_loss(alpha, distance_inside),
        "rgb": losses.rgb_loss(rgb, image, overlap),
        "feature": losses.feature_loss(rendered_feature, feature, overlap),
    }


def flow_losses(
    flow: Float[Array, "b h w 2"],
    alpha: Float[Array, "b h w 1"],
    batch: Batch,
    chosen: Int[Array, " b"],
    *,
    num_frames: int,
) -> FlowLosses:
    """Flow losses of a batch of clips of `num_frames` frames (`data.pipeline`).

    Args:
      flow: rendered (`render.render_flow`), as is `alpha`, the coverage.
      chosen: viewpoint hypothesis of each frame.
    """
    overlap = losses.overlap_mask(alpha, batch["mask"], batch["valid"]) * batch["flow_valid"]

    def first_of_pair(frames: Array) -> Array:
        clips = frames.reshape(-1, num_frames, *frames.shape[1:])
        return clips[:, :-1].reshape(-1, *frames.shape[1:])

    per_pair = losses.flow_loss(*map(first_of_pair, (flow, batch["flow"], overlap)))
    chosen = chosen.reshape(-1, num_frames)
    return FlowLosses(per_pair.reshape(-1, num_frames - 1), agree=chosen[:, 1:] == chosen[:, :-1])


def _of_frames(per_pair: Float[Array, "n p"]) -> Float[Array, " b"]:
    """What each frame has of its pairs: the mean of the one before it and the one after it."""
    total = jnp.pad(per_pair, ((0, 0), (0, 1))) + jnp.pad(per_pair, ((0, 0), (1, 0)))
    ones = jnp.ones(per_pair.shape[1])
    return (total / (jnp.pad(ones, (0, 1)) + jnp.pad(ones, (1, 0)))).reshape(-1)


def total_loss(
    per_image: dict[str, Float[Array, " b"]],
    regularisers: dict[str, Float[Array, ""]],
    *,
    flow: FlowLosses | None = None,
    score: Float[Array, " b"],
    probability: Float[Array, " b"],
    num_hypotheses: int,
    weights: LossWeights,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The weighted sum, and every term as it enters the sum.

    Args:
      per_image: reconstruction losses of the chosen hypothesis.
      regularisers: terms without an image.
      flow: where the batch consists of clips and their flow counts. A pair has the probability of
        its first frame; each frame's score learns from its pairs. (The original's scores learn so
        from clips of two frames; with three it stops at an error.)
      score: raw score of the chosen hypothesis, which learns to predict its loss; a single
        hypothesis has none, and nothing to learn.
      probability: its probability; images whose hypothesis is unlikely count less.
    """
    terms = {f: getattr(weights, f) for f in per_image}
    target = sum(
        weight * per_image[name] * (weights.score_feature_gain if name == "feature" else 1.0)
        for name, weight in terms.items()
    )
    importance = lax.stop_gradient(probability) * num_hypotheses
    metrics = {name: jnp.mean(value * importance) for name, value in per_image.items()}
    if flow is not None:
        target += weights.flow * _of_frames(flow.per_pair)
        of_first = importance.reshape(len(flow.per_pair), -1)[:, :-1]
        metrics["flow"] = jnp.mean(flow.per_pair * flow.agree * of_first)
    if num_hypotheses > 1:
        metrics["hypothesis_score"] = jnp.mean(
            losses.hypothesis_score_loss(score, lax.stop_gradient(target))
        )
    metrics |= regularisers
    loss = sum(getattr(weights, name) * value for name, value in metrics.items())
    return loss, metrics


@dataclasses.dataclass(frozen=True)
class Objective:
    """What training makes small.

    Attributes:
      jitter: largest shift of the grid in training, as a share of `Prior.grid_scale`.
      eikonal_points: points of the Eikonal loss, half of them uniform in the grid's box and half
        near the surface.
      clip_frames: consecutive images of a batch that are frames of one clip; 1 = none are.
    """

    weights: LossWeights
    jitter: float
    eikonal_points: int
    clip_frames: int

    def loss(
        self,
        model: Pony,
        params: Params,
        batch: Batch,
        step: Int[Array, ""],
        key: Array,
        stage: Stage,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """Computes the loss of one batch.

        Returns:
          The scalar loss, and `{'metrics': every term, 'counts': sizes wanted of the buffers}`.
          Where a count exceeds its capacity the loss is of a truncated mesh and must not be used.
        """
        model = model.bind({"params": params})
        jitter_key, pose_key, prior_key, dropout_key = jax.random.split(key, 4)
        largest = self.jitter * model.prior.grid_scale
        shift_yz = jax.random.uniform(jitter_key, minval=-largest, maxval=largest)
        shape, estimate, scene = model(batch, step, stage, key=pose_key, shift_yz=shift_yz)
        values = lit_values(scene.visible.surface, scene.shaded)
        render = model.rendering.composite(scene.visible, values)

        chosen = estimate.chosen
        pick = jnp.arange(len(chosen)), chosen
        loss, metrics = total_loss(
            image_losses(render, batch),
            self.regularisers(model, estimate, step, prior_key)
            | balance_term(model, estimate)
            | silhouette_term(model, batch, dropout_key),
            flow=self.flow(scene, render[..., 3:4], batch, chosen, model.rendering.samples),
            score=estimate.viewpoints.scores[pick],
            probability=estimate.probabilities[pick],
            num_hypotheses=estimate.probabilities.shape[1],
            weights=self.weights,
        )
        metrics["steep_blocks"] = shape.steep_count.astype(jnp.float32)
        metrics["best_probability"] = jnp.mean(jnp.max(estimate.probabilities, axis=-1))
        counts = wanted_capacities(shape, scene.visible.surface.pixel_count)
        return loss, {"metrics": metrics, "counts": counts}

    def flow(
        self,
        scene: Scene,
        alpha: Float[Array, "b h w 1"],
        batch: Batch,
        chosen: Int[Array, " b"],
        samples: int,
    ) -> FlowLosses | None:
        """Compares how the posed meshes of consecutive frames move; None where that has no weight.

        Args:
          alpha: coverage of each pixel by the scene.
        """
        if not self.weights.flow:
            return None
        flow = render_flow(scene.visible, num_frames=self.clip_frames, samples=samples)
        return flow_losses(flow, alpha, batch, chosen, num_frames=self.clip_frames)

    def regularisers(
        self, model: Pony, estimate: Estimate, step: Int[Array, ""], key: Array
    ) -> dict[str, Float[Array, ""]]:
        """Computes the terms that do not depend on the images' pixels; `model` is bound."""
        eikonal_key, gap_key = jax.random.split(key)
        rig, angles_rad = estimate.rig, estimate.angles_rad
        terms = {"eikonal": eikonal_term(model.prior, rig.prior, self.eikonal_points, eikonal_key)}
        if rig.deformation is not None:
            terms["deformation"] = losses.deformation_loss(rig.deformation, rig.prior.vert_count)
        if angles_rad is not None:
            on = step >= model.schedule.articulation_loss_from
            terms["articulation"] = jnp.where(on, losses.articulation_loss(angles_rad), 0.0)
            if self.weights.leg_gap:
                terms["leg_gap"] = leg_gap_term(
                    model.prior, rig.bones_rest[0], model.instance.skeleton, gap_key
                )
        return terms


def balance_term(model: Pony, estimate: Estimate) -> dict[str, Float[Array, ""]]:
    """Computes a term that keeps the viewpoint hypotheses of a bound model in equal use.

    Descent on it raises the handicap of a hypothesis that is the best one of more than its share of
    the batch, and lowers that of the others. It has no other gradient, and its value says nothing.
    """
    if not model.instance.num_handicaps:
        return {}
    m = estimate.scores.shape[1]
    share = jnp.mean(jax.nn.one_hot(jnp.argmin(estimate.scores, axis=-1), m), axis=0)
    excess = lax.stop_gradient(share - 1 / m)
    return {"hypothesis_balance": -jnp.sum(model.instance.handicaps() * excess)}


def silhouette_term(model: Pony, batch: Batch, key: Array) -> dict[str, Float[Array, ""]]:
    """Computes the loss of a bound model's silhouette head, if it has one; `key` is of dropout."""
    if not model.instance.silhouette_hidden:
        return {}
    logits = model.instance.silhouette(batch["patch_key"], batch["image"], key)
    return {"silhouette": losses.silhouette_loss(logits, batch["mask"])}


def eikonal_term(prior: Prior, mesh: Mesh, num_points: int, key: Array) -> Float[Array, ""]:
    """Computes how far the field's gradients are from unit length, in the box and near the surface.

    Args:
      prior: bound to its parameters.
      mesh: of the prior; where it is empty the origin stands in for its vertices.
    """
    box_key, row_key, noise_key = jax.random.split(key, 3)
    n = num_points // 2
    extent = jnp.array(prior.grid_extent)
    in_box = (jax.random.uniform(box_key, (n, 3)) - 0.5) * extent
    row = jax.random.randint(row_key, (n,), 0, jnp.maximum(mesh.vert_count, 1))
    noise = (jax.random.uniform(noise_key, (n, 3)) - 0.5) * 0.1 * prior.grid_scale
    near = lax.stop_gradient(mesh.verts)[row] + noise
    return losses.eikonal_loss(prior.sdf_gradients(jnp.concatenate([in_box, near])))


def leg_gap_term(
    prior: Prior, bones_rest: Float[Array, "k 2 3"], skeleton: Skeleton, key: Array
) -> Float[Array, ""]:
    """Computes the depth of the shape in the plane of symmetry between the lower legs of each pair.

    From the side, two legs and one leg in the middle look alike.

    Args:
      prior: bound to its parameters.
    """
    legs = bones_rest[skeleton.num_body_bones :]
    legs = legs.reshape(skeleton.num_legs, skeleton.num_leg_bones, 2, 3)[:2]  # the +x side
    foot, hip = legs[:, 0, 1], legs[:, -1, 0]
    # From above the knee to below the foot, since a foot in the middle is not found as one.
    share_key, z_key = jax.random.split(key)
    share = jax.random.uniform(share_key, (500, 2, 1), minval=0.6, maxval=1.2)
    points = hip + share * (foot - hip)
    half_width = 0.04 * prior.grid_scale
    z = points[..., 2] + jax.random.uniform(z_key, (500, 2), minval=-1.0) * half_width
    points = jnp.stack([jnp.zeros_like(z), points[..., 1], z], axis=-1)
    sdf = prior.sdf(points.reshape(-1, 3))
    return losses.outside_loss(sdf, margin=0.015 * prior.grid_scale)
