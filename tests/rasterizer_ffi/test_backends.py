"""The choice of a backend; and the CUDA backend's loops, whose order must not matter."""

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from rasterizer_ffi import backends
from tests.rasterizer_ffi.raster_backends import build, using
from tests.rasterizer_ffi.raster_scenes import random_scene, render


def test_cpu_is_always_there():
    assert rasterizer_ffi.available_backends()[0] == "cpu"


def test_an_unknown_backend_is_refused():
    message = r"use_backend: expected one of \('cpu'.*got 'metal'; build the library"
    with pytest.raises(ValueError, match=message):
        rasterizer_ffi.use_backend("metal")


def test_the_environment_chooses():
    program = "from rasterizer_ffi import backends; print(backends.backend_in_use())"

    def run(name):
        return subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"RASTERIZER_FFI_BACKEND": name},
            capture_output=True,
            text=True,
        )

    assert run("cpu").stdout.strip() == "cpu"
    assert "RASTERIZER_FFI_BACKEND: expected one of ('cpu'" in run("metal").stderr


def test_cpu_backend_refuses_a_gpu():
    """The handler that stands for every operation on CUDA, called on a CPU: there may be no GPU."""
    refuse = jax.ffi.pycapsule(backends._CPU.RasterizerRefuse)
    jax.ffi.register_ffi_target("rasterizer_refusing", refuse, platform="cpu")
    array = np.zeros(3, np.float32)
    call = jax.ffi.ffi_call("rasterizer_refusing", [jax.ShapeDtypeStruct((2,), jnp.float32)] * 2)
    with pytest.raises(
        jax.errors.JaxRuntimeError, match=r"expected arrays on a CPU, got .* GPU; build"
    ):
        jax.block_until_ready(call(array, array, range_mode=True))


def test_a_compiled_function_follows_the_choice(shuffled):
    scene = random_scene()
    rasterize = jax.jit(lambda pos: rasterizer_ffi.rasterize(pos, scene.tri, scene.resolution)[0])
    with using("cpu"):
        assert "rasterizer_cpu_rasterize" in rasterize.lower(scene.pos).as_text()
        rasterize(scene.pos)
    with using("shuffled"):
        assert "rasterizer_shuffled_rasterize" in rasterize.lower(scene.pos).as_text()
        rasterize(scene.pos)


SCENES = [
    random_scene(1, images=2, vertices=200, triangles=300, resolution=(70, 90)),
    random_scene(2, images=1, vertices=9, triangles=40, resolution=(33, 47)),  # edges of many faces
]


def image_ops(scene):
    """What every pixel or triangle computes for itself: the same bits in any order."""
    rast, rast_db = rasterizer_ffi.rasterize(scene.pos, scene.tri, scene.resolution)
    layers, layers_db = rasterizer_ffi.rasterize_layers(scene.pos, scene.tri, scene.resolution, 3)
    out, out_da = rasterizer_ffi.interpolate(scene.attr, rast, scene.tri, rast_db, "all")
    topology = rasterizer_ffi.antialias_construct_topology_hash(scene.tri)

    def antialias(color):
        return rasterizer_ffi.antialias(color, rast, scene.pos, scene.tri, topology)

    blended, vjp = jax.vjp(antialias, out)
    arrays = rast, rast_db, layers, layers_db, out, out_da, topology, blended, *vjp(out)
    return [np.asarray(x) for x in arrays]


@pytest.mark.parametrize("scene", SCENES)
def test_any_order_gives_the_bits_of_the_cpu(scene, shuffled):
    with using("cpu"):
        wanted = image_ops(scene)
    with using("shuffled"):
        for seed in range(5):
            shuffled.RasterizerSetSeed(seed)
            for got, array in zip(image_ops(scene), wanted, strict=True):
                np.testing.assert_array_equal(got.view(np.int32), array.view(np.int32))


@pytest.mark.parametrize("scene", SCENES)
def test_order_of_sums_is_rounding(scene, shuffled):
    # Without pixel derivatives: triangles seen edge-on, which the golden data's limits leave out,
    # make theirs so large that what they cancel to is rounding.
    def loss(pos, tri, attr, resolution):
        return jnp.sum(jnp.sin(3.0 * render(pos, tri, attr, resolution)[0]))

    gradient = jax.grad(loss, argnums=(0, 2))
    with using("cpu"):
        wanted = gradient(*scene)
    with using("shuffled"):
        for seed in range(3):
            shuffled.RasterizerSetSeed(seed)
            # The sensible limits of the golden data's README, for g_pos and g_attr.
            for got, array, limit in zip(gradient(*scene), wanted, (7e-4, 1e-5), strict=True):
                largest = float(np.abs(array).max())
                np.testing.assert_allclose(got, array, rtol=0, atol=limit * largest)


def test_a_triangle_of_many_tiles_beside_small_ones(shuffled):
    """Tiles of several large triangles, of clipped ones too, and of images with none."""
    rng = np.random.default_rng(0)
    pos = rng.uniform(-1, 1, (3, 60, 4)).astype(np.float32)
    pos[..., 3] = 1
    pos[:, 30:, :2] = pos[:, :1, :2] + 0.02 * pos[:, 30:, :2]  # small triangles around a point
    pos[0, :12, :3] *= 4  # clipped
    pos[1, :30] = np.nan  # no large ones
    tri = np.arange(60, dtype=np.int32).reshape(20, 3)
    with using("cpu"):
        wanted, _ = rasterizer_ffi.rasterize(pos, tri, (200, 300))
    assert len(np.unique(wanted[0, ..., 3])) > 5
    with using("shuffled"):
        got, _ = rasterizer_ffi.rasterize(pos, tri, (200, 300))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
def test_cuda_library_compiles():
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not in the PATH")
    library = build("rasterizer_cuda", "-DRASTERIZER_CUDA=ON") / "librasterizer_cuda.so"
    symbols = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True)
    assert "RasterizerRasterizeGrad" in symbols.stdout
