"""Cameras against the original's matrices, and where points land."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.cameras import camera_from_pose, perspective_matrix, transform_points


@pytest.mark.parametrize("name", ["camera", "camera_extra", "camera_fov30"])
def test_cameras_equal_the_original(golden_case, equals_original, name):
    case = golden_case("model_04_predictor", name)
    cfg = case["cfg"]

    def cameras(pose):
        return camera_from_pose(
            pose[:, :9].reshape(-1, 3, 3),
            pose[:, 9:],
            distance=float(cfg["cam_pos_z_offset"] + (cfg["offset_extra"] or 0)),
            fov_y_deg=float(cfg["fov_deg"]),
        )

    pose = jnp.asarray(case["in/pose"])
    camera = cameras(pose)
    equals_original("clip from world", camera.clip_from_world, case["mvp"], 1e-6)
    equals_original("cam from world", camera.cam_from_world, case["w2c"], 1e-6)
    equals_original("position", camera.position_world, case["campos"], 1e-6)
    cotangents = case["cot_mvp"], case["cot_w2c"], case["cot_campos"]
    gradient = jax.grad(
        lambda p: sum(jnp.sum(x * c) for x, c in zip(cameras(p), cotangents, strict=True))
    )(pose)
    equals_original("gradient", gradient, case["g/in/pose"], 1e-5)


def test_perspective_equals_the_original(golden_case, equals_original):
    case = golden_case("model_06_render", "perspective")
    for arguments, expected in zip(case["in/args"].tolist(), case["out"], strict=True):
        fov_y_rad, *others = arguments
        matrix = perspective_matrix(float(np.rad2deg(fov_y_rad)), *others)
        equals_original("matrix", matrix, expected, 1e-6)


def test_transform_points_equals_the_original(golden_case, equals_original):
    case = golden_case("model_06_render", "xfm")
    points, matrix = jnp.asarray(case["in/points"]), jnp.asarray(case["in/matrix"])
    equals_original("points", transform_points(matrix, points), case["points_out"], 1e-6)
    gradients = jax.grad(lambda m, p: jnp.sum(transform_points(m, p) * case["cot"]), (0, 1))(
        matrix, points
    )
    equals_original("gradient of matrix", gradients[0], case["g/in/matrix"], 1e-5)
    equals_original("gradient of points", gradients[1], case["g/in/points"], 1e-5)


@pytest.mark.parametrize("b", [1, 3])
def test_the_upright_animal_faces_the_camera(b):
    camera = camera_from_pose(
        jnp.broadcast_to(jnp.eye(3), (b, 3, 3)), jnp.zeros((b, 3)), distance=10.0, fov_y_deg=25.0
    )
    points = jnp.broadcast_to(jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), (b, 2, 3))
    clip = transform_points(camera.clip_from_world, points)
    ndc = clip[..., :3] / clip[..., 3:]
    assert jnp.all(ndc[:, 0, 1] < 0)  # up in the world is towards row 0
    assert jnp.all(ndc[:, 1, 0] > 0)  # right stays right
    np.testing.assert_allclose(clip[..., 3], 10.0, rtol=1e-6)  # w is the depth
    np.testing.assert_allclose(camera.position_world, jnp.array([[0, 0, 10.0]] * b), atol=1e-6)
    edge = np.tan(np.deg2rad(12.5)) * 10
    at_edge = transform_points(
        camera.clip_from_world, jnp.full((b, 1, 3), 0.0).at[..., 1].set(edge)
    )
    np.testing.assert_allclose(at_edge[..., 1] / at_edge[..., 3], -1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fov_y_deg": 0.0}, "expected 0 < fov < 180 degrees, got 0.0"),
        ({"fov_y_deg": 180.0}, "expected 0 < fov < 180 degrees, got 180.0"),
        ({"fov_y_deg": 25.0, "near": 2.0, "far": 1.0}, "expected 0 < near < far, got near=2.0"),
    ],
)
def test_bad_frustum_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        perspective_matrix(**arguments)
