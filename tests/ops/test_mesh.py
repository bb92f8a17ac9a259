"""Normals against the original's and against a loop, and what padding must not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.mesh import face_normals, vertex_normals


def reference_vertex_normals(verts, faces):
    """One face after the other, in float64."""
    total = np.zeros(verts.shape)
    for a, b, c in faces:
        if a >= 0:
            normal = np.cross(verts[b] - verts[a], verts[c] - verts[a])
            for corner in (a, b, c):
                total[corner] += normal
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.where(length > 1e-10, total / np.maximum(length, 1e-10), [0, 0, 1])


@pytest.fixture
def tetrahedron():
    verts = jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return verts, jnp.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], jnp.int32)


def test_vertex_normals_equal_the_original(golden_case, equals_original):
    case = golden_case("model_06_render", "mesh")
    verts, faces = jnp.asarray(case["in/verts"]), jnp.asarray(case["in/faces"])
    equals_original("normals", jax.jit(vertex_normals)(verts, faces), case["v_nrm"], 1e-5)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(vertex_normals(v, faces) * case["cot_nrm"])))
    # Normals turn by 1 / (edge length) when a vertex moves, so gradients are large.
    equals_original("gradient", gradient(verts), case["g_nrm/in/verts"], 1e-4)


def test_vertex_normals_equal_a_loop(tetrahedron):
    _, faces = tetrahedron
    verts = jax.random.normal(jax.random.key(0), (3, 6, 3))
    faces = jnp.concatenate([faces, jnp.array([[2, 5, 3], [-1, -1, -1]])])
    normals = jax.jit(vertex_normals)(verts, faces)
    for got, v in zip(normals, verts, strict=True):
        expected = reference_vertex_normals(np.asarray(v, np.float64), np.asarray(faces))
        np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(normals[:, 4], [[0.0, 0.0, 1.0]] * 3)  # no face


def test_normals_turn_with_the_mesh(tetrahedron):
    verts, faces = tetrahedron
    turn, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (3, 3)))
    turn = turn * jnp.sign(jnp.linalg.det(turn))
    both = jnp.stack([verts, verts @ turn.T])
    image, face = jnp.divmod(jnp.arange(2 * len(faces)), len(faces))
    of_faces = jax.jit(face_normals)(both, faces, image, face).reshape(2, -1, 3)
    for normals in (jax.jit(vertex_normals)(both, faces), of_faces):
        np.testing.assert_allclose(normals[1], normals[0] @ turn.T, atol=1e-6)


def test_face_normals_point_by_the_winding(tetrahedron):
    verts, faces = tetrahedron
    faces = jnp.concatenate([faces, jnp.array([[-1, -1, -1], [1, 1, 2]])])
    face = jnp.arange(len(faces))
    normals = face_normals(verts[None], faces, jnp.zeros_like(face), face)
    np.testing.assert_allclose(normals[:3], [[0, 0, -1], [0, -1, 0], [-1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(normals[3], np.full(3, 3**-0.5), atol=1e-6)
    np.testing.assert_array_equal(normals[4:], 0.0)  # padding, and a face without area


@pytest.mark.parametrize("num_faces", [0, 1, 5])
def test_padding_has_no_value_and_no_gradient(num_faces):
    verts = jax.random.normal(jax.random.key(2), (2, 7, 3))
    faces = jnp.full((5, 3), -1).at[:num_faces].set(jnp.array([0, 1, 2]))
    normals = jax.jit(vertex_normals)(verts, faces)
    assert jnp.all(jnp.isfinite(normals))
    np.testing.assert_array_equal(normals[:, 3:], jnp.broadcast_to(jnp.eye(3)[2], (2, 4, 3)))
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(vertex_normals(v, faces) * jnp.arange(3.0))))(
        verts
    )
    assert jnp.all(jnp.isfinite(gradient))
    np.testing.assert_array_equal(gradient[:, 3:], 0.0)
    assert bool(jnp.any(gradient[:, :3] != 0)) == (num_faces > 0)
