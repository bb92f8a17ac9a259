"""FLOPs of functions that can be counted by hand."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.benchmarks.flops import count_flops, fma_peak, matmul_rate

_A, _B = jnp.ones((3, 4)), jnp.ones((4, 5))
_ONE_PRODUCT = 2 * 3 * 4 * 5


def test_a_product_counts_each_multiplication_and_addition() -> None:
    assert count_flops(jnp.matmul, _A, _B) == _ONE_PRODUCT
    batched = jnp.ones((7, 3, 4)), jnp.ones((7, 4, 5))
    assert count_flops(jnp.matmul, *batched) == 7 * _ONE_PRODUCT
    assert count_flops(lambda a: jnp.sin(a) + 1, _A) == 0


def test_the_gradient_of_a_product_is_two_products() -> None:
    def loss(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(a @ b))

    # The product itself, and one for each factor; no gradient is taken of what is not asked for.
    assert count_flops(jax.grad(loss, argnums=(0, 1)), _A, _B) == 3 * _ONE_PRODUCT
    assert count_flops(jax.grad(loss), _A, _B) == 2 * _ONE_PRODUCT


def test_what_no_output_needs_does_not_count() -> None:
    def wasteful(a: jax.Array, b: jax.Array) -> jax.Array:
        unused = jax.jit(jnp.matmul)(a, b)
        return a + 0 * unused.shape[0]

    assert count_flops(wasteful, _A, _B) == 0


@jax.custom_vjp
def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return a @ b


_product.defvjp(lambda a, b: (a @ b, None), lambda _, g: (g @ _B.T, _A.T @ g))


@pytest.mark.parametrize(
    ("function", "num_products"),
    [
        (jax.jit(jnp.matmul), 1),
        (_product, 1),
        (jax.checkpoint(jnp.matmul), 1),
        (lambda a, b: lax.scan(lambda s, _: (s, a @ (b + s)), 1.0, length=6)[1], 6),
        (lambda a, b: lax.fori_loop(0, 4, lambda _, s: s + a @ b * s, jnp.ones((3, 5))), 4),
        (lambda a, b: lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: (a @ b) @ (b.T @ b)), None),
        (lambda a, b: jax.vmap(lambda row: row @ b)(a), 1),
        (jax.vmap(lambda a, b: lax.map(lambda row: row @ b, a), (None, None), axis_size=2), 1),
    ],
)
def test_calls_and_loops_are_walked_into(function, num_products) -> None:
    if num_products is None:  # the longer branch: (3, 4) (4, 5), (5, 4) (4, 5) and (3, 5) (5, 5)
        assert count_flops(function, _A, _B) == _ONE_PRODUCT + 2 * 5 * 4 * 5 + 2 * 3 * 5 * 5
    else:
        assert count_flops(function, _A, _B) == num_products * _ONE_PRODUCT


def test_recomputation_counts() -> None:
    def deep(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(jnp.sin(a @ b) @ b.T))

    # Two products there, two back, and once more the two there.
    assert count_flops(jax.value_and_grad(deep), _A, _B) == 4 * _ONE_PRODUCT
    assert count_flops(jax.value_and_grad(jax.checkpoint(deep)), _A, _B) == 6 * _ONE_PRODUCT


def test_a_loop_of_unknown_length_needs_a_number_of_rounds() -> None:
    def endless(a: jax.Array, n: jax.Array) -> jax.Array:
        return lax.fori_loop(0, n, lambda _, s: s @ s, a)

    with pytest.raises(ValueError, match="known number of rounds, got a while loop"):
        count_flops(endless, jnp.ones((3, 3)), jnp.int32(2))
    product = 2 * 3 * 3 * 3
    assert count_flops(endless, jnp.ones((3, 3)), jnp.int32(2), while_rounds=5) == 5 * product
    # A loop without products may have any length.
    assert count_flops(lambda n: lax.while_loop(lambda i: i < n, lambda i: i + 1, 0), 3) == 0


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=layout)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_and_its_gradients_cost_the_same(stride: int) -> None:
    """Each product of forward occurs once in either gradient; the zeros put in do not count."""
    x, kernel = jnp.ones((2, 9, 9, 3)), jnp.ones((3, 3, 3, 8))
    num_out = 7 if stride == 1 else 4
    once = 2 * (2 * num_out**2 * 8) * (3 * 3 * 3)
    assert count_flops(lambda x, k: _convolve(x, k, stride, "VALID"), x, kernel) == once

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(_convolve(x, kernel, stride, "VALID") ** 2)

    assert count_flops(jax.grad(loss, argnums=(0, 1)), x, kernel) == 3 * once


def test_padding_of_a_convolution_does_not_count() -> None:
    x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    # Along an axis, 3 taps at 4 outputs less one at each end.
    assert count_flops(lambda x, k: _convolve(x, k, 1, "SAME"), x, kernel) == 2 * 10 * 10


def test_groups_of_a_convolution_share_its_channels() -> None:
    x, kernel = jnp.ones((1, 5, 5, 4)), jnp.ones((1, 1, 1, 4))
    layout = ("NHWC", "HWIO", "NHWC")

    def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=4
        )

    assert count_flops(depthwise, x, kernel) == 2 * 25 * 4


@pytest.mark.parametrize("rate", [lambda: matmul_rate(size=512, repeats=2), fma_peak])
def test_rates_are_those_of_a_computer(rate: Callable[[], float]) -> None:
    # From a tenth of one old core to a hundred new ones: a wrong unit is off by a thousand.
    assert 1e9 < rate() < 2e13
