"""Rotation matrices against the original's, and what makes a rotation."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from pony_jax.ops.numerics import safe_normalize
from pony_jax.ops.rotations import (
    euler_xyz_to_matrix,
    look_at_rotation,
    quaternion_to_matrix,
    small_matmul,
)


def test_euler_equals_the_original(golden_case, equals_original):
    case = golden_case("model_03_skinning", "euler")
    angles = jnp.asarray(case["in/angles"])
    equals_original("matrix", euler_xyz_to_matrix(angles), case["out"], 1e-6)
    gradient = jax.grad(lambda a: jnp.sum(euler_xyz_to_matrix(a) * case["cot"]))(angles)
    equals_original("gradient", gradient, case["g/in/angles"], 1e-5)


def test_euler_is_the_product_of_three_turns():
    a, b, c = 0.3, -1.1, 2.0
    turns = [euler_xyz_to_matrix(jnp.array(t)) for t in ([a, 0, 0], [0, b, 0], [0, 0, c])]
    product = turns[0] @ turns[1] @ turns[2]
    np.testing.assert_allclose(euler_xyz_to_matrix(jnp.array([a, b, c])), product, atol=1e-6)
    # A quarter turn about z takes x to y: the column-vector convention.
    quarter = euler_xyz_to_matrix(jnp.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(quarter @ jnp.array([1.0, 0, 0]), [0, 1, 0], atol=1e-6)


def test_small_products_equal_matmul_with_its_broadcast():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 1, 4, 4)), rng.normal(size=(3, 4, 2))
    # Sums of four products of size one, in float32.
    np.testing.assert_allclose(small_matmul(jnp.float32(a), jnp.float32(b)), a @ b, atol=2e-6)


def test_quaternions_turn_like_those_of_scipy():
    quaternions = np.random.default_rng(0).normal(size=(9, 4))
    rotations = Rotation.from_quat(quaternions, scalar_first=True)
    unit = jnp.asarray(rotations.as_quat(scalar_first=True), jnp.float32)
    np.testing.assert_allclose(quaternion_to_matrix(unit), rotations.as_matrix(), atol=1e-6)


def test_look_at_equals_the_original(golden_case, equals_original):
    case = golden_case("model_04_predictor", "lookat")
    forward = jnp.asarray(case["in/forward"])
    equals_original("rotation", look_at_rotation(forward), case["out"], 1e-6)
    gradient = jax.grad(lambda f: jnp.sum(look_at_rotation(f) * case["cot"]))(forward)
    equals_original("gradient", gradient, case["g/in/forward"], 1e-5)
    other = golden_case("model_04_predictor", "lookat_up")
    up = tuple(other["in/up"].tolist())
    equals_original("other up", look_at_rotation(forward, up), other["out"], 1e-6)


def test_look_at_is_a_rotation_and_finite_straight_up():
    forward = safe_normalize(jax.random.normal(jax.random.key(1), (4, 5, 3)))
    rotation = look_at_rotation(forward)
    identity = jnp.broadcast_to(jnp.eye(3), rotation.shape)
    np.testing.assert_allclose(rotation @ jnp.swapaxes(rotation, -1, -2), identity, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.det(rotation), 1.0, atol=1e-6)
    up = jnp.array([0.0, 1.0, 0.0])
    assert jnp.all(jnp.isfinite(jax.jacobian(look_at_rotation)(up)))
