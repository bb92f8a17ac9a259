import jax.numpy as jnp
import numpy as np
import pytest
from layer_checks import check_against_xla, check_threads, noise, values_and_gradients

from pony_jax.layers import token_dense


# 16 outputs and more are made by our kernel, in multiples of 16; others are left to XLA.
@pytest.mark.parametrize(
    ("rows", "tokens", "inputs", "outputs", "trained"),
    [
        (10, 20, 177, 64, 128),  # the articulation network's first layer, of fewer inputs
        (10, 20, 64, 3, 64),  # and its last
        (1, 3, 5, 16, 5),
        (7, 2, 33, 80, 17),
        (6, 1, 1, 48, 0),
    ],
)
def test_equals_the_plain_mathematics(rows, tokens, inputs, outputs, trained):
    check_against_xla(
        lambda x, kernel: token_dense(x, kernel, trained),
        noise(0, rows, tokens, inputs),
        noise(1, tokens, inputs, outputs) * inputs**-0.5,
    )


def test_is_a_product_for_each_token():
    x, kernel = noise(0, 4, 3, 20), noise(1, 3, 20, 16)
    out, grad_x, grad_kernel = values_and_gradients(lambda *of: token_dense(*of, 9), x, kernel)
    factors = noise(99, *out.shape)  # what values_and_gradients multiplies the result with
    # Sums of 20 products of size one, in float32.
    close = {"rtol": 0, "atol": 1e-5}
    for token in range(3):
        np.testing.assert_allclose(out[:, token], x[:, token] @ kernel[token], **close)
        expected = factors[:, token] @ kernel[token].T
        np.testing.assert_allclose(grad_x[:, token, :9], expected[:, :9], **close)
        expected = x[:, token].T @ factors[:, token]
        np.testing.assert_allclose(grad_kernel[token], expected, **close)
    assert not grad_x[:, :, 9:].any()


def test_no_rows():
    out, grad_x, grad_kernel = values_and_gradients(
        lambda *of: token_dense(*of, 5), jnp.zeros((0, 2, 5)), noise(1, 2, 5, 16)
    )
    assert out.shape == (0, 2, 16) and grad_x.shape == (0, 2, 5)
    assert not grad_kernel.any()


def test_threads_change_nothing():
    arguments = noise(0, 10, 7, 40), noise(1, 7, 40, 32)
    check_threads(lambda: values_and_gradients(lambda *of: token_dense(*of, 40), *arguments))


def test_a_kernel_of_other_tokens_is_refused():
    with pytest.raises(Exception, match=r"kernel: expected .*\[k,i,o\]"):
        token_dense(noise(0, 2, 3, 5), noise(1, 4, 5, 16), 5).block_until_ready()
