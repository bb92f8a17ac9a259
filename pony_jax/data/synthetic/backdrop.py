"""Cluttered backgrounds: sky and ground, smooth noise at several scales, blobs and posts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

_OCTAVES = (4, 8, 16, 32)  # knots of the noise across the image
_NUM_BLOBS = 10
_NUM_POSTS = 4
_SKY = ((0.55, 0.70, 0.88), (0.80, 0.84, 0.88), (0.35, 0.45, 0.35), (0.62, 0.60, 0.55))
_GROUND = ((0.33, 0.45, 0.20), (0.58, 0.50, 0.36), (0.42, 0.36, 0.28), (0.75, 0.72, 0.66))


def sample_backdrop(key: PRNGKeyArray, size: int) -> Float[Array, "s s 3"]:
    """A random background of `size` by `size` pixels, colours in 0..1."""
    keys = jax.random.split(key, 4)
    pixel = (jnp.arange(size) + 0.5) / size
    x, y = pixel[None, :], pixel[:, None]
    image = _landscape(keys[0], x, y)
    for layer, knots in enumerate(_OCTAVES):
        image += _texture(jax.random.fold_in(keys[1], layer), knots, size)
    image = _blobs(keys[2], x, y, image)
    return jnp.clip(_posts(keys[3], x, y, image), 0.0, 1.0)


def _landscape(key: PRNGKeyArray, x: Array, y: Array) -> Float[Array, "s s 3"]:
    keys = jax.random.split(key, 4)
    sky = jax.random.choice(keys[0], jnp.array(_SKY))
    ground = jax.random.choice(keys[1], jnp.array(_GROUND))
    sky, ground = jnp.stack([sky, ground]) + 0.06 * jax.random.normal(keys[2], (2, 3))
    horizon, slope, sharp = jax.random.uniform(keys[3], (3,))
    above = (0.25 + 0.5 * horizon) + 0.2 * (slope - 0.5) * x - y
    share = jax.nn.sigmoid(above * (10.0 + 90.0 * sharp))[..., None]
    return ground + share * (sky - ground) + 0.15 * jnp.abs(above)[..., None]


def _texture(key: PRNGKeyArray, knots: int, size: int) -> Float[Array, "s s 3"]:
    keys = jax.random.split(key, 3)
    grey = jax.random.normal(keys[0], (knots, knots, 1))
    colour = jax.random.normal(keys[1], (knots, knots, 3))
    amount = jax.random.uniform(keys[2], (), minval=0.01, maxval=0.07)
    return amount * jax.image.resize(grey + 0.2 * colour, (size, size, 3), "linear")


def _dull_colour(key: PRNGKeyArray) -> Float[Array, "3"]:
    grey, *tint = jax.random.uniform(key, (4,))
    return (0.1 + 0.7 * grey) * (0.75 + 0.4 * jnp.stack(tint)) * jnp.array([1.0, 0.95, 0.88])


def _blobs(key: PRNGKeyArray, x: Array, y: Array, image: Array) -> Float[Array, "s s 3"]:
    """Soft or sharp ellipses, some of the colours of animals."""
    for number in range(_NUM_BLOBS):
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        centre = jax.random.uniform(keys[0], (2,))
        radius = 0.03 + 0.15 * jax.random.uniform(keys[1], (2,)) ** 2
        colour = _dull_colour(keys[2])
        sharp, opaque = jax.random.uniform(keys[3], (2,))
        inside = 1.0 - jnp.hypot((x - centre[0]) / radius[0], (y - centre[1]) / radius[1])
        share = 0.9 * opaque * jax.nn.sigmoid(inside * (3.0 + 20.0 * sharp))[..., None]
        image = image + share * (colour - image)
    return image


def _posts(key: PRNGKeyArray, x: Array, y: Array, image: Array) -> Float[Array, "s s 3"]:
    """Upright bars such as posts and trunks, which legs have to be told from."""
    for number in range(_NUM_POSTS):
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        at, width, top, bottom, shown = jax.random.uniform(keys[0], (5,))
        colour = 0.8 * _dull_colour(keys[1])
        beside = jnp.abs(x - at) - (0.006 + 0.02 * width)
        beyond = jnp.maximum(0.6 * top - y, y - (0.6 + 0.4 * bottom))
        share = jax.nn.sigmoid(-300.0 * jnp.maximum(beside, beyond))[..., None] * (shown < 0.5)
        image = image + share * (colour - image)
    return image
