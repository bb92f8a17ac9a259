import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.kernels import mlp as kernel
from pony_jax.ops.mlp import mlp
from pony_jax.ops.substitution import without_substitutes
from tests.kernels.kernel_checks import (
    TOLERANCE,
    assert_close,
    check_against_plain,
    gradient_program,
    noise,
    values_and_gradients,
    weights,
)


# A block is 96 points: fewer, exactly one, one and a bit, many.
@pytest.mark.parametrize(
    ("num_points", "middle"),
    [(1, 0), (7, 1), (96, 3), (96, 0), (97, 1), (97, 3), (1000, 0), (1000, 3)],
)
def test_equals_the_plain_mathematics(num_points, middle):
    def network(points, weights):
        return mlp(points, weights, num_frequencies=4, scale=0.8)

    check_against_plain(network, noise(5, num_points, 3), weights(4, 64, middle, 16))


# Widths that fill whole vectors and panels, and widths that do not.
@pytest.mark.parametrize(
    ("hidden", "outputs"), [(1, 3), (17, 1), (17, 70), (64, 70), (80, 3), (136, 1), (136, 70)]
)
def test_any_width(hidden, outputs):
    def network(points, weights):
        return mlp(points, weights, num_frequencies=1, scale=2.0)

    check_against_plain(network, noise(5, 200, 3), weights(1, hidden, 2, outputs))


@pytest.mark.parametrize("num_frequencies", [0, 5, 6, 10])  # others above and below
def test_any_number_of_frequencies(num_frequencies):
    def network(points, weights):
        return mlp(points, weights, num_frequencies=num_frequencies, scale=0.7)

    check_against_plain(network, noise(5, 100, 3), weights(num_frequencies, 32, 1, 3))


@pytest.mark.parametrize(
    ("middle", "num_images", "image_a_point"),  # each pair of settings once
    [(1, 1, False), (1, 3, True), (2, 3, False), (2, 1, True), (4, 3, True), (4, 1, False)],
)
def test_conditions(middle, num_images, image_a_point):
    # -1 and num_images belong to no image.
    image = jnp.arange(300, dtype=jnp.int32) % (num_images + 2) - 1 if image_a_point else None

    def network(points, weights, condition):
        return mlp(points, weights, condition, image, num_frequencies=3, scale=0.8)

    check_against_plain(
        network, noise(5, 300, 3), weights(3, 48, middle, 3), noise(6, num_images, 48)
    )


# Points beyond the count are padding: in the last block, a whole block, or all of them.
@pytest.mark.parametrize("images", ["none", "one a point", "all"])
def test_padding(images):
    image = jnp.arange(300, dtype=jnp.int32) % 3 if images == "one a point" else None

    def network(points, weights, condition, used):
        condition = None if images == "none" else condition
        out = mlp(points, weights, condition, image, used, num_frequencies=3, scale=0.8)
        return jnp.moveaxis(out, -2, 0)

    arguments = noise(5, 300, 3), weights(3, 48, 2, 3), noise(6, 3, 48)
    all_out, *_ = values_and_gradients(functools.partial(network, used=None), *arguments)
    program = gradient_program(network, *arguments, jnp.int32(0))
    for count in (300, 250, 150, 96, 0):
        got = program(*arguments, jnp.int32(count))
        with without_substitutes():
            assert_close(got, program(*arguments, jnp.int32(count)), TOLERANCE)
        out, grad_points, *_ = got
        assert not out[count:].any() and not grad_points[count:].any()
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
