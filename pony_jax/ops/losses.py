"""Terms of the objective.

Image terms give one number an image, a mean over all pixels and channels (not only over those in
the mask). They follow MagicPony@e4a8b20:magicpony/model.py.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pony_jax.ops.numerics import safe_sqrt


def _image_mean(x: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """By a product with ones: XLA's CPU backend takes several times as long for a sum."""
    rows = x.reshape(len(x), -1)
    ones = jnp.ones(rows.shape[1], x.dtype)
    return jnp.matmul(rows, ones, precision="highest") / rows.shape[1]


def mask_loss(
    alpha: Float[Array, "b h w 1"], mask: Float[Array, "b h w 1"], valid: Float[Array, "b h w 1"]
) -> Float[Array, " b"]:
    """Squared error of the silhouette; pixels outside the photograph want no animal.

    Args:
      alpha: rendered coverage.
      mask: 1 on the animal.
      valid: 1 where the crop lies inside the photograph.
    """
    return _image_mean((alpha * valid - mask) ** 2)


def mask_pyramid_loss(
    alpha: Float[Array, "b h w 1"], mask: Float[Array, "b h w 1"], valid: Float[Array, "b h w 1"]
) -> Float[Array, " b"]:
    """Squared error of the silhouette averaged over overlapping windows of 4, 8 and 16 pixels.

    The sum over window sizes, weighted by them, since large windows average more of the error away.
    Not in the original: a thin leg that lies beside its place in the mask gets no gradient towards
    it from single pixels, which do not overlap; from windows that hold both it does.
    """
    error = alpha * valid - mask
    error = jnp.pad(error, [(0, 0), *((0, -side % 8) for side in error.shape[1:3]), (0, 0)])
    total = jnp.zeros(len(error))
    for window in (4, 8, 16):
        b, h, w, _ = error.shape
        error = error.reshape(b, h // 2, 2, w // 2, 2, 1).mean(axis=(2, 4))
        rows = error[:, :-1] + error[:, 1:]
        blurred = (rows[:, :, :-1] + rows[:, :, 1:]) / 4
        total += _image_mean(blurred * blurred) * window
    return total


def mask_distance_loss(
    alpha: Float[Array, "b h w 1"], distance_outside: Float[Array, "b h w 1"]
) -> Float[Array, " b"]:
    """Coverage times its distance from the mask, in image sides: what sticks out."""
    return _image_mean(alpha * distance_outside)


def mask_inverse_distance_loss(
    alpha: Float[Array, "b h w 1"], distance_inside: Float[Array, "b h w 1"]
) -> Float[Array, " b"]:
    """Missing coverage times its depth inside the mask, in image sides: what is not filled."""
    return _image_mean((1 - alpha) * distance_inside)


def overlap_mask(
    alpha: Float[Array, "b h w 1"], mask: Float[Array, "b h w 1"], valid: Float[Array, "b h w 1"]
) -> Float[Array, "b h w 1"]:
    """1 where render and mask overlap, less a rim of one pixel (and the image's border).

    The rim is left out because its colours are mixed with the background's. No gradient flows.
    """
    alpha, mask, valid = lax.stop_gradient((alpha, mask, valid))
    both = (alpha * valid > 0) & (mask > 0)
    padded = jnp.pad(both, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
    return (rows[:, :, :-2] & rows[:, :, 1:-1] & rows[:, :, 2:]).astype(alpha.dtype)


def rgb_loss(
    pred: Float[Array, "b h w c"], target: Float[Array, "b h w c"], overlap: Float[Array, "b h w 1"]
) -> Float[Array, " b"]:
    """Absolute error of colours in the overlap."""
    return _image_mean(jnp.abs(pred - target) * overlap)


def feature_loss(
    pred: Float[Array, "b h w c"], target: Float[Array, "b h w c"], overlap: Float[Array, "b h w 1"]
) -> Float[Array, " b"]:
    """Squared error of features in the overlap."""
    return _image_mean((pred - target) ** 2 * overlap)


def flow_loss(
    pred: Float[Array, "p h w 2"], target: Float[Array, "p h w 2"], overlap: Float[Array, "p h w 1"]
) -> Float[Array, " p"]:
    """Squared error of optical flow from each frame to the next, a mean over the overlap.

    Unlike the terms of images, it does not count the pixels outside. A pair of frames whose target
    exceeds 0.5 anywhere in the overlap counts nothing: such flow is rarely right.

    Args:
      pred: in units of half an image, x right, y down (`render.render_flow`).
      target: the same, estimated from the photographs.
      overlap: of the first frame of each pair (`overlap_mask`).
    """
    too_large = jnp.any((jnp.abs(target) > 0.5) & (overlap > 0), axis=(1, 2, 3))
    error = jnp.sum((pred - target) ** 2 * overlap, axis=(1, 2, 3))
    size = pred.shape[-1] * jnp.sum(overlap, axis=(1, 2, 3))
    return jnp.where(too_large, 0.0, error / jnp.maximum(size, 1.0))


def hypothesis_score_loss(
    score: Float[Array, " b"], target: Float[Array, " b"]
) -> Float[Array, " b"]:
    """Squared error of a hypothesis's score as a prediction of its loss."""
    return (score - lax.stop_gradient(target)) ** 2


def silhouette_loss(
    logits: Float[Array, "b h w 1"], mask: Float[Array, "b h w 1"]
) -> Float[Array, ""]:
    """Cross-entropy of the predicted silhouette, over all pixels."""
    return jnp.mean(_image_mean(_cross_entropy(logits, mask)))


def eikonal_loss(gradients: Float[Array, "n 3"]) -> Float[Array, ""]:
    """Mean squared deviation of the SDF's slope from 1; no gradient where the slope is 0."""
    slope = safe_sqrt(jnp.sum(gradients * gradients, axis=-1))
    return jnp.mean((slope - 1) ** 2)


def sdf_sign_loss(sdf: Float[Array, " n"], edges: Int[Array, "e 2"]) -> Float[Array, ""]:
    """Cross-entropy across the surface: each end of a crossing edge is asked for the other's sign.

    Removes stray blobs (nvdiffrec's regulariser). Zero has a sign of its own, as in torch.sign. A
    field without a crossing edge gives 0 (NaN in the original).
    """
    a, b = sdf[edges[:, 0]], sdf[edges[:, 1]]
    crossing = jnp.sign(a) != jnp.sign(b)
    error = _cross_entropy(a, b > 0) + _cross_entropy(b, a > 0)
    return jnp.sum(jnp.where(crossing, error, 0.0)) / jnp.maximum(jnp.sum(crossing), 1)


def _cross_entropy(
    logit: Float[Array, "*n"], label: Float[Array, "*n"] | Bool[Array, "*n"]
) -> Float[Array, "*n"]:
    return jax.nn.softplus(logit) - logit * label


def outside_loss(sdf: Float[Array, " n"], margin: float) -> Float[Array, ""]:
    """Mean depth (positive inside) of points that should lie outside by `margin`, in its unit."""
    return jnp.mean(jnp.maximum(sdf + margin, 0.0))


def deformation_loss(
    offsets: Float[Array, "b v 3"], vert_count: Int[Array, ""] | int
) -> Float[Array, ""]:
    """Mean square of the offsets of the first `vert_count` vertices; those of padding must be 0."""
    size = offsets.shape[0] * offsets.shape[2] * jnp.maximum(vert_count, 1)
    return jnp.sum(offsets * offsets) / size


def articulation_loss(angles_rad: Float[Array, "b k 3"]) -> Float[Array, ""]:
    """Mean square of the joint angles, radians squared."""
    return jnp.mean(angles_rad * angles_rad)
