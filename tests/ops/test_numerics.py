"""Roots and normalisation: the original's values, and finite gradients where it has none."""

import jax
import jax.numpy as jnp
import numpy as np

from pony_jax.ops.numerics import order_statistics, safe_normalize, safe_sqrt


def test_safe_normalize_equals_the_original(golden_case, equals_original):
    case = golden_case("model_06_render", "safe_normalize")
    x, cot = jnp.asarray(case["in/x"]), case["cot"]
    equals_original("value", safe_normalize(x), case["out"], 1e-6)
    gradient = jax.grad(lambda x: jnp.sum(safe_normalize(x) * cot))(x)
    # Row 6 is the zero vector, where ours is 0 on purpose; 7 and 8 are shorter than 1e-10.
    equals_original("gradient", gradient[:6], case["g/in/x"][:6], 1e-5)


def test_safe_normalize_at_zero_has_no_gradient():
    for x in (jnp.zeros(3), jnp.full(3, 1e-13), jnp.full(3, 1e-30)):
        gradient = jax.grad(lambda x: jnp.sum(safe_normalize(x) * jnp.arange(3.0)))(x)
        np.testing.assert_array_equal(gradient, 0.0)


def test_safe_normalize_along_another_axis():
    x = jax.random.normal(jax.random.key(0), (3, 5))
    np.testing.assert_allclose(jnp.sum(safe_normalize(x, axis=0) ** 2, axis=0), 1.0, rtol=1e-6)


def test_safe_sqrt_and_its_gradient():
    x = jnp.array([-1.0, 0.0, 4.0])
    np.testing.assert_allclose(safe_sqrt(x), [0.0, 0.0, 2.0])
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(safe_sqrt(x)))(x), [0.0, 0.0, 0.25])


def test_order_statistics_are_those_of_a_sort():
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 1000):
        x = rng.normal(size=n).astype(np.float32) * 10.0 ** rng.integers(-40, 38, size=n)
        x = np.concatenate([x, x[:3], [0.0, np.inf, -np.inf, 1e-45, -1e-45]]).astype(np.float32)
        ranks = np.arange(len(x)).reshape(-1, 1)
        np.testing.assert_array_equal(
            jax.jit(order_statistics)(x, jnp.asarray(ranks)), np.sort(x)[ranks]
        )
    assert jnp.isnan(order_statistics(jnp.array([jnp.nan, 1.0]), jnp.array([1]))[0])
    gradient = jax.grad(lambda x: jnp.sum(order_statistics(x, jnp.array([0]))))(jnp.ones(2))
    np.testing.assert_array_equal(gradient, 0.0)


def test_order_statistics_of_doubles():
    x = np.random.default_rng(1).normal(size=50)
    with jax.enable_x64(True):
        found = order_statistics(jnp.asarray(x), jnp.arange(50))
    np.testing.assert_array_equal(found, np.sort(x))
