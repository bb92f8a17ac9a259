"""The objective: image losses weighted by the hypothesis's probability, and regularisers."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pony_jax.ops import losses

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
