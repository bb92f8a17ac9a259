import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.convolution import ConvBlockWeights, conv_block, convolution
from tests.kernels.kernel_checks import check_against_plain, noise, values_and_gradients


# (images, height, width, channels in, out, kernel rows, columns, stride, padding)
@pytest.mark.parametrize(
    "sizes",
    [
        (3, 16, 16, 64, 64, 3, 3, 1, 1),  # tokens
        (3, 16, 16, 64, 64, 4, 4, 2, 1),  # of an encoder
        (1, 7, 5, 3, 9, 3, 3, 1, 1),
        (3, 7, 6, 5, 33, 3, 3, 2, 1),
        (3, 9, 9, 5, 70, 2, 2, 3, 0),  # pixels that no tap meets
        (1, 5, 6, 3, 4, 1, 1, 2, 0),
        (3, 6, 7, 2, 3, 5, 3, 1, 3),
        (3, 4, 4, 3, 7, 4, 4, 1, 0),  # one pixel
        (1, 1, 1, 1, 1, 1, 1, 1, 0),
    ],
)
def test_equals_the_plain_mathematics(sizes):
    batch, h, w, channels, features, kh, kw, stride, padding = sizes

    def convolve(x, kernel):
        return convolution(x, kernel, stride=stride, padding=padding)

    check_against_plain(
        convolve, noise(0, batch, h, w, channels), noise(1, kh, kw, channels, features)
    )


def test_long_sums_round_little():
    """Sums of 4,096 products, as an encoder's last layer has."""
    x, kernel = np.asarray(noise(0, 16, 4, 4, 256)), np.asarray(noise(1, 4, 4, 256, 64))
    out = np.asarray(convolution(x, kernel, stride=1, padding=0)).reshape(16, 64)
    exact = x.reshape(16, -1).astype(np.float64) @ kernel.reshape(-1, 64).astype(np.float64)
    # One product after the other, each rounded to float32, gives 7.3e-5; kernel rows on their own,
    # then their sum, 2.6e-5.
    assert np.sqrt(np.mean((out - exact) ** 2)) < 4e-5


def test_no_images():
    out, grad_x, grad_kernel = values_and_gradients(
        lambda x, kernel: convolution(x, kernel, stride=1, padding=1),
        jnp.zeros((0, 4, 4, 3)),
        noise(1, 3, 3, 3, 5),
    )
    assert out.shape == (0, 4, 4, 5) and grad_x.shape == (0, 4, 4, 3)
    assert not grad_kernel.any()


def test_a_kernel_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \[kh, kw, 3, o\]"):
        convolution(noise(0, 1, 4, 4, 3), noise(1, 3, 3, 4, 5), stride=1, padding=1)
    with pytest.raises(ValueError, match=r"at least \(3, 3\) with their padding of 0"):
        convolution(noise(0, 1, 2, 4, 3), noise(1, 3, 3, 3, 5), stride=1, padding=0)


def block_weights(channels: int, taps: int) -> ConvBlockWeights:
    return ConvBlockWeights(
        1 + 0.1 * noise(1, channels),
        noise(2, channels),
        noise(3, taps, taps, channels, channels) * (taps * taps * channels) ** -0.5,
        noise(4, channels),
    )


# 16 channels and more with 3 x 3 taps are made by our kernel, in multiples of 16; others are left
# to XLA. Of the 90 tiles of 2 x 2 pixels in the largest images, 64 at most are worked on together.
@pytest.mark.parametrize(
    ("shape", "channels", "taps"),
    [
        ((1, 5, 7), 16, 3),
        ((3, 8, 8), 48, 3),
        ((2, 1, 1), 64, 3),
        ((2, 17, 20), 16, 3),
        ((2, 17, 20), 64, 3),
        ((1, 5, 7), 8, 3),
        ((2, 1, 1), 16, 1),
    ],
)
def test_blocks_equal_the_plain_mathematics(shape, channels, taps):
    check_against_plain(conv_block, noise(0, *shape, channels), block_weights(channels, taps))


def test_blocks_of_no_images():
    out, grad_x, *grads = values_and_gradients(
        conv_block, jnp.zeros((0, 4, 4, 16)), block_weights(16, 3)
    )
    assert out.shape == grad_x.shape == (0, 4, 4, 16)
    assert not any(grad.any() for grad in grads)


@pytest.mark.optimized  # sums of numbers so large show how XLA rounds
def test_blocks_of_extreme_values_stay_finite():
    x = jnp.concatenate([jnp.zeros((1, 4, 4, 16)), 1e4 * noise(0, 2, 4, 4, 16)])
    weights = block_weights(16, 3)._replace(bias=1e3 * noise(4, 16))  # far into both ends of gelu
    assert all(np.isfinite(array).all() for array in values_and_gradients(conv_block, x, weights))
    check_against_plain(conv_block, x[1:], weights)
