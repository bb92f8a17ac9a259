import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from layer_checks import TOLERANCE, check_against_xla, check_threads, noise, values_and_gradients

from pony_jax.layers import attention


# Heads of a multiple of 16 channels are made by our kernel, others are left to XLA.
@pytest.mark.parametrize(
    ("shape", "num_heads", "channels"),
    [((10, 20), 4, 16), ((3, 16), 1, 48), ((2, 33), 2, 32), ((4, 1), 3, 16), ((2, 7), 2, 12)],
)
def test_equals_the_plain_mathematics(shape, num_heads, channels):
    qkv = noise(0, *shape, 3 * num_heads * channels)
    check_against_xla(lambda qkv: attention(qkv, num_heads), qkv)


def test_is_attention_of_each_head():
    q, key, v = (noise(i, 5, 9, 2, 16) for i in range(3))
    expected = nn.dot_product_attention(q, key, v).reshape(5, 9, 32)
    qkv = jnp.stack([q, key, v], axis=2).reshape(5, 9, 96)
    atol = TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(attention(qkv, 2), expected, rtol=0, atol=atol)


def test_large_logits_choose_one_token():
    identity = jnp.eye(16)[None]
    qkv = jnp.concatenate([1e4 * identity, identity, noise(0, 1, 16, 16)], axis=-1)
    out, grad = values_and_gradients(lambda qkv: attention(qkv, 1), qkv)
    np.testing.assert_array_equal(out, qkv[..., 32:])
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("place", [0, 16, 32])  # a query, a key, a value
def test_a_number_that_is_not_finite_shows(place):
    qkv = noise(0, 1, 5, 48).at[0, 0, place].set(np.nan)
    assert np.isnan(attention(qkv, 1)).any()


def test_no_images():
    out, grad = values_and_gradients(lambda qkv: attention(qkv, 2), jnp.zeros((0, 4, 96)))
    assert out.shape == (0, 4, 32) and grad.shape == (0, 4, 96)


def test_threads_change_nothing():
    qkv = noise(0, 7, 20, 192)
    check_threads(lambda: values_and_gradients(lambda qkv: attention(qkv, 4), qkv))


def test_channels_that_are_no_whole_heads_are_refused():
    with pytest.raises(ValueError, match="expected a multiple of 3 x 5 channels for 5 heads"):
        attention(jnp.zeros((1, 2, 48)), 5)
