"""How well a prediction fits its image: one number an image, on the host.

An image whose render and mask do not overlap has no colour or feature there: NaN, which `summarise`
leaves out and counts.
"""

import numpy as np
from jaxtyping import Float

MASK_THRESHOLD = 0.5
"""Rendered coverage above this is animal."""


def mask_iou(
    rendered: Float[np.ndarray, "b h w 1"], mask: Float[np.ndarray, "b h w 1"]
) -> Float[np.ndarray, " b"]:
    """Intersection over union of the thresholded render with the mask; 1 if both are empty."""
    predicted, true = rendered > MASK_THRESHOLD, mask > MASK_THRESHOLD
    intersection = np.sum(predicted & true, axis=(1, 2, 3))
    union = np.sum(predicted | true, axis=(1, 2, 3))
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def overlap(
    rendered: Float[np.ndarray, "b h w 1"], mask: Float[np.ndarray, "b h w 1"]
) -> Float[np.ndarray, "b h w 1"]:
    """1 where both the thresholded render and the mask have the animal."""
    return ((rendered > MASK_THRESHOLD) & (mask > MASK_THRESHOLD)).astype(np.float32)


def region_mean(
    error: Float[np.ndarray, "b h w c"], region: Float[np.ndarray, "b h w 1"]
) -> Float[np.ndarray, " b"]:
    """Mean over the pixels of a region and all channels; NaN where the region is empty."""
    total = np.sum(error * region, axis=(1, 2, 3))
    count = np.sum(region, axis=(1, 2, 3)) * error.shape[-1]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def psnr_db(
    image: Float[np.ndarray, "b h w 3"],
    target: Float[np.ndarray, "b h w 3"],
    region: Float[np.ndarray, "b h w 1"],
) -> Float[np.ndarray, " b"]:
    """Peak signal-to-noise ratio of colours in 0..1 over a region; at most 100 dB."""
    mean_square = region_mean((np.clip(image, 0, 1) - target) ** 2, region)
    return -10 * np.log10(np.maximum(mean_square, 1e-10))


def summarise(
    values: Float[np.ndarray, " n"], *, num_resamples: int = 1000, seed: int = 0
) -> dict[str, float | None]:
    """Mean with a 95 % bootstrap interval over images, quartiles; None if there is no value."""
    finite = values[np.isfinite(values)]
    names = ("mean", "mean_low95", "mean_high95", "q25", "median", "q75")
    if not len(finite):
        return dict.fromkeys(names)
    rows = np.random.default_rng(seed).integers(len(finite), size=(num_resamples, len(finite)))
    interval = np.percentile(finite[rows].mean(axis=1), [2.5, 97.5])
    numbers = [finite.mean(), *interval, *np.percentile(finite, [25, 50, 75])]
    return {name: round(float(x), 6) for name, x in zip(names, numbers, strict=True)}
