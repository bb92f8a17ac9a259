"""Feature images and tokens that behave like those of a self-supervised network.

What such networks give on animals: nearly the same vector for the same part of every individual,
left and right alike, drifting smoothly along the surface, blurred by the patch grid, with noise,
and something else on the background. Here a basis of smooth functions on the template's surface is
rendered; features and tokens are fixed random mixtures of it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from pony_jax.data.schema import FEATURE_DIM
from pony_jax.data.synthetic.template import PART_NAMES, Template

_MIX_SEED = 20230618  # any number: it fixes what the channels mean, for all data sets
_FEATURE_NOISE = 0.03  # of features in 0..1, once smooth and once per pixel
_TOKEN_NOISE = 0.2  # of tokens of about unit variance
_TOKEN_SCALE = 2.0  # brings the animal's tokens to about unit variance
_LOOKS = 6.0  # of colour and shading in `patch_out`
_TOKEN_PLACE = 0.15  # what tokens know of their place in the image, as those of a ViT do
_CLUTTER = 0.3  # size of the background's basis functions against those of the animal
_NOISE_KNOTS, _CLUTTER_KNOTS = 8, 5  # smooth noise and background across the image
_HALF_DISTANCE = 0.05  # object units: |x| is rounded off at the plane of symmetry by this


class Descriptors(NamedTuple):
    """The three arrays that a backbone would give for one image, each for a batch."""

    feature: Float[Array, "b p p 16"]
    patch_key: Float[Array, "b t t d"]
    patch_out: Float[Array, "b t t d"]


def surface_basis(template: Template) -> Float[np.ndarray, "v n"]:
    """Smooth functions on the surface, about unit variance, the same left and right.

    Membership in parts, legs in front and behind partly shared, and slow waves of (|x|, y, z).
    """
    parts = {name: template.parts[:, index] for index, name in enumerate(PART_NAMES)}
    fore = parts["foreleg"] + parts["fore_cannon"] + parts["fore_hoof"]
    hind = parts["hind_leg"] + parts["hind_cannon"] + parts["hind_hoof"]
    x, y, z = template.verts.T
    side = np.sqrt(x * x + _HALF_DISTANCE**2)
    columns = [
        (parts["trunk"], 1.0),
        (parts["neck"] + parts["mane"], 1.0),
        (parts["mane"], 0.5),
        (parts["head"] + parts["muzzle"] + parts["ear"] + parts["horn"], 1.2),
        (parts["muzzle"], 0.8),
        (parts["ear"] + parts["horn"], 0.6),
        (parts["tail"], 1.2),
        (fore + hind, 0.8),
        (parts["fore_cannon"] + parts["hind_cannon"], 0.8),
        (parts["fore_hoof"] + parts["hind_hoof"], 1.0),
        (fore - hind, 0.6),
        (y, 0.7),
        (z, 0.7),
        (side, 0.3),
        (np.sin(1.8 * z), 0.4),
        (np.cos(1.8 * z), 0.4),
        (np.sin(2.5 * y + 0.5), 0.4),
        (np.sin(3.0 * z + 1.5 * y), 0.3),
        (np.cos(2.0 * y - 2.5 * z), 0.3),
    ]
    basis = np.stack([weight * _standard(column) for column, weight in columns], -1)
    return basis.astype(np.float32)


def _standard(column: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance; a part that a species lacks stays 0."""
    return (column - column.mean()) / (column.std() or 1.0)


@functools.cache
def _mixture(rows: int, columns: int, seed: int) -> Float[np.ndarray, "r c"]:
    """Random matrix with rows that are orthonormal or, where there are fewer columns, columns."""
    gaussian = np.random.default_rng((_MIX_SEED, seed)).normal(size=(max(rows, columns),) * 2)
    return np.linalg.qr(gaussian)[0][:rows, :columns].astype(np.float32)


def feature_table(template: Template) -> Float[np.ndarray, "v 16"]:
    """Features of the vertices, each channel stretched over 0.05..0.95."""
    basis = surface_basis(template)
    mixed = basis @ _mixture(basis.shape[1], FEATURE_DIM, 0)
    low, high = mixed.min(0), mixed.max(0)
    return 0.05 + 0.9 * (mixed - low) / (high - low)


