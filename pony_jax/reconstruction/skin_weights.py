"""Skinning weights as files hold them: sets of four joints a vertex."""

import numpy as np
from jaxtyping import Float, Int


def largest_weights(
    weights: Float[np.ndarray, "v k"], max_weights: int | None
) -> tuple[Int[np.ndarray, "v n"], Float[np.ndarray, "v n"]]:
    """The bones that count most in each vertex, and their shares.

    Args:
      weights: share of each bone; rows sum to 1.
      max_weights: bones a vertex that are kept, 4 for most programs; None keeps all.

    Returns:
      (bones, shares), n a multiple of four, largest first. Shares are normalised to 1 (to within
      the last bit of float32); one that is 0 names bone 0.

    Raises:
      ValueError: for a number of weights below 1.
    """
    k = weights.shape[1]
    kept = k if max_weights is None else min(max_weights, k)
    if kept < 1:
        raise ValueError(f"max_weights: expected at least 1 weight a vertex, got {max_weights}")
    bones = np.argsort(-weights, axis=1, kind="stable")[:, :kept]
    shares = np.take_along_axis(weights, bones, axis=1).astype(np.float64)
    # Below a float32's precision beside the largest a share is only noise.
    shares[shares < 1e-7] = 0
    shares = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    shares[:, 0] += (1 - shares.sum(axis=1, dtype=np.float64)).astype(np.float32)
    bones = np.where(shares > 0, bones, 0)
    padding = ((0, 0), (0, -kept % 4))
    return np.pad(bones, padding), np.pad(shares, padding)
