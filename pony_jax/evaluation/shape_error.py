"""Distances between predicted and true surfaces, on points sampled from both."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

NUM_POINTS = 4000
F_SCORE_DISTANCE = 0.02
"""Points closer than this share of the body length count as found."""
_ALIGNMENT_POINTS = 1000
_ALIGNMENT_ROUNDS = 20


class Similarity(NamedTuple):
    """Takes points p (rows) to `scale * p @ rotation.T + translation`."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def apply(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return self.scale * points @ self.rotation.T + self.translation


def sample_surface(
    verts: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    num_points: int = NUM_POINTS,
    seed: int = 0,
) -> Float[np.ndarray, "n 3"]:
    """Points spread evenly by area; the same ones for the same mesh, none for one without area."""
    corners = verts[faces].astype(np.float64)
    sides = corners[:, 1:] - corners[:, :1]
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1)
    if not area.sum() > 0:
        return np.zeros((0, 3))
    rng = np.random.default_rng(seed)
    face = rng.choice(len(faces), size=num_points, p=area / area.sum())
    share = rng.random((num_points, 2, 1))
    share = np.where(share.sum(axis=1, keepdims=True) > 1, 1 - share, share)
    return corners[face, 0] + np.sum(share * sides[face], axis=1)


def compare_points(
    predicted: Float[np.ndarray, "n 3"], true: Float[np.ndarray, "m 3"], length: float
) -> tuple[float, float]:
    """Chamfer distance in per cent of `length`, and F-score in 0..1; NaN if there are no points.

    The Chamfer distance is the mean of two means: distance (not squared) of predicted points to the
    nearest true ones, and the reverse. The F-score is the harmonic mean of the shares of predicted
    and of true points that have the other within 2 % of `length`. Even a perfect surface has about
    the spacing of the points as its Chamfer distance (0.6 % for the animals here).
    """
    if not len(predicted) or not len(true):
        return np.nan, np.nan
    to_true = cKDTree(true).query(predicted)[0] / length
    to_predicted = cKDTree(predicted).query(true)[0] / length
    chamfer_percent = 50 * (to_true.mean() + to_predicted.mean())
    precision, recall = (np.mean(d < F_SCORE_DISTANCE) for d in (to_true, to_predicted))
    f_score = 2 * precision * recall / max(precision + recall, 1e-12)
    return float(chamfer_percent), float(f_score)


def align(predicted: Float[np.ndarray, "n 3"], true: Float[np.ndarray, "m 3"]) -> Similarity:
    """The similarity that brings predicted points close to true ones.

    Starts from equal centroids and radii (root mean square distance to the centroid), in the
    orientation given, so the caller turns predictions into the true frame first. Then 20 rounds:
    pairs of nearest neighbours in both directions, so that shrinking does not pay, and the best
    similarity for them in the least squares sense. On the first 1,000 points of each.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", 1991, in an iterated closest point loop.
    """
    predicted, true = predicted[:_ALIGNMENT_POINTS], true[:_ALIGNMENT_POINTS]
    centre, true_centre = predicted.mean(axis=0), true.mean(axis=0)
    radius, true_radius = (np.sqrt(np.sum(x.var(axis=0))) for x in (predicted, true))
    scale = true_radius / max(radius, 1e-12)
    answer = Similarity(scale, np.eye(3), true_centre - scale * centre)
    tree = cKDTree(true)
    for _ in range(_ALIGNMENT_ROUNDS):
        moved = answer.apply(predicted)
        of_true = cKDTree(moved).query(true)[1]
        source = np.concatenate([predicted, predicted[of_true]])
        target = np.concatenate([true[tree.query(moved)[1]], true])
        answer = fit_similarity(source, target)
    return answer


def fit_similarity(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]
) -> Similarity:
    """The similarity with the least sum of squared distances `target - apply(source)`."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    x, y = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(y.T @ x)
    signs = np.array([1.0, 1.0, np.linalg.det(u @ vt)])
    rotation = u @ np.diag(signs) @ vt
    scale = float(np.sum(singular * signs) / max(np.sum(x * x), 1e-12))
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
