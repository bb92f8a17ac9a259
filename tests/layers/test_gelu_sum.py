import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from layer_checks import TOLERANCE, check_against_xla, check_threads, noise, values_and_gradients

from pony_jax.layers import gelu_sum


# 16 channels and more are made by our kernel, in multiples of 16; others are left to XLA.
@pytest.mark.parametrize("shape", [(10, 16, 16, 64), (2, 33, 48), (1, 16), (3, 16), (17, 8)])
def test_equals_the_plain_mathematics(shape):
    first, second, bias = noise(0, *shape), noise(1, *shape), noise(2, shape[-1])
    check_against_xla(gelu_sum, first, second, bias)


def test_is_the_gelu_by_tanh():
    first, second, bias = noise(0, 5, 16), noise(1, 5, 16), noise(2, 16)
    expected = nn.gelu(first + second + bias, approximate=True)
    scale = np.abs(expected).max()
    got = gelu_sum(first, second, bias)
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * scale)


def test_extreme_values_stay_finite():
    x = jnp.asarray([[0.0, -0.0, 1e-30, 5.0, -5.0, 20.0, -20.0, 1e4, -1e4] + [1.0] * 7])
    bias = jnp.zeros(16)
    out, grad_x, grad_bias = values_and_gradients(lambda x, b: gelu_sum(x, 0 * x, b), x, bias)
    assert all(np.isfinite(array).all() for array in (out, grad_x, grad_bias))
    np.testing.assert_array_equal(out[0, [0, 7, 8]], [0.0, 1e4, 0.0])


def test_no_rows():
    empty = jnp.zeros((0, 16))
    out, *grads, grad_bias = values_and_gradients(gelu_sum, empty, empty, noise(2, 16))
    assert out.shape == (0, 16) and all(grad.shape == (0, 16) for grad in grads)
    assert not grad_bias.any()


def test_terms_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"second: expected shape \(4, 16\) as of first"):
        gelu_sum(noise(0, 4, 16), noise(1, 16), noise(2, 16))


def test_threads_change_nothing():
    arguments = noise(0, 1000, 32), noise(1, 1000, 32), noise(2, 32)
    check_threads(lambda: values_and_gradients(gelu_sum, *arguments))