def _pool(image: Float[Array, "b h w c"], size: int) -> Float[Array, "b s s c"]:
    b, h, w, c = image.shape
    return image.reshape(b, size, h // size, size, w // size, c).mean((2, 4))


def _blur(tokens: Float[Array, "b t t c"]) -> Float[Array, "b t t c"]:
    """A receptive field somewhat larger than the patch: weights 1 4 1 in both directions."""
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded = jnp.pad(tokens, padding, mode="edge")
        before, after = (
            jax.lax.slice_in_dim(padded, start, start + tokens.shape[axis], axis=axis)
            for start in (0, 2)
        )
        tokens = (before + 4.0 * tokens + after) / 6.0
    return tokens


def _enlarge(knots: Float[Array, "k k c"], size: int) -> Float[Array, "s s c"]:
    return jax.image.resize(knots, (size, size, knots.shape[-1]), "cubic")


def render_descriptors(
    keys: PRNGKeyArray,  # [b]
    *,
    feature_map: Float[Array, "b s s 16"],
    basis_map: Float[Array, "b s s n"],
    coverage: Float[Array, "b s s 1"],
    image: Float[Array, "b s s 3"],
    shading: Float[Array, "b s s 1"],
    feature_size: int,
    token_grid: int,
    token_dim: int,
) -> tuple[Descriptors, Descriptors]:
    """Descriptors of a batch of images, and of the mirrored images.

    `feature_map` and `basis_map` are `feature_table` and `surface_basis` as rendered, 0 off the
    animal; `coverage` is 1 on it. The mirrored image's tokens share the scene, but neither the
    noise nor what tokens know of their place, so they are not the mirrored tokens.
    """
    share = _pool(coverage, feature_size)
    feature = jnp.where(share > 0, _pool(feature_map, feature_size) / jnp.maximum(share, 1e-6), 0.0)

    share_token = _blur(_pool(coverage, token_grid))
    seen = _blur(_pool(basis_map, token_grid))
    keys = jax.vmap(functools.partial(jax.random.split, num=3))(keys)
    clutter = jax.vmap(lambda key: _clutter(key, token_grid, seen.shape[-1]))(keys[:, 2])
    basis = seen + (1.0 - share_token) * _CLUTTER * clutter
    looks = _pool(jnp.concatenate([image - 0.5, coverage * (shading - 0.7)], -1), token_grid)

    maps = (feature, share, basis, looks)
    mirrored = (array[:, :, ::-1] for array in maps)
    finish = jax.vmap(functools.partial(_finish, token_dim=token_dim))
    return finish(keys[:, 0], *maps), finish(keys[:, 1], *mirrored)


def _clutter(key: PRNGKeyArray, size: int, channels: int) -> Float[Array, "s s n"]:
    return _enlarge(jax.random.normal(key, (_CLUTTER_KNOTS, _CLUTTER_KNOTS, channels)), size)


def _finish(
    key: PRNGKeyArray,
    feature: Float[Array, "p p 16"],
    share: Float[Array, "p p 1"],
    basis: Float[Array, "t t n"],
    looks: Float[Array, "t t 4"],
    *,
    token_dim: int,
) -> Descriptors:
    """Mixes the channels and adds the noise of one pass through a network."""
    size, grid = feature.shape[0], basis.shape[0]
    counts = [n * n * c for n, c in ((_NOISE_KNOTS, FEATURE_DIM), (size, FEATURE_DIM))]
    normal = jax.random.normal(key, (sum(counts) + 2 * grid * grid * token_dim,))
    smooth, white, own = jnp.split(normal, np.cumsum(counts))
    noise = _enlarge(smooth.reshape(_NOISE_KNOTS, _NOISE_KNOTS, -1), size)
    noise += white.reshape(feature.shape)
    feature = jnp.where(share > 0, jnp.clip(feature + _FEATURE_NOISE * noise, 0.0, 1.0), 0.0)

    key_tokens = _TOKEN_SCALE * basis @ _mixture(basis.shape[-1], token_dim, 1)
    out_tokens = _TOKEN_SCALE * basis @ _mixture(basis.shape[-1], token_dim, 2)
    out_tokens += _LOOKS * looks @ _mixture(looks.shape[-1], token_dim, 3)
    own = own.reshape(2, grid, grid, token_dim)
    places = np.stack([_place_code(grid, token_dim, seed) for seed in (0, 1)])
    tokens = jnp.stack([key_tokens, out_tokens]) + _TOKEN_NOISE * own + _TOKEN_PLACE * places
    return Descriptors(feature, *tokens)


@functools.cache
def _place_code(grid: int, token_dim: int, seed: int) -> Float[np.ndarray, "t t d"]:
    x = (np.arange(grid) + 0.5) / grid
    x, y = np.meshgrid(x, x)
    waves = np.stack(
        [f(n * np.pi * a) for a in (x, y) for n in (1, 2) for f in (np.sin, np.cos)], -1
    )
    return (waves @ _mixture(waves.shape[-1], token_dim, 10 + seed)).astype(np.float32)
