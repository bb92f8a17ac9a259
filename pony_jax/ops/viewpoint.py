"""Viewpoint hypotheses: decoding, probabilities, and which one is rendered."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pony_jax.ops.numerics import safe_normalize
from pony_jax.ops.rotations import (
    euler_xyz_to_matrix,
    look_at_rotation,
    quaternion_to_matrix,
    small_matmul,
)

# Signs of (x, y, z) of each hypothesis's forward vector, in the order of the original's outputs.
_SIGNS = {
    # One hypothesis a quadrant of the ground plane; y is free.
    "quadlookat": [(1, 1, 1), (-1, 1, 1), (-1, 1, -1), (1, 1, -1)],
    # One an octant, x slowest.
    "octlookat": [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)],
}
# What keeps a component on its side. Both are 1/2 at 0 and approach the ramp.
_SIDES = {
    "softplus": lambda x: jax.nn.softplus(x * np.log(4.0)) / np.log(4.0),
    # (x + sqrt(x^2 + 1)) / 2, without its cancellation where x is far below 0.
    "squareplus": lambda x: jnp.maximum(x, 0.0) + 0.5 / (abs(x) + jnp.sqrt(x * x + 1.0)),
}
SIDES = tuple(_SIDES)
# One hypothesis, which has no score: the head's outputs before the translation.
_SINGLE = {"lookat": 3, "quaternion": 4, "euler_angle": 3}
# Their signs in a mirror that swaps left and right.
_MIRROR = {"lookat": (-1, 1, 1), "quaternion": (1, 1, -1, -1), "euler_angle": (1, -1, -1)}


class Hypotheses(NamedTuple):
    """Viewpoint hypotheses of each image; all share one translation.

    Attributes:
      logits: score, which regresses the reconstruction loss: small is good. 0 for a single one.
      orientation: of the animal in camera space. The kinds of lookat have a unit forward vector,
        quaternion a unit quaternion (real part first, not negative), euler_angle three angles in
        radians. `orientation_matrix` gives all of them one form.
      translation_cam: offset from (0, 0, -distance), camera space, world units.
    """

    logits: Float[Array, "b m"]
    orientation: Float[Array, "b m o"]
    translation_cam: Float[Array, "b 3"]


def hypothesis_signs(kind: str) -> Float[np.ndarray, "m 3"]:
    """Signs of the forward vectors of `kind`, 'quadlookat' (4 hypotheses) or 'octlookat' (8).

    Raises:
      ValueError: for another kind.
    """
    if kind not in _SIGNS:
        raise ValueError(f"kind of hypotheses: expected one of {sorted(_SIGNS)}, got {kind!r}")
    return np.array(_SIGNS[kind], np.float32)


def num_hypotheses(kind: str) -> int:
    """How many viewpoint hypotheses an image has, for any kind of `decode_hypotheses`."""
    return len(_SIGNS[kind]) if kind in _SIGNS else 1


def num_viewpoint_outputs(kind: str) -> int:
    """How many outputs the viewpoint head has for `kind`, the translation's three included.

    Raises:
      ValueError: for an unknown kind.
    """
    if kind in _SIGNS:
        return 4 * len(_SIGNS[kind]) + 3
    if kind in _SINGLE:
        return _SINGLE[kind] + 3
    known = sorted(_SIGNS | _SINGLE)
    raise ValueError(f"kind of hypotheses: expected one of {known}, got {kind!r}")


def decode_hypotheses(
    raw: Float[Array, "b p"],
    *,
    kind: str,
    zero_y: bool,
    max_trans_xy: float,
    max_trans_z: float,
    max_turn_deg: tuple[float, float, float] = (180.0, 180.0, 180.0),
    side: str = "softplus",
) -> Hypotheses:
    """Hypotheses from the outputs of the viewpoint head.

    MagicPony@e4a8b20:magicpony/predictor.py:forward_pose, by rot_rep:
    - quadlookat, octlookat: (logit, x, y, z) per hypothesis. A softplus of base 4, 1/2 at 0, keeps
      x and z (in octlookat also y) on the hypothesis's side. In quadlookat y is the raw output: any
      slope is allowed. A softplus that has once become 0 has no gradient, and its hypothesis is
      lost; `side="squareplus"`, (x + sqrt(x^2 + 1)) / 2, falls off slowly enough to come back.
    - lookat: the forward vector before normalisation.
    - quaternion: near (0.01, 0, 0, 0), before normalisation, turned to a real part that is not
      negative. (The original multiplies by the sign of the real part, which is 0 for 0: a half
      turn became no rotation at all. Here it stays as it is.)
    - euler_angle: three angles before tanh.

    Args:
      raw: [b, num_viewpoint_outputs(kind)]; the last three are the translation before tanh.
      kind: one of those above.
      zero_y: the animal stands level, y = 0; only the kinds of lookat know it.
      max_trans_xy: largest shift to the side, world units.
      max_trans_z: largest shift in depth.
      max_turn_deg: largest angle about each axis; only euler_angle knows it.
      side: one of `SIDES`, for quadlookat and octlookat.

    Raises:
      ValueError: for another kind, another width of `raw`, or another `side`.
    """
    width = num_viewpoint_outputs(kind)
    if raw.shape[1] != width:
        raise ValueError(
            f"raw: expected {width} channels for {kind}, got {raw.shape[1]}; "
            "the viewpoint head was made for another kind of hypotheses"
        )
    if kind in _SIGNS:
        if side not in _SIDES:
            raise ValueError(f"side: expected one of {SIDES}, got {side!r}")
        logits, orientation = _decode_look_at(raw[:, :-3], kind, zero_y, _SIDES[side])
    else:
        logits = jnp.zeros((len(raw), 1))
        orientation = _decode_single(raw[:, :-3], kind, zero_y, max_turn_deg)[:, None]
    largest = np.array([max_trans_xy, max_trans_xy, max_trans_z], np.float32)
    return Hypotheses(logits, orientation, jnp.tanh(raw[:, -3:]) * largest)


def mirrored_outputs(raw: Float[Array, "b p"], kind: str) -> Float[Array, "b p"]:
    """What the viewpoint head should say about the mirror images, left and right swapped.

    Of an animal that is symmetric, so that its mirror image has a rotation again.

    Args:
      raw: what it says about the images, for `decode_hypotheses`.
      kind: any of those of `decode_hypotheses`.
    """
    outputs, translation = raw[:, :-3], raw[:, -3:] * np.array([-1, 1, 1], np.float32)
    if kind in _SIGNS:
        # Components are lengths towards a hypothesis's side, so they change hands as they are.
        signs = _SIGNS[kind]
        partner = np.array([signs.index((-x, y, z)) for x, y, z in signs])
        outputs = outputs.reshape(len(raw), len(signs), 4)[:, partner].reshape(len(raw), -1)
    else:
        outputs = outputs * np.array(_MIRROR[kind], np.float32)
    return jnp.concatenate([outputs, translation], axis=-1)


def orientation_matrix(orientation: Float[Array, "*b o"], kind: str) -> Float[Array, "*b 3 3"]:
    """Rotation whose rows are the animal's right, up and forward vectors in camera space.

    Args:
      orientation: as `Hypotheses` has it for `kind`.
    """
    if kind == "quaternion":
        return quaternion_to_matrix(orientation)
    if kind == "euler_angle":
        return euler_xyz_to_matrix(orientation)
    return look_at_rotation(orientation)


def elevated(
    rotation: Float[Array, "*#n 3 3"], elevation_rad: Float[Array, "*#n"]
) -> Float[Array, "*#n 3 3"]:
    """Rotations as a camera sees them that stands higher and looks down on the same animals.

    Args:
      rotation: rows are the animal's right, up and forward vectors, camera space of a level camera.
      elevation_rad: of the camera above the animal's horizon; below it, negative.
    """
    # The camera turns about its own x axis, so what it sees turns the other way: up leans to it.
    about_x = jnp.stack([elevation_rad, *[jnp.zeros_like(elevation_rad)] * 2], axis=-1)
    return small_matmul(rotation, jnp.swapaxes(euler_xyz_to_matrix(about_x), -1, -2))


def _decode_single(
    raw: Float[Array, "b o"], kind: str, zero_y: bool, max_turn_deg: tuple[float, float, float]
) -> Float[Array, "b o"]:
    """The orientation of the kinds of one hypothesis."""
    if kind == "euler_angle":
        return jnp.tanh(raw) * np.deg2rad(max_turn_deg).astype(np.float32)
    if kind == "quaternion":
        quaternion = safe_normalize(raw + jnp.array([0.01, 0.0, 0.0, 0.0]))
        return jnp.where(quaternion[:, :1] < 0, -quaternion, quaternion)
    return safe_normalize(raw * jnp.array([1.0, 0.0, 1.0]) if zero_y else raw)


def _decode_look_at(
    raw: Float[Array, "b p"], kind: str, zero_y: bool, side: Callable[[Array], Array]
) -> tuple[Float[Array, "b m"], Float[Array, "b m 3"]]:
    """Scores and forward vectors of the kinds of several hypotheses."""
    signs = hypothesis_signs(kind)
    logits, xyz = jnp.split(raw.reshape(len(raw), len(signs), 4), [1], axis=-1)
    x, y, z = jnp.split(side(xyz), 3, axis=-1)
    if zero_y:
        y = jnp.zeros_like(y)
    elif kind == "quadlookat":
        y = xyz[..., 1:2]
    forward = safe_normalize(jnp.concatenate([x, y, z], axis=-1) * signs)
    return logits[..., 0], forward


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
