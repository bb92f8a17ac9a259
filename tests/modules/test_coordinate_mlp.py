import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.modules import coordinate_mlp
from pony_jax.modules.coordinate_mlp import CoordinateMLP

NETWORK = CoordinateMLP(
    features=3, hidden=16, num_layers=3, num_frequencies=4, frequency_scale=1.0, mirror=True
)
NUM_POINTS, NUM_IMAGES = 103, 4  # no multiple of any number of pieces


def inputs(condition: bool, image: bool) -> tuple[jax.Array, ...]:
    points = jax.random.normal(jax.random.key(0), (NUM_POINTS, 3))
    conditions = jax.random.normal(jax.random.key(1), (NUM_IMAGES, 8)) if condition else None
    images = jnp.arange(NUM_POINTS) % NUM_IMAGES if image else None
    return points, conditions, images


@pytest.mark.parametrize("kinds", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("most", [1, 100, 16 * NUM_POINTS - 1])
def test_pieces_have_the_values_and_gradients_of_the_whole(monkeypatch, kinds, most):
    points, condition, image = inputs(*kinds)
    params = NETWORK.init(jax.random.key(2), points, condition, image)

    def loss(params, points, condition):
        values = NETWORK.apply(params, points, condition, image)
        return jnp.sum(jnp.sin(values)), values

    arguments = (0, 1, 2) if condition is not None else (0, 1)
    run = jax.grad(loss, arguments, has_aux=True)
    whole = run(params, points, condition)
    monkeypatch.setattr(coordinate_mlp, "_MOST_KEPT_VALUES", most)
    pieces = run(params, points, condition)
    for expected, got in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        # Sums over points in another order: some ten roundings of 6e-8 of the largest term.
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * scale)


def test_parameters_do_not_depend_on_pieces(monkeypatch):
    points, condition, image = inputs(True, True)
    whole = NETWORK.init(jax.random.key(2), points, condition, image)
    monkeypatch.setattr(coordinate_mlp, "_MOST_KEPT_VALUES", 100)
    jax.tree.map(
        np.testing.assert_array_equal,
        NETWORK.init(jax.random.key(2), points, condition, image),
        whole,
    )


def test_pieces_need_less_memory(monkeypatch):
    points = jnp.zeros((1 << 16, 3))
    params = NETWORK.init(jax.random.key(2), points[:1])

    def buffers() -> int:
        gradient = jax.jit(jax.grad(lambda params: jnp.sum(NETWORK.apply(params, points) ** 2)))
        return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes

    monkeypatch.setattr(coordinate_mlp, "_MOST_KEPT_VALUES", 1 << 22)
    whole = buffers()
    monkeypatch.setattr(coordinate_mlp, "_MOST_KEPT_VALUES", 1 << 18)  # thirteen pieces
    assert buffers() < whole / 3  # inputs and outputs of all points stay


@pytest.mark.parametrize("most", [1, 300, 2 * 16 * NUM_POINTS - 1])
def test_pieces_have_the_spatial_gradients_of_the_whole(monkeypatch, most):
    network = NETWORK.clone(features=1)
    points, *_ = inputs(False, False)
    params = network.init(jax.random.key(2), points)

    def loss(params):
        gradients = jax.grad(lambda points: jnp.sum(network.apply(params, points)))(points)
        return jnp.sum(jnp.sin(gradients)), gradients

    run = jax.grad(loss, has_aux=True)
    whole = run(params)
    monkeypatch.setattr(coordinate_mlp, "_MOST_KEPT_VALUES", most)
    for expected, got in zip(jax.tree.leaves(whole), jax.tree.leaves(run(params)), strict=True):
        # Sums over points in another order, as above.
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * scale)
