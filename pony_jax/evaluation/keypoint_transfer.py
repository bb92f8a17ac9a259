"""Keypoint transfer: annotate one image, read the points off another through the mesh.

The protocol of elliottwu/MagicPony@e4a8b20:evaluate.py. A keypoint of the source image is carried
by the visible source vertex that projects nearest to it (crop coordinates -1..1, the first on
ties); where that vertex projects to in the target image is the answer. Whether the vertex is
visible there does not matter; the keypoint counts if it is visible in both images. The error is a
distance in pixels over the longer side of the target's bounding box, enlarged by `box_pad` of it on
each side; it must be below the threshold. PCK of a keypoint is a share of the pairs that count; PCK
is the plain mean over keypoints.
"""

import random
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

THRESHOLD = 0.1
THRESHOLDS = (0.1, 0.05)
BOX_PAD = 0.05
"""What the original's command line asks for; 0 is stricter."""
NUM_PAIRS = 10_000
VISIBILITY_SIZE_PX = 256
"""A vertex is visible if any of its faces is seen in a render of this size, a sample a pixel."""


def draw_pairs(
    num_images: int, num_pairs: int = NUM_PAIRS, seed: int = 0
) -> Int[np.ndarray, "p 2"]:
    """Pairs (source, target) of different images, as the original draws them; none of one image."""
    if num_images < 2:
        return np.zeros((0, 2), int)
    rng = random.Random(seed)
    return np.array([rng.sample(range(num_images), 2) for _ in range(num_pairs)])


def nearest_verts(
    verts_ndc: Float[np.ndarray, "i v 2"],
    vert_visible: Bool[np.ndarray, "i v"],
    keypoints_ndc: Float[np.ndarray, "i n 2"],
) -> Int[np.ndarray, "i n"]:
    """The visible vertex nearest to each keypoint in its own image; vertex 0 if none is visible."""
    nearest = []
    for verts, visible, keypoints in zip(verts_ndc, vert_visible, keypoints_ndc, strict=True):
        distance = np.linalg.norm(keypoints[:, None] - verts, axis=-1)
        nearest.append(np.argmin(np.where(visible, distance, np.inf), axis=-1))
    return np.stack(nearest)


def transfer_errors(
    verts_ndc: Float[np.ndarray, "i v 2"],
    vert_of_keypoint: Int[np.ndarray, "i n"],
    keypoints_px: Float[np.ndarray, "i n 2"],
    crop_boxes: Float[np.ndarray, "i 4"],
    true_boxes: Float[np.ndarray, "i 4"],
    pairs: Int[np.ndarray, "p 2"],
    box_pad: float,
) -> Float[np.ndarray, "p n"]:
    """Error of each transferred keypoint, as a share of the target's box.

    Args:
      crop_boxes: what -1..1 covers in each photograph: x0, y0, width, height, pixels.
      true_boxes: of the animal in each photograph, likewise.
    """
    source, target = pairs.T
    moved_ndc = verts_ndc[target[:, None], vert_of_keypoint[source]]
    moved_px = to_pixels(moved_ndc, crop_boxes[target])
    distance_px = np.linalg.norm(moved_px - keypoints_px[target], axis=-1)
    longer_px = true_boxes[target, 2:].max(axis=-1, keepdims=True)
    return distance_px / (longer_px * (1 + 2 * box_pad))


def to_pixels(
    points_ndc: Float[np.ndarray, "i n 2"], boxes: Float[np.ndarray, "i 4"]
) -> Float[np.ndarray, "i n 2"]:
    """From -1..1 in a box (x0, y0, width, height) to pixels of the photograph."""
    return (points_ndc + 1) / 2 * boxes[:, None, 2:] + boxes[:, None, :2]


def to_ndc(
    points_px: Float[np.ndarray, "i n 2"], boxes: Float[np.ndarray, "i 4"]
) -> Float[np.ndarray, "i n 2"]:
    """From pixels of the photograph to -1..1 in a box (x0, y0, width, height)."""
    return (points_px - boxes[:, None, :2]) / boxes[:, None, 2:] * 2 - 1


