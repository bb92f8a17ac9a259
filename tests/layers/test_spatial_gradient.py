import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_checks import check_against_xla, check_threads, noise, values_and_gradients, weights

from pony_jax.layers import MLPWeights, mlp, plain_xla, spatial_gradient


def check(points: jax.Array, weights: MLPWeights, num_frequencies: int) -> None:
    check_against_xla(
        lambda weights: spatial_gradient(
            points, weights, num_frequencies=num_frequencies, scale=0.8
        ),
        weights,
    )


# A block is 96 points: fewer, one less, exactly one, one more, many.
@pytest.mark.parametrize("num_points", [1, 7, 95, 96, 97, 1000])
@pytest.mark.parametrize("middle", [0, 1, 4])
def test_equals_the_plain_mathematics(num_points, middle):
    check(noise(5, num_points, 3), weights(4, 64, middle, 1), 4)


# Widths that fill whole vectors and panels, and widths that do not.
@pytest.mark.parametrize("hidden", [1, 17, 64, 80, 136])
def test_any_width(hidden):
    check(noise(5, 200, 3), weights(1, hidden, 2, 1), 1)


@pytest.mark.parametrize("num_frequencies", [0, 1, 5, 6, 10])
def test_any_number_of_frequencies(num_frequencies):
    check(noise(5, 100, 3), weights(num_frequencies, 32, 1, 1), num_frequencies)


def test_an_output_without_weights_can_get_some():
    # All gradients that go back are 0, yet what a weight of the last layer would bring is not.
    w = weights(2, 16, 2, 1)._replace(last=jnp.zeros((16, 1)))
    check(noise(5, 100, 3), w, 2)
    gradient = jax.grad(
        lambda w: jnp.sum(spatial_gradient(noise(5, 100, 3), w, num_frequencies=2, scale=0.8))
    )(w)
    assert gradient.last.any()
    assert not gradient.first.any() and not gradient.middle.any()


def test_is_the_gradient_of_the_network():
    points, w = noise(5, 300, 3), weights(4, 64, 2, 1)
    how = {"num_frequencies": 4, "scale": 0.8}
    expected = jax.grad(lambda points: jnp.sum(mlp(points, w, **how)))(points)
    # The same products in the same order.
    np.testing.assert_array_equal(spatial_gradient(points, w, **how), expected)


def test_gradients_of_the_weights_are_differences():
    points, w = noise(5, 50, 3), weights(3, 16, 2, 1)
    way = jax.tree.map(lambda x: noise(7, *x.shape), w)
    how = {"num_frequencies": 3, "scale": 0.8}

    def loss(w, points):
        return jnp.sum(jnp.sin(spatial_gradient(points, w, **how)))

    grads = jax.grad(loss)(w, points)
    slope = sum(np.vdot(a, b) for a, b in zip(grads, way, strict=True))
    with jax.enable_x64(True):
        points, w, way = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x), jnp.float64), (points, w, way)
        )
        # So near that no rectifier switches between.
        after = loss(jax.tree.map(lambda x, dx: x + 1e-7 * dx, w, way), points)
        before = loss(jax.tree.map(lambda x, dx: x - 1e-7 * dx, w, way), points)
        expected = float(after - before) / 2e-7
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


def test_no_points():
    out, *grads = values_and_gradients(
        lambda weights: spatial_gradient(jnp.zeros((0, 3)), weights, num_frequencies=2, scale=1.0),
        weights(2, 16, 1, 1),
    )
    assert out.shape == (0, 3)
    assert all(not grad.any() for grad in grads)


def test_without_a_gradient_the_same_bits():
    points, w = noise(5, 500, 3), weights(4, 64, 2, 1)

    def gradients(w):
        return spatial_gradient(points, w, num_frequencies=4, scale=0.8)

    kept, _ = jax.vjp(gradients, w)
    np.testing.assert_array_equal(gradients(w), kept)


def test_threads_change_nothing():
    points, w = noise(5, 3000, 3), weights(4, 64, 2, 1)

    def gradients(w):
        return spatial_gradient(points, w, num_frequencies=4, scale=0.8)

    check_threads(lambda: values_and_gradients(gradients, w))


def test_points_that_are_not_finite_spoil_only_themselves():
    points = noise(5, 100, 3).at[7, 1].set(jnp.nan)
    gradients = spatial_gradient(points, weights(4, 64, 2, 1), num_frequencies=4, scale=0.8)
    spoiled = np.isnan(np.asarray(gradients)).any(axis=1)
    assert spoiled[7] and spoiled.sum() == 1


def test_doubles_are_left_to_xla():
    single = noise(5, 9, 3), weights(2, 16, 1, 1)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), single)
        values = np.asarray(spatial_gradient(*double, num_frequencies=2, scale=0.8))
    assert values.dtype == np.float64
    # Some ten float32 roundings of values of about 1.
    np.testing.assert_allclose(
        values, spatial_gradient(*single, num_frequencies=2, scale=0.8), atol=1e-5
    )


def test_points_are_constants():
    w = weights(2, 16, 1, 1)

    def total(points):
        return jnp.sum(spatial_gradient(points, w, num_frequencies=2, scale=1.0))

    with pytest.raises(ValueError, match=r"points: expected constants.*lax\.stop_gradient"):
        jax.jit(jax.grad(total))(noise(5, 9, 3))
    with plain_xla(), pytest.raises(ValueError, match="points: expected constants"):
        jax.grad(total)(noise(5, 9, 3))
    at_constants = jax.grad(lambda points: total(jax.lax.stop_gradient(points)))
    assert not at_constants(noise(5, 9, 3)).any()


def test_several_outputs_are_refused():
    with pytest.raises(ValueError, match="weights: expected one output, got 3"):
        spatial_gradient(noise(5, 9, 3), weights(2, 16, 1, 3), num_frequencies=2, scale=1.0)


def test_wrong_shapes_are_named():
    w = weights(2, 16, 1, 1)
    with pytest.raises(Exception, match=r"first: expected shape \[3 \+ 6 num_frequencies,d\]"):
        spatial_gradient(noise(5, 9, 3), w, num_frequencies=3, scale=1.0).block_until_ready()
