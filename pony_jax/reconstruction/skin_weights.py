"""Skinning weights as files hold them: sets of four joints a vertex, at best one set."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from pony_jax.reconstruction.animal import Animal, Clip

_CANDIDATES = 8  # bones among which the four are looked for
_RANDOM_POSES = 8
_RANDOM_ANGLE_RAD = 0.25
_CLIP_FRAMES = 8
# Shares of the body's length: where the four largest weights err by more than the first, weights
# are fitted; where these still err in the photograph by more than the second, fitted again.
_FIT_ABOVE, _REFIT_ABOVE = 5e-4, 4e-3
# How much the photograph counts beside all other poses together.
_PHOTOGRAPH_SHARE, _REFIT_SHARE = 4.0, 40.0
# Of squared errors in body lengths; keeps systems regular where bones move alike.
_RIDGE = 1e-6


def four_weights(
    animal: Animal, clips: Sequence[Clip] = ()
) -> tuple[Int[np.ndarray, "v 4"], Float[np.ndarray, "v 4"]]:
    """Four bones a vertex and their shares, which pose the mesh nearly as all of them do.

    The four largest weights alone misplace vertices between several limbs by some percent of the
    body's length. There, all choices of up to four among the eight largest are tried, and the
    shares are the least-squares fit to the posed vertices in the photograph, in frames of the clips
    and in random poses of a fixed seed (weight reduction over example poses: Landreneau and
    Schaefer, 2010). In one pose a point among eight others is always a mean of four of them, so the
    photograph's pose, which counts most, is met closely.

    Returns:
      (bones, shares), largest first; shares are not negative and sum to 1 to within the last bit of
      float32, and one that is 0 names bone 0.
    """
    weights = animal.skin_weights.astype(np.float64)
    count = min(_CANDIDATES, weights.shape[1])
    candidates = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    offsets = _offsets(animal, candidates, _example_poses(animal, clips))
    kept = np.take_along_axis(weights, candidates, axis=1)
    kept[:, 4:] = 0
    kept /= kept.sum(axis=1, keepdims=True)

    def errors(poses: slice) -> Float[np.ndarray, " v"]:
        return np.linalg.norm(np.einsum("pvai,va->pvi", offsets[poses], kept), axis=-1).max(axis=0)

    for limit, poses, share in (
        (_FIT_ABOVE, slice(None), _PHOTOGRAPH_SHARE),
        (_REFIT_ABOVE, slice(1), _REFIT_SHARE),
    ):
        rows = np.flatnonzero(errors(poses) > limit)
        importance = np.full(len(offsets), 1 / max(len(offsets) - 1, 1))
        importance[0] = share
        kept[rows] = _best_four(offsets[:, rows], importance)
    return _sorted_sets(candidates, kept, 4)


def largest_weights(
    weights: Float[np.ndarray, "v k"], count: int
) -> tuple[Int[np.ndarray, "v n"], Float[np.ndarray, "v n"]]:
    """The bones with the largest shares of each vertex, as `four_weights` gives them.

    Args:
      count: bones that are kept; what is more than there are keeps all.

    Returns:
      (bones, shares), n the multiple of four that holds them.
    """
    bones = np.broadcast_to(np.arange(weights.shape[1]), weights.shape)
    return _sorted_sets(bones, weights, min(count, weights.shape[1]))


def _sorted_sets(
    bones: Int[np.ndarray, "v c"], shares: Float[np.ndarray, "v c"], count: int
) -> tuple[Int[np.ndarray, "v n"], Float[np.ndarray, "v n"]]:
    order = np.argsort(-shares, axis=1, kind="stable")[:, :count]
    bones = np.take_along_axis(bones, order, axis=1)
    shares = np.take_along_axis(shares, order, axis=1).astype(np.float64)
    shares[shares < 1e-7] = 0  # noise beside a float32 near 1
    shares = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    shares[:, 0] += (1 - shares.sum(axis=1, dtype=np.float64)).astype(np.float32)
    padding = ((0, 0), (0, -count % 4))
    return np.pad(np.where(shares > 0, bones, 0), padding), np.pad(shares, padding)


def _example_poses(animal: Animal, clips: Sequence[Clip]) -> Float[np.ndarray, "p k 3"]:
    """Joint angles: the photograph's first, then frames of the clips and random ones."""
    poses = [animal.angles_rad[None]]
    for clip in clips:
        frames = np.linspace(0, len(clip.times_s) - 1, min(_CLIP_FRAMES, len(clip.times_s)))
        poses.append(clip.angles_rad[np.unique(frames.astype(int))])
    rng = np.random.default_rng(0)
    size = _RANDOM_POSES, animal.skeleton.num_bones, 3
    poses.append(_RANDOM_ANGLE_RAD * rng.normal(size=size))
    return np.concatenate(poses)


def _offsets(
    animal: Animal, candidates: Int[np.ndarray, "v c"], poses: Float[np.ndarray, "p k 3"]
) -> Float[np.ndarray, "p v c 3"]:
    """How far each candidate alone would take each vertex from where it belongs, body lengths."""
    verts = animal.rest_mesh.verts.astype(np.float64)
    offsets = np.empty((len(poses), *candidates.shape, 3))
    for pose, angles_rad in zip(offsets, poses, strict=True):
        transforms = animal.skeleton.world_from_rest(angles_rad)[:, :3]
        alone = np.einsum("kij,vj->vki", transforms[..., :3], verts) + transforms[:, :, 3]
        target = np.einsum("vki,vk->vi", alone, animal.skin_weights)
        pose[:] = np.take_along_axis(alone, candidates[..., None], axis=1) - target[:, None]
    return offsets / max(animal.body_length, 1e-12)


def _best_four(
    offsets: Float[np.ndarray, "p v c 3"], importance: Float[np.ndarray, " p"]
) -> Float[np.ndarray, "v c"]:
    """Shares with at most four that are not 0 and the least sum of squared errors.

    For shares w that sum to 1 the error is |sum w_i offset_i|^2 = w^T G w; over a set of bones its
    minimum has w proportional to G^-1 1. Sets where that has a negative share are passed over: the
    minimum with that share at 0 is the one of a smaller set.
    """
    _, v, c, _ = offsets.shape
    gram = np.einsum("p,pvai,pvbi->vab", importance, offsets, offsets, optimize=True)
    gram += _RIDGE * np.eye(c)
    least, best = np.full(v, np.inf), np.zeros((v, c))
    for size in range(1, 5):
        for bones in itertools.combinations(range(c), size):
            part = gram[:, bones][:, :, bones]
            shares = np.linalg.solve(part, np.ones((v, size, 1)))[..., 0]
            total = shares.sum(axis=1)
            better = np.all(shares >= 0, axis=1) & (1 / total < least)  # w^T G w is 1 / total
            least[better] = 1 / total[better]
            best[better] = 0
            rows = np.flatnonzero(better)[:, None]
            best[rows, bones] = shares[better] / total[better, None]
    return best
