"""The harmonic embedding against the original's, against plain sines, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pony_jax.ops.harmonic import harmonic_embedding


def reference(x, num_frequencies, scale):
    """Float64 sines of float32 phases."""
    frequencies = (scale * 2.0 ** np.arange(num_frequencies)).astype(np.float32)
    phase = (np.asarray(x)[..., None] * frequencies).astype(np.float64)
    phase = phase.reshape(*x.shape[:-1], x.shape[-1] * num_frequencies)
    return np.concatenate([np.sin(phase), np.cos(phase)], axis=-1)


@pytest.mark.parametrize("name", ["harmonic_a", "harmonic_b"])
def test_embedding_equals_the_original(golden_case, equals_original, name):
    case = golden_case("model_01_networks", name)
    n, scale = len(case["frequencies"]), float(case["frequencies"][0])
    x = jnp.asarray(case["in/x"])
    # The original computes its frequencies in float32, which the phases of sines magnify.
    equals_original("value", harmonic_embedding(x, n, scale), case["out"], 1e-5)
    gradient = jax.grad(lambda x: jnp.sum(harmonic_embedding(x, n, scale) * case["cot"]))(x)
    equals_original("gradient", gradient, case["g/in/x"], 1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (2, 5, 3), (0, 3)])
def test_embedding_equals_plain_sines_up_to_high_phases(shape):
    x = 3.5 * jax.random.uniform(jax.random.key(0), shape, minval=-1)
    out = jax.jit(lambda x: harmonic_embedding(x, 11, 1.6))(x)  # phases up to 5,700
    np.testing.assert_allclose(out, reference(x, 11, 1.6), atol=2e-7)


@pytest.mark.parametrize("x", [0.0, np.pi / 4, -np.pi / 4, np.pi / 2, np.pi, 3 * np.pi / 2, -np.pi])
def test_embedding_at_quadrant_borders(x):
    x = jnp.full((1, 1), x, jnp.float32)
    np.testing.assert_allclose(harmonic_embedding(x, 3, 1.0), reference(x, 3, 1.0), atol=2e-7)


def test_derivatives_to_second_order():
    # The plain mathematics of the Eikonal loss differentiate the embedding twice.
    x = jax.random.normal(jax.random.key(1), (4, 3))
    check_grads(lambda x: harmonic_embedding(x, 3, 0.8), (x,), order=2, atol=3e-2, rtol=3e-2)
    first = jax.grad(lambda x: jnp.sum(harmonic_embedding(x, 5, 0.8)[:, :15]))(x)
    frequencies = 0.8 * 2.0 ** np.arange(5)
    expected = np.sum(np.cos(np.asarray(x)[..., None] * frequencies) * frequencies, axis=-1)
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-4)


def test_no_frequencies_raises():
    with pytest.raises(ValueError, match="expected at least 1, got 0; feed the bare coordinates"):
        harmonic_embedding(jnp.zeros((2, 3)), 0, 1.0)
