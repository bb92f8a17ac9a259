"""Scores of a split: every image once, unmirrored, from the best viewpoint hypothesis."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pony_jax.data.pipeline import Split, evaluation_batches
from pony_jax.evaluation import metrics
from pony_jax.evaluation.predictor import Predictor
from pony_jax.model import Prediction


def evaluate_split(
    predictor: Predictor,
    params: dict,
    num_updates: int,
    split: Split,
    batch_size: int,
    observe: Callable[[Prediction, dict[str, np.ndarray]], None] | None = None,
) -> dict[str, Any]:
    """Scores after `num_updates` training steps, at the size that the model was trained at.

    Args:
      observe: is shown the prediction of each batch, and the batch; `TruthComparison.add`, say.

    Returns:
      `mask_iou` (threshold 0.5); `psnr_overlap_db` and `psnr_mask_db` (over the pixels that render
      and mask share; over all of the mask, where a missing render counts as black);
      `rgb_error` (mean absolute difference) and `feature_error` (mean squared difference) over the
      overlap. Each is summarised over images by `metrics.summarise`.
    """
    scores: dict[str, list[np.ndarray]] = {}
    for batch in evaluation_batches(split, batch_size):
        prediction = predictor.predict(params, batch, num_updates)
        if observe is not None:
            observe(prediction, batch)
        for name, values in image_scores(prediction, batch).items():
            scores.setdefault(name, []).append(values[batch["real"]])
    by_image = {name: np.concatenate(values) for name, values in scores.items()}
    return {
        "num_images": len(split),
        "num_images_skipped": split.skipped,
        "num_without_overlap": int(np.sum(np.isnan(by_image["rgb_error"]))),
        **{name: metrics.summarise(values) for name, values in by_image.items()},
    }


def image_scores(prediction: Prediction, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The scores of each image of a batch."""
    both = metrics.overlap(prediction.mask, batch["mask"])
    colour_error = np.abs(np.clip(prediction.image, 0, 1) - batch["image"])
    return {
        "mask_iou": metrics.mask_iou(prediction.mask, batch["mask"]),
        "psnr_overlap_db": metrics.psnr_db(prediction.image, batch["image"], both),
        "psnr_mask_db": metrics.psnr_db(prediction.image, batch["image"], batch["mask"]),
        "rgb_error": metrics.region_mean(colour_error, both),
        "feature_error": metrics.region_mean((prediction.feature - batch["feature"]) ** 2, both),
    }
