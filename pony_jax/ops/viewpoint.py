"""Viewpoint hypotheses: decoding, probabilities, and which one is rendered."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pony_jax.ops.numerics import safe_normalize

# Signs of (x, y, z) of each hypothesis's forward vector, in the order of the original's outputs.
_SIGNS = {
    # One hypothesis a quadrant of the ground plane; y is free.
    "quadlookat": [(1, 1, 1), (-1, 1, 1), (-1, 1, -1), (1, 1, -1)],
    # One an octant, x slowest.
    "octlookat": [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)],
}


class Hypotheses(NamedTuple):
    """Viewpoint hypotheses of each image; all share one translation.

    Attributes:
      logits: score, which regresses the reconstruction loss: small is good.
      forward: unit forward vector of the animal, camera space.
      translation_cam: offset from (0, 0, -distance), camera space, world units.
    """

    logits: Float[Array, "b m"]
    forward: Float[Array, "b m 3"]
    translation_cam: Float[Array, "b 3"]


def hypothesis_signs(kind: str) -> Float[np.ndarray, "m 3"]:
    """Signs of the forward vectors of `kind`, 'quadlookat' (4 hypotheses) or 'octlookat' (8).

    Raises:
      ValueError: for another kind.
    """
    if kind not in _SIGNS:
        raise ValueError(f"kind of hypotheses: expected one of {sorted(_SIGNS)}, got {kind!r}")
    return np.array(_SIGNS[kind], np.float32)


def decode_hypotheses(
    raw: Float[Array, "b p"],
    *,
    kind: str,
    zero_y: bool,
    max_trans_xy: float,
    max_trans_z: float,
) -> Hypotheses:
    """Hypotheses from the outputs of the viewpoint head.

    MagicPony@e4a8b20:magicpony/predictor.py, rot_rep quadlookat and octlookat. Per hypothesis
    the head gives (logit, x, y, z). A softplus of base 4, 1/2 at 0, keeps x and z (in octlookat
    also y) on the hypothesis's side. In quadlookat y is the raw output: any slope is allowed.

    Args:
      raw: [b, 4 * m + 3]; the last three are the translation before tanh.
      kind: see `hypothesis_signs`.
      zero_y: the animal stands level, y = 0.
      max_trans_xy: largest shift to the side, world units.
      max_trans_z: largest shift in depth.

    Raises:
      ValueError: for another kind or another width of `raw`.
    """
    signs = hypothesis_signs(kind)
    b, m = len(raw), len(signs)
    if raw.shape[1] != 4 * m + 3:
        raise ValueError(
            f"raw: expected 4 x {m} + 3 = {4 * m + 3} channels for {kind}, got {raw.shape[1]}; "
            "the viewpoint head was made for another kind of hypotheses"
        )
    logits, xyz = jnp.split(raw[:, :-3].reshape(b, m, 4), [1], axis=-1)
    positive = jax.nn.softplus(xyz * np.log(4.0)) / np.log(4.0)
    x, y, z = jnp.split(positive, 3, axis=-1)
    if zero_y:
        y = jnp.zeros_like(y)
    elif kind == "quadlookat":
        y = xyz[..., 1:2]
    forward = safe_normalize(jnp.concatenate([x, y, z], axis=-1) * signs)
    largest = np.array([max_trans_xy, max_trans_xy, max_trans_z], np.float32)
    return Hypotheses(logits[..., 0], forward, jnp.tanh(raw[:, -3:]) * largest)


def hypothesis_probabilities(
    logits: Float[Array, "b m"],
    *,
    temperature_gain: Float[Array, ""] | float,
    uniform_mix: Float[Array, ""] | float,
) -> Float[Array, "b m"]:
    """Probability of each hypothesis: softmax of -gain * logit, mixed with the uniform one.

    Args:
      temperature_gain: sharpness of the softmax.
      uniform_mix: 1 gives 1 / m to each hypothesis, 0 the bare softmax.
    """
    softmax = jax.nn.softmax(-logits * temperature_gain, axis=-1)
    return uniform_mix / logits.shape[-1] + (1 - uniform_mix) * softmax


def choose_hypothesis(
    key: Array,
    probabilities: Float[Array, "b m"],
    *,
    best_share: Float[Array, ""] | float,
    training: bool,
) -> Int[Array, " b"]:
    """The hypothesis to render for each image.

    In use it is the most probable one (the first of equals). In training `best_share` of the batch
    gets that one, the rest random ones that are spread evenly over the hypotheses.
    """
    if not training:
        return jnp.argmax(probabilities, axis=-1)
    random_key, best_key = jax.random.split(key)
    b = len(probabilities)
    return choose_by_ranks(
        jax.random.permutation(random_key, b),
        jax.random.permutation(best_key, b),
        probabilities,
        best_share=best_share,
    )


def choose_by_ranks(
    random_rank: Int[Array, " b"],
    best_rank: Int[Array, " b"],
    probabilities: Float[Array, "b m"],
    *,
    best_share: Float[Array, ""] | float,
) -> Int[Array, " b"]:
    """`choose_hypothesis` in training, given its two random permutations of the batch.

    Image i draws hypothesis `random_rank[i]` mod m, unless `best_rank[i]` is among the first
    `best_share` of the batch (MagicPony@e4a8b20:magicpony/predictor.py).
    """
    b, m = probabilities.shape
    takes_best = best_rank / b < best_share
    return jnp.where(takes_best, jnp.argmax(probabilities, axis=-1), random_rank % m)
