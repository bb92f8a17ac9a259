"""Optical flow against a slow reference, and its corner cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from pony_jax.model.render import Visible, find_surface, render_flow
from pony_jax.ops.cameras import Camera, camera_from_pose

SIZE, SAMPLES = 24, 2
FACES = jnp.array([[0, 1, 2], [0, 2, 3]], jnp.int32)


def camera_at(shifts: list[float]) -> Camera:
    translation = jnp.array([[shift, 0.05, 0.0] for shift in shifts])
    rotation = jnp.tile(jnp.eye(3), (len(shifts), 1, 1))
    return camera_from_pose(rotation, translation, distance=10.0, fov_y_deg=25.0)


def see(verts: jax.Array, camera: Camera, samples: int = SAMPLES) -> Visible:
    return find_surface(
        verts,
        verts[0],
        FACES,
        camera,
        image_size=SIZE,
        samples=samples,
        max_pixels=len(verts) * SIZE**2,
    )


def quads(num_frames: int) -> jax.Array:
    """A tilted square in the middle of the image that changes its shape from frame to frame."""
    corners = jnp.array([[-1.2, -1.1, 0.5], [1.3, -1.2, -0.5], [1.1, 1.2, -0.4], [-1.1, 1.0, 0.6]])
    moves = 0.3 * jax.random.normal(jax.random.key(0), (num_frames, 4, 3))
    return corners + moves


def test_flow_is_the_way_of_surface_points() -> None:
    """At one sample a pixel, by barycentric coordinates, where no silhouette mixes it."""
    verts = quads(3)
    visible = see(verts, camera_at([0.0, 0.1, -0.2]), samples=1)
    flow = np.asarray(render_flow(visible, num_frames=3, samples=1))

    clip = np.asarray(visible.verts_clip)
    ndc = clip[..., :2] / clip[..., 3:]
    rast, _ = rasterizer_ffi.rasterize(visible.verts_clip, FACES, (SIZE, SIZE), grad_db=False)
    rast = np.asarray(rast)
    num_compared = 0
    for frame in range(2):
        ids = rast[frame, ..., 3].astype(int)
        for y in range(1, SIZE - 1):
            for x in range(1, SIZE - 1):
                if np.any(ids[y - 1 : y + 2, x - 1 : x + 2] == 0):
                    continue
                face = np.asarray(FACES)[ids[y, x] - 1]
                u, v = rast[frame, y, x, :2]
                way = np.array([u, v, 1 - u - v]) @ (ndc[frame + 1] - ndc[frame])[face]
                np.testing.assert_allclose(flow[frame, y, x], way, atol=1e-6)
                num_compared += 1
    assert num_compared > 50
    np.testing.assert_array_equal(flow[2], 0.0)  # nothing follows the last frame


def test_a_camera_that_slides_moves_everything_alike() -> None:
    """A flat square before a camera that moves to the side: half a pixel to the right."""
    flat = jnp.tile(quads(1).at[..., 2].set(0.0), (2, 1, 1))
    half_view = 10.0 * np.tan(np.deg2rad(12.5))
    visible = see(flat, camera_at([0.0, half_view / SIZE]))
    flow = np.asarray(render_flow(visible, num_frames=2, samples=SAMPLES))
    shown = np.asarray(visible.coverage[0, ..., 3]).reshape(SIZE, 2, SIZE, 2).min(axis=(1, 3)) > 0
    inner = shown.copy()
    for axis in (0, 1):
        inner &= np.roll(shown, 1, axis) & np.roll(shown, -1, axis)
    assert inner.sum() > 20
    np.testing.assert_allclose(flow[0][inner], [[1 / SIZE, 0.0]] * inner.sum(), atol=1e-6)
    assert np.all(flow[0][~shown] <= 1 / SIZE + 1e-6)


def test_gradients_pull_the_next_frame() -> None:
    camera = camera_at([0.0, 0.0])

    def mean_flow(verts: jax.Array) -> jax.Array:
        return jnp.mean(render_flow(see(verts, camera), num_frames=2, samples=SAMPLES)[0, ..., 0])

    gradient = jax.jit(jax.grad(mean_flow))(quads(2))
    assert np.all(np.isfinite(gradient))
    assert np.all(gradient[1, :, 0] > 0)  # further right in the next frame is more flow


def test_one_frame_has_no_flow() -> None:
    flow = render_flow(see(quads(2), camera_at([0.0, 0.0])), num_frames=1, samples=SAMPLES)
    np.testing.assert_array_equal(flow, 0.0)


@pytest.mark.parametrize("num_frames", [0, 2])
def test_batches_that_are_no_clips_are_refused(num_frames: int) -> None:
    visible = see(quads(3), camera_at([0.0] * 3))
    with pytest.raises(ValueError, match=rf"clips of {num_frames} frames, got 3 frames in all"):
        render_flow(visible, num_frames=num_frames, samples=SAMPLES)
