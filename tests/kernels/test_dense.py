import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pony_jax.kernels import dense
from pony_jax.ops.dense import NormDenseWeights, norm_dense
from tests.kernels.kernel_checks import (
    TOLERANCE,
    check_against_plain,
    noise,
    values_and_gradients,
)


def weights_of(channels: int, features: int) -> NormDenseWeights:
    return NormDenseWeights(
        1 + 0.1 * noise(1, channels),
        noise(2, channels),
        noise(3, channels, features) * channels**-0.5,
        noise(4, features),
    )


# 16 channels and more are made by our kernel, in multiples of 16; others are left to XLA. Blocks
# are of 96 rows.
@pytest.mark.parametrize(
    ("shape", "channels", "features"),
    [
        ((10, 16, 16), 64, 128),  # spreads tokens over cells
        ((2, 97), 32, 4),  # logits
        ((1,), 16, 1),
        ((95,), 48, 130),
        ((96,), 80, 16),
        ((97,), 8, 5),
    ],
)
def test_equals_the_plain_mathematics(shape, channels, features):
    check_against_plain(norm_dense, noise(0, *shape, channels), weights_of(channels, features))


def test_is_a_layer_norm_and_a_dense_layer():
    x, weights = noise(0, 10, 32), weights_of(32, 5)
    norm = {"params": {"scale": weights.scale, "bias": weights.shift}}
    layer = {"params": {"kernel": weights.kernel, "bias": weights.bias}}
    expected = nn.Dense(5).apply(layer, nn.LayerNorm(epsilon=1e-5).apply(norm, x))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(norm_dense(x, weights), expected, rtol=0, atol=TOLERANCE * scale)


def test_no_rows():
    out, grad_x, *grads = values_and_gradients(norm_dense, jnp.zeros((0, 16)), weights_of(16, 3))
    assert out.shape == (0, 3) and grad_x.shape == (0, 16)
    assert not any(grad.any() for grad in grads)


def test_a_layer_of_another_width_is_refused():
    with pytest.raises(Exception, match=r"kernel: expected .*\[c,o\]"):
        dense.forward(noise(0, 4, 16), weights_of(32, 3)._replace(scale=jnp.ones(16)))
