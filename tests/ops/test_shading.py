"""Shading normals and light against the original's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.numerics import safe_normalize
from pony_jax.ops.shading import directional_shading, shading_normal


@pytest.mark.parametrize("two_sided", [False, True])
def test_shading_normal_equals_the_original(golden_case, equals_original, two_sided):
    case = golden_case("model_06_render", f"shadenormal_two{int(two_sided)}")
    names = ("in/smooth_nrm", "in/geom_nrm", "in/pos", "in/view_pos")
    inputs = [jnp.asarray(case[n]) for n in names]

    def normal(smooth, face, position, camera):
        return shading_normal(smooth, face, camera - position, two_sided=two_sided)

    equals_original("normal", normal(*inputs), case["out"], 1e-5)
    gradients = jax.grad(lambda *x: jnp.sum(normal(*x) * case["cot"]), (0, 1, 2, 3))(*inputs)
    for name, gradient in zip(names, gradients, strict=True):
        expected = case[f"g/{name}"]
        if name == "in/smooth_nrm":
            # On background pixels the normal is zero, where the original's gradient is 1e10.
            background = np.all(case[name] == 0, axis=-1, keepdims=True)
            expected = np.where(background, 0.0, expected)
        equals_original(f"gradient of {name}", gradient, expected, 1e-4)


def test_directional_shading_equals_the_original(golden_case, equals_original):
    light = golden_case("model_06_render", "light")["params"]
    case = golden_case("model_06_render", "lightshade")
    direction, ambient, diffuse = (
        jnp.asarray(x)[:, None, None] for x in (light[:, :3], light[:, 3:4], light[:, 4:])
    )
    normal, albedo = jnp.asarray(case["in/normal"]), jnp.asarray(case["in/kd"])

    def shade(normal, albedo):
        parts = (
            jnp.broadcast_to(x, (*normal.shape[:3], x.shape[-1]))
            for x in (direction, ambient, diffuse)
        )
        shading = directional_shading(normal, *parts)
        return shading, shading * albedo

    shading, shaded = shade(normal, albedo)
    equals_original("shading", shading, case["shading"], 1e-5)
    equals_original("shaded", shaded, case["shaded"], 1e-5)
    cotangents = case["cot_shading"], case["cot_shaded"]
    gradients = jax.grad(
        lambda n, a: sum(jnp.sum(x * c) for x, c in zip(shade(n, a), cotangents, strict=True)),
        (0, 1),
    )(normal, albedo)
    equals_original("gradient of normal", gradients[0], case["g/in/normal"], 1e-5)
    equals_original("gradient of albedo", gradients[1], case["g/in/kd"], 1e-5)


def test_both_sides_of_a_face_look_alike():
    key = jax.random.split(jax.random.key(0), 3)
    smooth, face, view = (safe_normalize(jax.random.normal(k, (50, 3))) for k in key)
    one, other = shading_normal(smooth, face, view), shading_normal(-smooth, -face, view)
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert jnp.all(jnp.sum(one * view, axis=-1) >= -1e-6)  # always towards the camera


def test_away_from_the_silhouette_the_smooth_normal_stays():
    smooth = safe_normalize(jnp.array([[0.2, 0.1, 1.0]]))
    face, view = jnp.array([[0.0, 0.0, 1.0]]), jnp.array([[0.0, 0.0, 7.0]])
    np.testing.assert_allclose(shading_normal(smooth, face, view), smooth, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (2, 4, 3)])
def test_zero_vectors_are_finite(shape):
    zero = jnp.zeros(shape)
    value, pull = jax.vjp(lambda a, b, c: shading_normal(a, b, c), zero, zero, zero)
    np.testing.assert_array_equal(value, 0.0)
    assert all(jnp.all(jnp.isfinite(g)) for g in pull(jnp.ones(shape)))


def test_light_from_behind_leaves_the_ambient_part():
    ones = jnp.ones((1, 1))
    normal, light = jnp.array([[0.0, 0.0, 1.0]]), jnp.array([[0.0, 0.6, -0.8]])
    shading = directional_shading(normal, light, 0.3 * ones, 0.9 * ones)
    np.testing.assert_allclose(shading, [[0.3]])
    np.testing.assert_allclose(
        directional_shading(normal, -light, 0.3 * ones, 0.9 * ones), [[0.3 + 0.9 * 0.8]], rtol=1e-6
    )
