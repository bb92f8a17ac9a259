"""The objective: image losses weighted by the hypothesis's probability, and regularisers."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pony_jax.ops import losses


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


class Rendered(NamedTuple):
    """What the losses compare with the batch."""

    image: Float[Array, "b h w 3"]
    alpha: Float[Array, "b h w 1"]
    feature: Float[Array, "b h w c"]


def image_losses(rendered: Rendered, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Reconstruction losses of each image, unweighted (MagicPony@e4a8b20, compute_reconstruction).

    Distances in `batch` are in units of the image side.
    """
    alpha, mask, valid = rendered.alpha, batch["mask"], batch["valid"]
    overlap = losses.overlap_mask(alpha, mask, valid)
    return {
        "mask": losses.mask_loss(alpha, mask, valid),
        "mask_pyramid": losses.mask_pyramid_loss(alpha, mask, valid),
        "mask_distance": losses.mask_distance_loss(alpha, batch["distance_outside"]),
        "mask_inverse_distance": losses.mask_inverse_distance_loss(alpha, batch["distance_inside"]),
        "rgb": losses.rgb_loss(rendered.image, batch["image"], overlap),
        "feature": losses.feature_loss(rendered.feature, batch["feature"], overlap),
    }


def total_loss(
    per_image: dict[str, Float[Array, " b"]],
    regularisers: dict[str, Float[Array, ""]],
    *,
    score: Float[Array, " b"],
    probability: Float[Array, " b"],
    num_hypotheses: int,
    weights: LossWeights,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The weighted sum, and every term as it enters the sum.

    Args:
      per_image: reconstruction losses of the chosen hypothesis.
      regularisers: terms without an image.
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
    if num_hypotheses > 1:
        metrics["hypothesis_score"] = jnp.mean(
            losses.hypothesis_score_loss(score, lax.stop_gradient(target))
        )
    metrics |= regularisers
    loss = sum(getattr(weights, name) * value for name, value in metrics.items())
    return loss, metrics
