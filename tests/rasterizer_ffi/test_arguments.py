"""What users pass by mistake: refused with what was expected, what was got, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from tests.rasterizer_ffi.raster_scenes import random_scene

SCENE = random_scene()
POS, TRI, ATTR = SCENE.pos, SCENE.tri, SCENE.attr
RAST = np.zeros((2, 8, 8, 4), np.float32)
COLOR = np.zeros((2, 8, 8, 3), np.float32)
TEX, UV = np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 4, 4, 2), np.float32)


def rasterize(pos=POS, tri=TRI, resolution=(8, 8), **options):
    return rasterizer_ffi.rasterize(pos, tri, resolution, **options)


def traced(function, value):
    return lambda: jax.jit(function)(value)


RESOLUTION = r"expected resolution of two positive integers \(height, width\) up to 32768, got "
INTEGER = "to be an integer, got "
MISTAKES = {
    "resolution of one number": (lambda: rasterize(resolution=20), ValueError, RESOLUTION + "20"),
    "resolution of three": (
        lambda: rasterize(resolution=(8, 8, 3)), ValueError, RESOLUTION + r"\(8, 8, 3\)"),
    "resolution as text": (lambda: rasterize(resolution="88"), TypeError, INTEGER + "'8'"),
    "resolution without order": (lambda: rasterize(resolution={8, 9}), ValueError, RESOLUTION),
    "random keys": (
        lambda: rasterize(pos=jax.random.key(0)), TypeError, "pos of dtype float32, got key"),
    "fractions": (lambda: rasterize(resolution=(8.5, 8)), TypeError, INTEGER + "8.5"),
    "whole fractions": (lambda: rasterize(resolution=(8, 8.0)), TypeError, INTEGER + "8.0"),
    "booleans": (lambda: rasterize(resolution=(True, 8)), TypeError, INTEGER + "True"),
    "negative": (lambda: rasterize(resolution=(8, -8)), ValueError, RESOLUTION),
    "too many pixels": (lambda: rasterize(resolution=(1, 2**15 + 1)), ValueError, RESOLUTION),
    "traced resolution": (
        traced(lambda n: rasterize(resolution=(n, 8)), 8),
        TypeError, "to be static, got a traced value.*static_argnames"),
    "traced resolution array": (
        traced(lambda n: rasterize(resolution=n), np.array([8, 8])),
        TypeError, "expected resolution to be static, got a traced value"),
    "half a layer": (
        lambda: rasterizer_ffi.rasterize_layers(POS, TRI, (8, 8), 2.5),
        TypeError, "expected num_layers to be an integer, got 2.5"),
    "no layer": (
        lambda: rasterizer_ffi.rasterize_layers(POS, TRI, (8, 8), 0),
        ValueError, "expected num_layers of at least 1, got 0"),
    "grad_db by number": (
        lambda: rasterize(grad_db=2), TypeError, "expected grad_db to be True or False, got 2"),
    "traced grad_db": (
        traced(lambda b: rasterize(grad_db=b), True), TypeError, "or False, got a traced value"),
    "float64": (
        lambda: rasterize(pos=POS.astype(np.float64)), TypeError,
        r"expected pos of dtype float32, got float64; convert it with pos.astype\('float32'\)"),
    "int64": (
        lambda: rasterize(tri=TRI.astype(np.int64)), TypeError,
        r"expected tri of dtype int32, got int64; convert it with tri.astype\('int32'\)"),
    "big-endian": (
        lambda: rasterize(pos=POS.astype(">f4")), TypeError,
        r"expected pos of dtype float32, got >f4 \(swapped bytes\); convert it with pos.astype"),
    "objects": (
        lambda: rasterize(pos=POS.astype(object)), TypeError, "float32, got object; convert"),
    "list": (
        lambda: rasterize(tri=TRI.tolist()), TypeError,
        r"expected tri to be an array of shape \[f, 3\], got list; make it one with np.asarray"),
    "None": (lambda: rasterize(pos=None), TypeError, "expected pos to be an array .* NoneType"),
    "traced boost": (
        traced(lambda s: rasterizer_ffi.antialias(COLOR, RAST, POS, TRI, pos_gradient_boost=s), 2.),
        TypeError, "expected pos_gradient_boost to be static, got a traced value"),
    "boost as text": (
        lambda: rasterizer_ffi.antialias(COLOR, RAST, POS, TRI, pos_gradient_boost="2"),
        TypeError, "expected pos_gradient_boost to be a number, got '2'"),
    "boost beyond float32": (
        lambda: rasterizer_ffi.antialias(COLOR, RAST, POS, TRI, pos_gradient_boost=1e39),
        ValueError, "expected pos_gradient_boost to be finite in float32, got 1e"),
    "boost that is no number": (
        lambda: rasterizer_ffi.antialias(COLOR, RAST, POS, TRI, pos_gradient_boost=np.nan),
        ValueError, "to be finite in float32, got nan"),
    "half a sample": (
        lambda: rasterizer_ffi.antialias_pooled(COLOR, RAST, POS, TRI, samples=1.5),
        TypeError, "expected samples to be an integer, got 1.5"),
    "one channel without a list": (
        lambda: rasterizer_ffi.interpolate(ATTR, RAST, TRI, RAST, 1),
        TypeError, "expected diff_attrs to be 'all' or a list of channels, got 1"),
    "half a channel": (
        lambda: rasterizer_ffi.interpolate(ATTR, RAST, TRI, RAST, [0.5]),
        TypeError, "expected each of diff_attrs to be an integer, got 0.5"),
    "channels of another name": (
        lambda: rasterizer_ffi.interpolate(ATTR, RAST, TRI, RAST, "any"),
        ValueError, "expected diff_attrs 'all' or a list of channels, got any"),
    "negative level": (
        lambda: rasterizer_ffi.texture(
            TEX, UV, mip_level_bias=UV[..., 0], max_mip_level=-1),
        ValueError, "expected max_mip_level of at least 0, got -1"),
    "levels in one array": (
        lambda: rasterizer_ffi.texture(TEX, UV, mip_level_bias=UV[..., 0], mip=TEX),
        ValueError, "expected mip to be a list of levels, got ndarray"),
    "half a thread": (
        lambda: rasterizer_ffi.set_max_threads(0.5),
        TypeError, "expected num_threads to be an integer, got 0.5"),
    "no thread": (
        lambda: rasterizer_ffi.set_max_threads(0),
        ValueError, "expected num_threads of at least 1, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    call, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        call()


def test_other_ways_to_say_the_same():
    """NumPy's integers, any sequence of two, and arrays that are not contiguous."""
    wanted, _ = rasterize()
    strided = np.zeros((2, 30, 8), np.float32)[..., ::2]
    strided[:] = POS
    turned = np.asfortranarray(TRI)
    for got, _ in (
        rasterize(resolution=[np.int64(8), np.uint8(8)]),
        rasterize(resolution=np.array([8, 8])),
        rasterize(resolution=jnp.array([8, 8])),
        rasterize(pos=strided, tri=turned, grad_db=np.True_),
        jax.jit(rasterize, static_argnums=2)(POS, TRI, (8, 8)),
    ):
        np.testing.assert_array_equal(got, wanted)


