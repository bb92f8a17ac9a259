import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.kernels import mlp as kernel
from pony_jax.ops.mlp import mlp
from tests.kernels.kernel_checks import check_against_plain, noise, values_and_gradients, weights


# A block is 96 points: fewer, exactly one, one and a bit, many.
@pytest.mark.parametrize("num_points", [1, 7, 96, 97, 1000])
@pytest.mark.parametrize("middle", [0, 1, 3])
def test_equals_the_plain_mathematics(num_points, middle):
    def network(points, weights):
        return mlp(points, weights, num_frequencies=4, scale=0.8)

    check_against_plain(network, noise(5, num_points, 3), weights(4, 64, middle, 16))


# Widths that fill whole vectors and panels, and widths that do not.
@pytest.mark.parametrize("hidden", [1, 17, 64, 80, 136])
@pytest.mark.parametrize("outputs", [1, 3, 70])
def test_any_width(hidden, outputs):
    def network(points, weights):
        return mlp(points, weights, num_frequencies=1, scale=2.0)

    check_against_plain(network, noise(5, 200, 3), weights(1, hidden, 2, outputs))


@pytest.mark.parametrize("num_frequencies", [0, 1, 5, 6, 10])
def test_any_number_of_frequencies(num_frequencies):
    def network(points, weights):
        return mlp(points, weights, num_frequencies=num_frequencies, scale=0.7)

    check_against_plain(network, noise(5, 100, 3), weights(num_frequencies, 32, 1, 3))


@pytest.mark.parametrize("middle", [1, 2, 4])
@pytest.mark.parametrize("num_images", [1, 3])
@pytest.mark.parametrize("image_a_point", [False, True])
def test_conditions(middle, num_images, image_a_point):
    # -1 and num_images belong to no image.
    image = jnp.arange(300, dtype=jnp.int32) % (num_images + 2) - 1 if image_a_point else None

    def network(points, weights, condition):
        return mlp(points, weights, condition, image, num_frequencies=3, scale=0.8)

    check_against_plain(
        network, noise(5, 300, 3), weights(3, 48, middle, 3), noise(6, num_images, 48)
    )


# Points beyond the count are padding: in the last block, a whole block, or all of them.
@pytest.mark.parametrize("count", [300, 250, 150, 96, 0])
@pytest.mark.parametrize("images", ["none", "one a point", "all"])
def test_padding(count, images):
    image = jnp.arange(300, dtype=jnp.int32) % 3 if images == "one a point" else None

    def network(points, weights, condition, *, used):
        condition = None if images == "none" else condition
        out = mlp(points, weights, condition, image, used, num_frequencies=3, scale=0.8)
        return jnp.moveaxis(out, -2, 0)

    arguments = noise(5, 300, 3), weights(3, 48, 2, 3), noise(6, 3, 48)
    padded = functools.partial(network, used=jnp.int32(count))
    check_against_plain(padded, *arguments)
    out, grad_points, *_ = values_and_gradients(padded, *arguments)
    assert not out[count:].any() and not grad_points[count:].any()
    all_out, *_ = values_and_gradients(functools.partial(network, used=None), *arguments)
    np.testing.assert_array_equal(out[:count], all_out[:count])


def test_no_points():
    out, *grads = values_and_gradients(
        lambda points, weights: mlp(points, weights, num_frequencies=2, scale=1.0),
        jnp.zeros((0, 3)),
        weights(2, 16, 1, 3),
    )
    assert out.shape == (0, 3)
    assert all(not grad.any() for grad in grads)


def test_without_a_gradient_the_same_bits():
    points, w = noise(5, 500, 3), weights(4, 64, 2, 3)

    def network(points):
        return mlp(points, w, num_frequencies=4, scale=0.8)

    values, _ = jax.vjp(network, points)
    np.testing.assert_array_equal(network(points), values)


def test_points_that_are_not_finite_spoil_only_themselves():
    points = noise(5, 100, 3).at[7, 1].set(jnp.nan)
    values = mlp(points, weights(4, 64, 2, 3), num_frequencies=4, scale=0.8)
    spoiled = np.isnan(np.asarray(values)).any(axis=1)
    assert spoiled[7] and spoiled.sum() == 1


def test_a_condition_needs_a_layer():
    with pytest.raises(ValueError, match="expected a middle layer to add the condition to"):
        mlp(noise(5, 9, 3), weights(2, 16, 0, 3), noise(6, 2, 16), num_frequencies=2, scale=1.0)


def test_wrong_shapes_are_named():
    w = weights(2, 16, 1, 3)
    with pytest.raises(Exception, match=r"first: expected shape \[3 \+ 6 num_frequencies,d\]"):
        kernel.forward(noise(5, 9, 3), w, None, None, None, num_frequencies=3, scale=1.0)
