"""Same bits whatever the threads and the instruction set; no crash whatever the input."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rasterizer_ffi
from tests.rasterizer_ffi.raster_scenes import loss, random_scene, render

on_every_backend = pytest.mark.usefixtures("backend")

WILD = np.array(
    [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -1e-45, 1e-20, 0.0, -0.0, 1.0, -1.0, 0.3],
    np.float32,
)


def everything(scene):
    results = render(*scene)
    gradients = jax.grad(loss, argnums=(0, 2))(*scene)
    return [np.asarray(x) for x in (*results, *gradients)]


def test_threads_do_not_change_a_bit():
    scenes = [
        random_scene(1, images=3, vertices=200, triangles=300, resolution=(150, 130)),
        random_scene(2, images=1, vertices=60, triangles=50, resolution=(300, 310)),
    ]
    try:
        for scene in scenes:
            rasterizer_ffi.set_max_threads(1)
            alone = everything(scene)
            for threads in (2, 3, 8, None, None):
                rasterizer_ffi.set_max_threads(threads)
                for got, wanted in zip(everything(scene), alone, strict=True):
                    np.testing.assert_array_equal(got.view(np.int32), wanted.view(np.int32))
    finally:
        rasterizer_ffi.set_max_threads(None)


@pytest.mark.slow
def test_instruction_sets_do_not_change_a_bit():
    program = (
        "import hashlib, numpy as np\n"
        "from raster_scenes import random_scene\n"
        "from test_robust import everything\n"
        "scene = random_scene(1, images=2, vertices=200, triangles=300, resolution=(90, 70))\n"
        "print(hashlib.sha256(b''.join(x.tobytes() for x in everything(scene))).hexdigest())\n"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env=os.environ | {"RASTERIZER_FFI_ISA": isa},
            check=True,
            capture_output=True,
        ).stdout
        for isa in ("baseline", "v3", "v4")
    }
    assert len(hashes) == 1


def test_unknown_instruction_sets_are_refused():
    done = subprocess.run(
        [sys.executable, "-c", "import rasterizer_ffi"],
        env=os.environ | {"RASTERIZER_FFI_ISA": "avx2"},
        capture_output=True,
        text=True,
    )
    expected = "RASTERIZER_FFI_ISA: expected one of ('baseline', 'v3', 'v4'), got 'avx2'"
    assert expected in done.stderr


@on_every_backend
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    # Few: each new one compiles every operation again.
    shape=st.sampled_from(
        [(1, 1, 0, 1, 1), (3, 12, 30, 17, 33), (1, 12, 30, 1, 33), (3, 1, 30, 17, 1)]
    ),
    wildness=st.sampled_from([0.0, 0.1, 0.6]),
)
def test_any_input_gives_finite_coverage(seed, shape, wildness):
    images, vertices, triangles, height, width = shape
    rng = np.random.default_rng(seed)
    scene = random_scene(seed, images, vertices, triangles, (height, width))
    wild = rng.random(scene.pos.shape) < wildness
    scene.pos[wild] = rng.choice(WILD, wild.sum())
    bad = rng.random(scene.tri.shape) < wildness
    scene.tri[bad] = rng.choice([-1, -(2**31), 2**31 - 1, vertices], bad.sum())

    rast, rast_db = (np.asarray(x) for x in rasterizer_ffi.rasterize(*scene[:2], scene.resolution))
    ids = rast[..., 3]
    assert np.all((ids >= 0) & (ids <= triangles) & (ids == np.floor(ids)))
    assert np.all(
        (rast[..., :2] >= 0) & (rast[..., :2] <= 1) & (rast[..., :2].sum(-1) < 1.000001)[..., None]
    )
    assert np.all(np.abs(rast[..., 2]) <= 1)
    assert not np.any(rast[ids == 0]) and not np.any(rast_db[ids == 0])
    drawn = scene.tri[ids[ids > 0].astype(int) - 1]
    assert np.all((drawn >= 0) & (drawn < vertices))
    everything(scene)


@on_every_backend
def test_rast_from_elsewhere_is_harmless():
    scene = random_scene(images=1, resolution=(9, 4))
    rast = np.resize(WILD, (1, 9, 4, 4)).astype(np.float32)
    rast[0, 3, :, 3] = [21, 2**24, -5, 20.5]
    out, vjp = jax.vjp(lambda a: rasterizer_ffi.interpolate(a, rast, scene.tri)[0], scene.attr)
    jax.block_until_ready(vjp(np.ones_like(out)))
    out, vjp = jax.vjp(
        lambda c, p: rasterizer_ffi.antialias(c, rast, p, scene.tri), rast, scene.pos
    )
    jax.block_until_ready(vjp(np.ones_like(out)))


@on_every_backend
def test_padding_draws_nothing():
    scene = random_scene()
    padded = np.concatenate([scene.tri[:5], np.full((7, 3), -1, np.int32), scene.tri[5:]])
    rast, rast_db = rasterizer_ffi.rasterize(scene.pos, scene.tri, scene.resolution)
    other, other_db = rasterizer_ffi.rasterize(scene.pos, padded, scene.resolution)
    np.testing.assert_array_equal(other_db, rast_db)
    shift = np.where(np.asarray(rast[..., 3]) > 5, 7, 0)
    np.testing.assert_array_equal(other[..., 3], rast[..., 3] + shift)


@on_every_backend
def test_no_triangles():
    scene = random_scene(triangles=0)
    out, out_da = render(*scene)
    assert not np.any(out) and not np.any(out_da)
    assert not np.any(jax.grad(loss)(*scene))


@on_every_backend
@pytest.mark.slow
def test_wide_image_and_huge_triangle():
    # Edge functions of this triangle do not fit 32 bits; the quad's two halves meet on a diagonal.
    pos = np.array([[[-1, -1, 0, 1], [1, -1, 0, 1], [1, 1, 0, 1], [-1, 1, 0, 1]]], np.float32)
    tri = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    rast, _ = rasterizer_ffi.rasterize(pos, tri, (4096, 4096))
    ids = np.asarray(rast[0, ..., 3])
    wanted = np.where(np.subtract.outer(np.arange(4096), np.arange(4096)) < 0, 1.0, 2.0)
    off_diagonal = ~np.eye(4096, dtype=bool)
    np.testing.assert_array_equal(ids[off_diagonal], wanted[off_diagonal])
    assert np.all(ids > 0)


@pytest.mark.slow
def test_as_many_triangles_as_ids():
    num_triangles = 2**24
    tri = np.arange(num_triangles, dtype=np.int32)[:, None] + np.arange(3, dtype=np.int32)
    pos = np.zeros((1, num_triangles + 2, 4), np.float32)  # all but the last: no area
    pos[..., 3] = 1
    pos[0, -3:, :2] = [[-1, -1], [3, -1], [-1, 3]]
    attr = np.ones((1, num_triangles + 2, 1), np.float32)

    def image(pos):
        rast, _ = rasterizer_ffi.rasterize(pos, tri, (16, 16))
        out, _ = rasterizer_ffi.interpolate(attr, rast, tri)
        return rasterizer_ffi.antialias(out, rast, pos, tri), rast

    (out, rast), vjp = jax.vjp(image, pos)
    assert np.all(np.asarray(rast)[..., 3] == num_triangles)
    assert np.all(np.asarray(out) == 1)
    jax.block_until_ready(vjp((out, rast)))
    with pytest.raises(ValueError, match=r"expected tri with at most 2\^24 triangles"):
        rasterizer_ffi.rasterize(pos, np.concatenate([tri, tri[:1]]), (16, 16))


@on_every_backend
def test_mirrored_triangle_covers_mirrored_pixels():
    # An asymmetric triangle: swapped axes or a flipped row order would show.
    pos = np.array([[[-0.9, -0.8, 0, 1], [0.7, -0.3, 0, 1], [-0.6, 0.9, 0, 1]]], np.float32)
    tri = np.array([[0, 1, 2]], np.int32)
    ids = np.asarray(rasterizer_ffi.rasterize(pos, tri, (16, 24))[0][0, ..., 3])
    assert ids[2, 3] == 1 and ids[12, 4] == 1 and ids[2, 20] == 0 and ids[14, 20] == 0
    mirrored = np.asarray(
        rasterizer_ffi.rasterize(pos * np.float32([-1, 1, 1, 1]), tri, (16, 24))[0]
    )
    np.testing.assert_array_equal(mirrored[0, :, ::-1, 3], ids)


@on_every_backend
def test_antialias_gradient_moves_a_silhouette():
    """The gradient of the covered area by a shift is the length of the edges that face it."""
    pos = np.array(
        [[[-0.53, -0.61, 0, 1], [0.57, -0.61, 0, 1], [0.57, 0.63, 0, 1], [-0.53, 0.63, 0, 1]]]
    )
    pos = pos.astype(np.float32)
    tri = np.array([[0, 1, 2], [0, 2, 3]], np.int32)

    def area(pos):
        rast, _ = rasterizer_ffi.rasterize(pos, tri, (64, 64))
        covered = (rast[..., 3:] > 0).astype(np.float32)
        return rasterizer_ffi.antialias(covered, rast, pos, tri).sum()

    np.testing.assert_allclose(area(pos), 1.10 * 1.24 * 32 * 32, rtol=2e-3)
    gradient = np.asarray(jax.grad(area)(pos))[0]
    right_edge = gradient[1:3, 0].sum()
    np.testing.assert_allclose(right_edge, 1.24 * 32 * 32, rtol=0.03)
    np.testing.assert_allclose(gradient[:, 0].sum(), 0, atol=1.0)
