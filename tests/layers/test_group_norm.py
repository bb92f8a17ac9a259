import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from layer_checks import TOLERANCE, check_against_xla, check_threads, noise, values_and_gradients

from pony_jax.layers import group_norm


def arguments(b: int, h: int, w: int, c: int) -> tuple[jax.Array, ...]:
    return 2 + noise(0, b, h, w, c), 1 + 0.1 * noise(1, c), noise(2, c)


# Multiples of 16 channels are made by our kernel, others are left to XLA.
@pytest.mark.parametrize("shape", [(10, 8, 8, 64), (3, 4, 4, 16), (2, 1, 3, 48), (2, 3, 5, 12)])
def test_equals_the_plain_mathematics(shape):
    check_against_xla(group_norm, *arguments(*shape))


def test_is_a_group_norm_and_a_leaky_rectifier():
    x, scale, shift = arguments(3, 5, 4, 32)
    norm = nn.GroupNorm(num_groups=None, group_size=4, epsilon=1e-5)
    expected = nn.leaky_relu(norm.apply({"params": {"scale": scale, "bias": shift}}, x), 0.2)
    atol = TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(group_norm(x, scale, shift), expected, rtol=0, atol=atol)


def test_a_constant_image_becomes_the_shift():
    x, scale, shift = arguments(2, 4, 4, 16)
    out, grad_x, *_ = values_and_gradients(group_norm, jnp.full_like(x, 3.0), scale, shift)
    expected = np.broadcast_to(np.where(shift < 0, 0.2 * shift, shift), x.shape)
    np.testing.assert_array_equal(out, expected)
    assert np.isfinite(grad_x).all()


def test_no_images():
    out, grad_x, *grads = values_and_gradients(group_norm, *arguments(0, 4, 4, 16))
    assert out.shape == grad_x.shape == (0, 4, 4, 16)
    assert not any(grad.any() for grad in grads)


def test_threads_change_nothing():
    check_threads(lambda: values_and_gradients(group_norm, *arguments(7, 4, 4, 32)))


def test_channels_that_are_no_whole_groups_are_refused():
    with pytest.raises(ValueError, match="expected a multiple of 4 channels, got 18"):
        group_norm(*arguments(1, 2, 2, 18))


def test_a_scale_of_another_width_is_refused():
    x, scale, shift = arguments(1, 2, 2, 16)
    with pytest.raises(Exception, match=r"scale or shift: expected .*\[c\]"):
        group_norm(x, scale[:4], shift).block_until_ready()