def pck(
    errors: Float[np.ndarray, "p n"],
    counts: Bool[np.ndarray, "p n"],
    threshold: float = THRESHOLD,
    pair_weights: Float[np.ndarray, "*r p"] | None = None,
) -> Float[np.ndarray, "*r n"]:
    """Share of each keypoint's transfers with an error below the threshold.

    NaN for one that is visible in no pair: as a quirk, the original's mean is then NaN too.

    Args:
      counts: keypoint visible in both images of the pair.
      pair_weights: how often each pair is taken; default once.
    """
    weights = np.ones(len(errors)) if pair_weights is None else pair_weights
    correct = weights @ ((errors < threshold) & counts).astype(float)
    total = weights @ counts.astype(float)
    return np.divide(correct, total, out=np.full_like(total, np.nan), where=total > 0)


def summarise_pck(
    errors: Float[np.ndarray, "p n"],
    counts: Bool[np.ndarray, "p n"],
    pairs: Int[np.ndarray, "p 2"],
    names: list[str],
    *,
    threshold: float = THRESHOLD,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """PCK over all keypoints (`mean`, without those that are never visible) and of each.

    The 95 % interval is a bootstrap over images, not over pairs, which share images: a resample
    that holds an image a times and another b times takes their pair a * b times.
    """
    values = pck(errors, counts, threshold)
    num_images = int(pairs.max(initial=0)) + 1
    drawn = np.random.default_rng(seed).multinomial(
        num_images, np.full(num_images, 1 / num_images), num_resamples
    )
    weights = (drawn[:, pairs[:, 0]] * drawn[:, pairs[:, 1]]).astype(float)
    resampled = pck(errors, counts, threshold, weights)

    def interval(value: float, resamples: np.ndarray) -> dict[str, float | None]:
        finite = resamples[np.isfinite(resamples)]
        if not np.isfinite(value) or not len(finite):
            return {"mean": None, "mean_low95": None, "mean_high95": None}
        low, high = np.percentile(finite, [2.5, 97.5])
        return {
            "mean": round(float(value), 6),
            "mean_low95": round(float(low), 6),
            "mean_high95": round(float(high), 6),
        }

    seen = np.isfinite(values)
    table = {"mean": interval(*_mean_of(values, resampled, seen))}
    for i, name in enumerate(names):
        table[name] = interval(values[i], resampled[:, i])
    return table


def score_transfer(
    verts_ndc: Float[np.ndarray, "i v 2"],
    vert_visible: Bool[np.ndarray, "i v"],
    keypoints_px: Float[np.ndarray, "i n 2"],
    keypoint_visible: Bool[np.ndarray, "i n"],
    crop_boxes: Float[np.ndarray, "i 4"],
    true_boxes: Float[np.ndarray, "i 4"],
    names: list[str],
) -> dict[str, Any]:
    """PCK by transfer between i images, at each of `THRESHOLDS`.

    Args:
      vert_visible: which vertices of the model are seen in each image.
      crop_boxes, true_boxes: see `transfer_errors`.

    Returns:
      `num_pairs`, `pck_0.1` and `pck_0.05` as the original's command line has them, and both
      `_unpadded`, with the stricter `box_pad` of 0; see `summarise_pck`.
    """
    keypoints_ndc = to_ndc(keypoints_px, crop_boxes)
    carriers = nearest_verts(verts_ndc, vert_visible, keypoints_ndc)
    pairs = draw_pairs(len(crop_boxes))
    counts = keypoint_visible[pairs[:, 0]] & keypoint_visible[pairs[:, 1]]
    tables = {}
    for suffix, pad in (("", BOX_PAD), ("_unpadded", 0.0)):
        errors = transfer_errors(
            verts_ndc, carriers, keypoints_px, crop_boxes, true_boxes, pairs, pad
        )
        for threshold in THRESHOLDS:
            tables[f"pck_{threshold}{suffix}"] = summarise_pck(
                errors, counts, pairs, names, threshold=threshold
            )
    return {"num_pairs": len(pairs), **tables}


def _mean_of(
    values: np.ndarray, resampled: np.ndarray, seen: np.ndarray
) -> tuple[float, np.ndarray]:
    if not seen.any():
        return np.nan, np.zeros(0)
    # A resample without any pair of some keypoint has no mean over all of them: NaN, left out.
    return float(values[seen].mean()), resampled[:, seen].mean(axis=1)