def test_with_x64_types_stay():
    """Nothing becomes float64, in results and gradients, of all operations and on any platform."""

    def total(pos, attr, color):
        rast, rast_db = rasterizer_ffi.rasterize(pos, TRI, (8, 8))
        layers, _ = rasterizer_ffi.rasterize_layers(pos, TRI, (8, 8), 2)
        out, out_da = rasterizer_ffi.interpolate(attr, rast, TRI, rast_db, "all")
        tex = rasterizer_ffi.texture(COLOR, out[..., :2], out_da[..., :4])
        image = rasterizer_ffi.antialias(tex, rast, pos, TRI)
        pixel = jnp.arange(5, dtype=jnp.int32)
        pooled = rasterizer_ffi.antialias_pooled(color, rast, pos, TRI, samples=2, pixel=pixel)
        for array in (layers, image, pooled):
            assert array.dtype == jnp.float32
        return layers.sum() + image.sum() + pooled.sum()

    with jax.enable_x64(True):
        function = jax.jit(jax.grad(total, (0, 1, 2)))
        arrays = POS, ATTR, np.ones((5, 3), np.float32)
        assert all(g.dtype == jnp.float32 for g in function(*arrays))
        for platform in ("cpu", "cuda"):
            text = function.trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
            assert f"rasterizer_{platform}_antialias" in text
        with pytest.raises(TypeError, match="expected pos of dtype float32, got float64"):
            rasterize(pos=jnp.asarray(POS, jnp.float64))
