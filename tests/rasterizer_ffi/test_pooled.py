"""Antialiasing of samples that are not stored, against the same with an image of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from rasterizer_ffi.backends import backend_in_use
from tests.rasterizer_ffi.raster_scenes import random_scene

H, W = 13, 19


def written_out(color, rast, pos, tri, samples, background=None):
    """What `antialias_pooled` says that it equals."""

    def repeat(image):
        image = jnp.broadcast_to(image, color.shape)
        return jnp.repeat(jnp.repeat(image, samples, axis=1), samples, axis=2)

    behind = repeat(0.0 if background is None else background)
    fine = jnp.where(rast[..., 3:] > 0, repeat(color), behind)
    fine = rasterizer_ffi.antialias(fine, rast, pos, tri)
    b, h, w, c = color.shape
    return fine.reshape(b, h, samples, w, samples, c).mean(axis=(2, 4))


def scene_of(samples, seed=0, triangles=7, images=2, size=(H, W)):
    """Few and small triangles: some pixels show none, some in part, some one before another."""
    resolution = tuple(samples * n for n in size)
    scene = random_scene(seed, images=images, triangles=triangles, resolution=resolution)
    pos = scene.pos * np.array([0.6, 0.6, 0.6, 1], np.float32)
    rast, _ = rasterizer_ffi.rasterize(pos, scene.tri, resolution, grad_db=False)
    return rast, jnp.asarray(pos), jnp.asarray(scene.tri)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def assert_same(got, wanted):
    """A few roundings of sums over samples, channels and pixels, in another order."""
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * float(jnp.abs(b).max(initial=1e-30)))


def with_gradients(function, color, pos, dy):
    out, vjp = jax.vjp(function, color, pos)
    return out, *vjp(dy)


BACKGROUNDS = {
    "none": None,
    "shared": (1, 1, 1),
    "row": (1, 1, W),
    "image": (1, H, W),
    "images": (2, H, W),
}


@pytest.mark.parametrize(
    ("samples", "background", "channels"),
    [
        (1, "none", 1),
        (1, "images", 20),
        (2, "none", 3),
        (2, "images", 1),
        (3, "none", 20),
        (3, "images", 3),
        (4, "none", 1),
        (4, "images", 20),
    ],
)
def test_equals_the_mean_of_antialiased_samples(samples, channels, background):
    check_equality(samples, channels, BACKGROUNDS[background])


@pytest.mark.parametrize("background", ["shared", "row", "image"])
def test_backgrounds_may_be_shared(background):
    check_equality(2, 3, BACKGROUNDS[background])


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("background", ["none", "row"])
def test_every_backend_has_it(background):
    check_equality(3, 2, BACKGROUNDS[background])


def check_equality(samples, channels, shape):
    rast, pos, tri = scene_of(samples)
    behind = None if shape is None else normal(1, *shape, channels)
    color, dy = normal(0, 2, H, W, channels), normal(2, 2, H, W, channels)

    def pooled(color, pos):
        return rasterizer_ffi.antialias_pooled(
            color, rast, pos, tri, samples=samples, background=behind
        )

    def slow(color, pos):
        return written_out(color, rast, pos, tri, samples, behind)

    got, wanted = (with_gradients(jax.jit(f), color, pos, dy) for f in (pooled, slow))
    assert_same(got, wanted)
    share = np.asarray(rast[..., 3] > 0).mean()
    assert 0.1 < share < 0.9 and np.all([np.any(x) for x in wanted])


def test_a_wide_image_of_an_odd_number_of_samples():
    """More columns than are worked on together, rows that no group of pixels divides."""
    rast, pos, tri = scene_of(3, images=1, size=(5, 351))
    color = normal(0, 1, 5, 351, 2)

    def pooled(color, pos):
        return rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=3)

    got = with_gradients(pooled, color, pos, color)
    wanted = with_gradients(lambda c, p: written_out(c, rast, p, tri, 3), color, pos, color)
    assert_same(got, wanted)


@pytest.mark.parametrize("samples", [1, 7])
def test_whole_pixels_keep_their_bits(samples):
    """Where no silhouette is near, whatever rounding a share of 49 samples has."""
    pos = jnp.array([[[-9, -9, 0, 1], [9, -9, 0, 1], [0, 9, 0, 1]]], jnp.float32)
    tri = jnp.array([[0, 1, 2]], jnp.int32)
    rast, _ = rasterizer_ffi.rasterize(pos, tri, (4 * samples, 5 * samples))
    color = normal(0, 1, 4, 5, 3)
    out, vjp = jax.vjp(
        lambda color: rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=samples), color
    )
    np.testing.assert_array_equal(out, color)
    np.testing.assert_array_equal(vjp(color)[0], color)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("triangles", [0, 3])
def test_an_empty_scene_shows_the_background(triangles):
    tri = jnp.full((triangles, 3), -1, jnp.int32)
    pos = normal(0, 2, 4, 4)
    rast, _ = rasterizer_ffi.rasterize(pos, tri, (2 * H, 2 * W))
    color = jnp.full((2, H, W, 3), jnp.nan)  # of no pixel that is shown
    behind = normal(1, 1, H, W, 3)

    def pooled(color, pos):
        return rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=2, background=behind)

    out, vjp = jax.vjp(pooled, color, pos)
    np.testing.assert_allclose(out, jnp.broadcast_to(behind, out.shape), rtol=1e-6)
    for grad in vjp(jnp.ones_like(out)):
        np.testing.assert_array_equal(grad, 0.0)


def test_the_background_is_a_constant():
    rast, pos, tri = scene_of(2)

    def total(behind):
        color = jnp.ones((2, H, W, 3))
        return jnp.sum(
            rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=2, background=behind)
        )

    np.testing.assert_array_equal(jax.grad(total)(normal(0, 1, H, W, 3)), 0.0)


def test_range_mode():
    """One set of vertices for all images, of which each draws some triangles."""
    scene = random_scene(images=1, triangles=12)
    pos, tri = jnp.asarray(0.6 * scene.pos[0]).at[:, 3].set(1.0), jnp.asarray(scene.tri)
    ranges = jnp.array([[0, 5], [4, 8]], jnp.int32)
    rast, _ = rasterizer_ffi.rasterize(pos, tri, (2 * H, 2 * W), ranges)
    color, dy = normal(0, 2, H, W, 3), normal(1, 2, H, W, 3)

    def pooled(color, pos):
        return rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=2)

    got = with_gradients(pooled, color, pos, dy)
    assert_same(got, with_gradients(lambda c, p: written_out(c, rast, p, tri, 2), color, pos, dy))


def test_threads_do_not_change_a_bit():
    rast, pos, tri = scene_of(3, triangles=40, size=(90, 110))
    color, behind = normal(0, 2, 90, 110, 5), normal(1, 1, 90, 110, 5)

    def run():
        def pooled(color, pos):
            return rasterizer_ffi.antialias_pooled(
                color, rast, pos, tri, samples=3, background=behind
            )

        return [np.asarray(x) for x in with_gradients(pooled, color, pos, jnp.sin(color))]

    try:
        rasterizer_ffi.set_max_threads(1)
        alone = run()
        for threads in (2, 3, 8, None):
            rasterizer_ffi.set_max_threads(threads)
            for got, wanted in zip(run(), alone, strict=True):
                np.testing.assert_array_equal(got.view(np.int32), wanted.view(np.int32))
    finally:
        rasterizer_ffi.set_max_threads(None)


@pytest.mark.parametrize("background", [None, "mapped", "image", "images"])
@pytest.mark.parametrize("mapped", ["color", "all"])
def test_vmap_is_a_loop(mapped, background):
    """With all arrays mapped and with one; the leading dimensions fold into images or do not."""
    tri = scene_of(2)[2]
    rasts, positions = zip(*[scene_of(2, seed)[:2] for seed in range(3)], strict=True)
    rast, pos = jnp.stack(rasts), jnp.stack(positions)
    color = normal(0, 3, 2, H, W, 3)
    shapes = {None: (1, 1, 1, 3), "mapped": (3, 2, H, W, 3), "image": (1, H, W, 3)}
    behind = normal(1, *shapes.get(background, (2, H, W, 3)))
    tri = jnp.stack([tri] * 3) if mapped == "all" else tri

    def run(color, rast, pos, tri, behind):
        def pooled(color, pos):
            return rasterizer_ffi.antialias_pooled(
                color, rast, pos, tri, samples=2, background=behind
            )

        return with_gradients(pooled, color, pos, jnp.sin(color))

    everywhere = mapped == "all"
    axes = [0, 0, 0, 0 if everywhere else None, 0 if background == "mapped" else None]
    if not everywhere:
        axes[1:3] = [None, None]
        rast, pos = rast[0], pos[0]
    arrays = (color, rast, pos, tri, behind)
    got = jax.jit(jax.vmap(run, in_axes=axes))(*arrays)
    loop = [
        run(*(x if axis is None else x[i] for x, axis in zip(arrays, axes, strict=True)))
        for i in range(3)
    ]
    assert_same(got, [jnp.stack(x) for x in zip(*loop, strict=True)])


@pytest.mark.parametrize("background", [None, "mapped", "images"])
def test_vmap_that_folds_into_images(background):
    """All arrays but the triangles mapped: one call of the kernel, as for six images."""
    tri = scene_of(2)[2]
    rasts, positions = zip(*[scene_of(2, seed)[:2] for seed in range(3)], strict=True)
    color = normal(0, 3, 2, H, W, 3)
    shape = {None: (1, 1, 1, 3), "mapped": (3, 2, H, W, 3), "images": (2, H, W, 3)}[background]
    behind = normal(1, *shape)

    def pooled(color, rast, pos, behind):
        return rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=2, background=behind)

    axes = (0, 0, 0, 0 if background == "mapped" else None)
    got = jax.vmap(pooled, in_axes=axes)(color, jnp.stack(rasts), jnp.stack(positions), behind)
    for i in range(3):
        one = behind[i] if background == "mapped" else behind
        np.testing.assert_array_equal(got[i], pooled(color[i], rasts[i], positions[i], one))


def some_pixels(seed, images=2):
    """Positions in any order, a few of no pixel, and colours for them; and the same as an image."""
    size = images * H * W
    rng = np.random.default_rng(seed)
    pixel = rng.permutation(size)[: 2 * size // 3]
    pixel[[3, 40, 41]] = size, 2**31 - 1, -1
    color = normal(seed, len(pixel), 3)

    def spread(color):
        rows = jnp.zeros((size, 3)).at[np.where(pixel < 0, size, pixel)].set(color, mode="drop")
        return rows.reshape(images, H, W, 3)

    return jnp.asarray(pixel, jnp.int32), color, spread


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("background", ["none", "images"])
def test_colors_of_some_pixels(samples, background):
    """Those of others are 0, covered or not; rows of no pixel have no gradient."""
    rast, pos, tri = scene_of(samples)
    pixel, color, spread = some_pixels(0)
    shape = BACKGROUNDS[background]
    how = {"samples": samples, "background": None if shape is None else normal(1, *shape, 3)}

    def packed(color, pos):
        return rasterizer_ffi.antialias_pooled(color, rast, pos, tri, pixel=pixel, **how)

    def whole(color, pos):
        return rasterizer_ffi.antialias_pooled(spread(color), rast, pos, tri, **how)

    dy = normal(2, 2, H, W, 3)
    got, wanted = (with_gradients(jax.jit(f), color, pos, dy) for f in (packed, whole))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.any(got[1][np.array([3, 40, 41])]) and np.any(got[1])


def test_colors_of_no_pixel():
    rast, pos, tri = scene_of(2)
    nothing = jnp.zeros((0, 3)), jnp.zeros(0, jnp.int32)
    out, vjp = jax.vjp(
        lambda color: rasterizer_ffi.antialias_pooled(
            color, rast, pos, tri, samples=2, pixel=nothing[1]
        ),
        nothing[0],
    )
    assert not np.any(out) and vjp(out)[0].shape == (0, 3)


@pytest.mark.parametrize("mapped", ["color", "all"])
def test_vmap_of_colors_of_some_pixels_is_a_loop(mapped):
    tri = scene_of(2)[2]
    rasts, positions = zip(*[scene_of(2, seed)[:2] for seed in range(3)], strict=True)
    pixels, colors, _ = zip(*[some_pixels(seed) for seed in range(3)], strict=True)
    rast, pos, pixel, color = map(jnp.stack, (rasts, positions, pixels, colors))
    axis = 0 if mapped == "all" else None
    if mapped == "color":
        rast, pos, pixel = rast[0], pos[0], pixel[0]

    def run(color, rast, pos, pixel):
        def packed(color, pos):
            return rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=2, pixel=pixel)

        return with_gradients(packed, color, pos, normal(2, 2, H, W, 3))

    got = jax.jit(jax.vmap(run, in_axes=(0, axis, axis, axis)))(color, rast, pos, pixel)
    for i in range(3):
        rest = (rast, pos, pixel) if axis is None else (rast[i], pos[i], pixel[i])
        for a, b in zip(got, run(color[i], *rest), strict=True):
            np.testing.assert_array_equal(a[i], b)


def test_no_image_of_samples_and_channels_on_a_cpu():
    rast, pos, tri = scene_of(4)
    if backend_in_use() != "cpu":
        pytest.skip("another backend was chosen for all tests")

    def total(color, pos):
        return jnp.sum(rasterizer_ffi.antialias_pooled(color, rast, pos, tri, samples=4))

    lowered = jax.jit(jax.grad(total, (0, 1))).lower(normal(0, 2, H, W, 20), pos).as_text()
    assert "rasterizer_cpu_antialias_pooled_grad" in lowered
    assert f"{4 * H}x{4 * W}x20x" not in lowered


RAST, PIXEL = jnp.zeros((2, 2 * H, 2 * W, 4)), jnp.zeros(5, jnp.int32)
POS, TRI, COLOR = jnp.ones((2, 5, 4)), jnp.zeros((3, 3), jnp.int32), jnp.zeros((2, H, W, 3))


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((COLOR, RAST, POS, TRI), {"samples": 3}, ValueError,
         r"expected rast of shape \(2, 39, 57, 4\), got \(2, 26, 38, 4\)"),
        ((COLOR, RAST, POS, TRI), {"samples": 0}, ValueError,
         "expected samples of at least 1, got 0"),
        ((COLOR[:1], RAST, POS, TRI), {"samples": 2}, ValueError,
         r"expected rast of shape \(1, 26, 38, 4\)"),
        ((COLOR.astype(jnp.int32), RAST, POS, TRI), {"samples": 2}, TypeError,
         "expected color of dtype float32, got int32"),
        ((COLOR, RAST, POS[:1], TRI), {"samples": 2}, ValueError,
         r"expected pos of 2 images, got \(1, 5, 4\)"),
        ((COLOR, RAST, POS, TRI, TRI[:2]), {"samples": 2}, ValueError,
         r"expected topology_hash of shape \(3, 3\), got \(2, 3\)"),
        ((COLOR, RAST, POS, TRI), {"samples": 2, "background": COLOR[..., :1]}, ValueError,
         r"expected background of shape \(2, 13, 19, 3\), where .* may be 1, got \(2, 13, 19, 1\)"),
        ((COLOR, RAST, POS, TRI), {"samples": 2, "pixel": PIXEL}, ValueError,
         r"expected color of shape \[n, c\], got \(2, 13, 19, 3\)"),
        ((COLOR[0, 0], RAST, POS, TRI), {"samples": 2, "pixel": PIXEL}, ValueError,
         r"expected pixel of 19 rows, got \(5,\)"),
        ((COLOR[0, 0, :5], RAST, POS, TRI), {"samples": 4, "pixel": PIXEL}, ValueError,
         r"expected rast of 4 x 4 samples a pixel, got \(2, 26, 38, 4\)"),
    ],
)  # fmt: skip
def test_messages_name_expected_and_got(arrays, options, error, message):
    with pytest.raises(error, match="antialias_pooled: " + message):
        rasterizer_ffi.antialias_pooled(*arrays, **options)
