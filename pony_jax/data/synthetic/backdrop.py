"""Cluttered backgrounds: sky and ground, smooth noise at several scales, blobs and posts.

All random numbers of a picture come from two draws, since XLA compiles every draw anew.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

_OCTAVES = (4, 8, 16, 32)  # knots of the noise across the image
_NUM_BLOBS = 10
_NUM_POSTS = 4
_SKY = np.array(
    [(0.55, 0.70, 0.88), (0.80, 0.84, 0.88), (0.35, 0.45, 0.35), (0.62, 0.60, 0.55)], np.float32
)
_GROUND = np.array(
    [(0.33, 0.45, 0.20), (0.58, 0.50, 0.36), (0.42, 0.36, 0.28), (0.75, 0.72, 0.66)], np.float32
)


def sample_backdrop(key: PRNGKeyArray, size: int) -> Float[Array, "s s 3"]:
    """A random background of `size` by `size` pixels, colours in 0..1."""
    key_uniform, key_normal = jax.random.split(key)
    counts = (11, len(_OCTAVES), 10 * _NUM_BLOBS, 9 * _NUM_POSTS)
    uniform = jax.random.uniform(key_uniform, (sum(counts),))
    land, amounts, blobs, posts = jnp.split(uniform, np.cumsum(counts)[:-1])
    x, y = jnp.meshgrid(*2 * [(jnp.arange(size) + 0.5) / size])
    image = _landscape(land, x, y) + _texture(key_normal, amounts, size)
    image = _paint(image, _blob, blobs.reshape(_NUM_BLOBS, -1), x, y)
    image = _paint(image, _post, posts.reshape(_NUM_POSTS, -1), x, y)
    return jnp.clip(image, 0.0, 1.0)


def _landscape(
    uniform: Float[Array, "11"], x: Float[Array, "s s"], y: Float[Array, "s s"]
) -> Float[Array, "s s 3"]:
    (choose_sky, choose_ground, horizon, slope, sharp), tint = uniform[:5], uniform[5:] - 0.5
    sky = jnp.asarray(_SKY)[(choose_sky * len(_SKY)).astype(int)] + 0.2 * tint[:3]
    ground = jnp.asarray(_GROUND)[(choose_ground * len(_GROUND)).astype(int)] + 0.2 * tint[3:]
    above = (0.25 + 0.5 * horizon) + 0.2 * (slope - 0.5) * x - y
    share = jax.nn.sigmoid(above * (10.0 + 90.0 * sharp))[..., None]
    return ground + share * (sky - ground) + 0.15 * jnp.abs(above)[..., None]


def _texture(key: PRNGKeyArray, amounts: Float[Array, " n"], size: int) -> Float[Array, "s s 3"]:
    """Noise with `_OCTAVES` knots, mostly grey."""
    counts = [knots * knots * 4 for knots in _OCTAVES]
    normal = jnp.split(jax.random.normal(key, (sum(counts),)), np.cumsum(counts)[:-1])
    total = jnp.zeros((size, size, 3))
    for knots, flat, amount in zip(_OCTAVES, normal, amounts, strict=True):
        noise = flat.reshape(knots, knots, 4)
        noise = noise[..., :1] + 0.2 * noise[..., 1:]
        total += (0.01 + 0.06 * amount) * jax.image.resize(noise, total.shape, "linear")
    return total


def _paint(image: Array, shape, parameters: Array, x: Array, y: Array) -> Float[Array, "s s 3"]:
    """Lays shapes over the image, one for each row of parameters."""

    def lay(image: Array, row: Array) -> tuple[Array, None]:
        share, colour = shape(row, x, y)
        return image + share[..., None] * (colour - image), None

    return jax.lax.scan(lay, image, parameters)[0]


def _dull_colour(uniform: Float[Array, "4"]) -> Float[Array, "3"]:
    tint = jnp.array([1.0, 0.95, 0.88]) * (0.75 + 0.4 * uniform[1:])
    return (0.1 + 0.7 * uniform[0]) * tint


def _blob(uniform: Float[Array, "10"], x: Array, y: Array) -> tuple[Array, Array]:
    """A soft or sharp ellipse, some of the colours of animals: (opacity, colour)."""
    centre_x, centre_y, width, height, sharp, opaque = uniform[:6]
    away_x = (x - centre_x) / (0.03 + 0.15 * width**2)
    away_y = (y - centre_y) / (0.03 + 0.15 * height**2)
    inside = 1.0 - jnp.sqrt(away_x**2 + away_y**2)
    share = 0.9 * opaque * jax.nn.sigmoid(inside * (3.0 + 20.0 * sharp))
    return share, _dull_colour(uniform[6:])


def _post(uniform: Float[Array, "9"], x: Array, y: Array) -> tuple[Array, Array]:
    """An upright bar such as a post or a trunk, which legs have to be told from."""
    at, width, top, bottom, shown = uniform[:5]
    beside = jnp.abs(x - at) - (0.006 + 0.02 * width)
    beyond = jnp.maximum(0.6 * top - y, y - (0.6 + 0.4 * bottom))
    share = jax.nn.sigmoid(-300.0 * jnp.maximum(beside, beyond)) * (shown < 0.5)
    return share, 0.8 * _dull_colour(uniform[5:])
