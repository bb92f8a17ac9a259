"""The backend that calls an installed nvdiffrast: what it passes on, and what it refuses.

There is nothing of nvdiffrast here. A stand-in exports functions of the same names and types (see
standin_nvdiffrast.cc) and computes as the CPU backend does, so results are compared bit by bit.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from rasterizer_ffi.installed_nvdiffrast import load_bound_library
from rasterizer_ffi.library import find_library
from tests.rasterizer_ffi.raster_backends import using
from tests.rasterizer_ffi.raster_scenes import random_scene

RANGES = np.array([[0, 3], [5, 0], [-2, 9], [18, 7], [40, 2]], np.int32)  # of 20 triangles


def geometry(scene, ranges=None):
    """Every result and every gradient but those of textures."""
    layered = rasterizer_ffi.rasterize_layers(scene.pos, scene.tri, scene.resolution, 3, ranges)

    def image(pos, attr):
        rast, rast_db = rasterizer_ffi.rasterize(pos, scene.tri, scene.resolution, ranges)
        out, out_da = rasterizer_ffi.interpolate(attr, rast, scene.tri, rast_db, [2, 0])
        every, every_da = rasterizer_ffi.interpolate(attr, rast, scene.tri, rast_db, "all")
        plain, _ = rasterizer_ffi.interpolate(attr, rast, scene.tri)
        blended = rasterizer_ffi.antialias(out, rast, pos, scene.tri, pos_gradient_boost=2.0)
        return rast, rast_db, out, out_da, every, every_da, plain, blended

    results, vjp = jax.vjp(image, scene.pos, scene.attr)
    return [*layered, *results, *vjp(jax.tree.map(jnp.sin, results))]


def assert_as_the_cpu(function, *args):
    with using("cpu"):
        wanted = function(*args)
    with using("standin"):
        got = function(*args)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(
    "scene",
    [
        random_scene(),
        random_scene(images=1, channels=4),
        random_scene(triangles=0),
        random_scene(images=3)._replace(attr=random_scene(images=1).attr),  # shared attributes
    ],
)
def test_what_is_called_is_what_comes_back(scene):
    assert_as_the_cpu(geometry, scene)


@pytest.mark.usefixtures("standin")
def test_ranges_are_cut_to_the_triangles():
    scene = random_scene(images=1)
    assert_as_the_cpu(geometry, scene._replace(pos=scene.pos[0]), RANGES)


@pytest.mark.usefixtures("standin")
def test_vmap_reaches_every_part():
    scenes = [random_scene(seed) for seed in range(3)]
    pos, tri, attr = (np.stack([getattr(s, k) for s in scenes]) for k in ("pos", "tri", "attr"))

    def mapped(pos, tri, attr):
        def one(pos, tri, attr):
            return geometry(scenes[0]._replace(pos=pos, tri=tri, attr=attr))

        return jax.jit(jax.vmap(one))(pos, tri, attr)

    assert_as_the_cpu(mapped, pos, tri, attr)


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize("num_textures", [1, 2])
@pytest.mark.parametrize("cube", [False, True])
@pytest.mark.parametrize("max_level", [0, 2])
@pytest.mark.parametrize("filter_mode", ["linear-mipmap-nearest", "linear-mipmap-linear"])
def test_levels_of_one_and_of_several_textures(num_textures, cube, max_level, filter_mode):
    rng = np.random.default_rng(0)
    faces = (6,) if cube else ()
    tex = rng.normal(size=(num_textures, *faces, 8, 8, 3)).astype(np.float32)
    uv = rng.uniform(-1, 1, (2, 5, 7, 3 if cube else 2)).astype(np.float32)
    uv_da = rng.normal(size=(2, 5, 7, 2 * uv.shape[3])).astype(np.float32)
    bias = rng.normal(size=(2, 5, 7)).astype(np.float32)

    def lookup(*args):
        def texture(tex, uv, uv_da, bias):
            return rasterizer_ffi.texture(
                tex,
                uv,
                uv_da,
                bias,
                filter_mode=filter_mode,
                boundary_mode="cube" if cube else "clamp",
                max_mip_level=max_level,
            )

        out, vjp = jax.vjp(texture, *args)
        return [out, *vjp(jnp.sin(out))]

    assert_as_the_cpu(lookup, tex, uv, uv_da, bias)


@pytest.mark.usefixtures("standin")
def test_what_nvdiffrast_refuses_is_an_error_of_jax():
    scene = random_scene(channels=40)
    with using("standin"):
        rast, rast_db = rasterizer_ffi.rasterize(scene.pos, scene.tri, scene.resolution)
        rasterizer_ffi.interpolate(scene.attr, rast, scene.tri, rast_db, "all")
        message = r"^INTERNAL: interpolate: .* channels\n"
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            jax.block_until_ready(
                rasterizer_ffi.interpolate(scene.attr, rast, scene.tri, rast_db, range(39))
            )


# ------------------------------------------------------------------------------
# Loading
# ------------------------------------------------------------------------------


@pytest.fixture
def installed(standin, nvdiffrast_build, tmp_path, monkeypatch):
    """A copy of what stands in for nvdiffrast, and the backend's own library, found by Python."""
    folder = shutil.copytree(standin, tmp_path / "installed")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(rasterizer_ffi, "__path__", [str(nvdiffrast_build)])
    return folder


def refused(match: str) -> None:
    with pytest.raises(ImportError, match="^backend 'nvdiffrast': " + match) as raised:
        load_bound_library()
    assert "\n" not in str(raised.value)


def test_without_nvdiffrast():
    try:
        importlib.metadata.version("nvdiffrast")
    except importlib.metadata.PackageNotFoundError:
        refused("expected nvdiffrast 0.4 to be installed, found none")
    else:
        pytest.skip("nvdiffrast is installed")


def test_another_version_of_nvdiffrast(installed):
    (installed / "nvdiffrast-0.4.0.dist-info").rename(installed / "nvdiffrast-0.3.5.dist-info")
    metadata = installed / "nvdiffrast-0.3.5.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("0.4.0", "0.3.5"))
    refused(r"expected nvdiffrast 0\.4, got 0\.3\.5")


def test_without_the_extension(installed):
    (installed / "_nvdiffrast_c.so").unlink()
    refused("expected the compiled extension _nvdiffrast_c of nvdiffrast 0.4.0, found none; inst")


def test_an_extension_with_other_functions(installed, nvdiffrast_build):
    shutil.copy(
        nvdiffrast_build / "librasterizer_nvdiffrast_on_host.so", installed / "_nvdiffrast_c.so"
    )
    refused(r"expected the extension of nvdiffrast 0\.4 in .*; it has no function Rasterize")


def test_an_extension_that_does_not_load(installed):
    (installed / "_nvdiffrast_c.so").write_text("not a library")
    refused(r"expected the extension of .*; cannot load it: .*_nvdiffrast_c.so")


def test_without_pytorch(installed, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    refused("expected a CUDA build of PyTorch, got: import of torch halted")


def test_pytorch_without_cuda(installed, monkeypatch):
    torch = SimpleNamespace(__version__="2.14.1+cpu", version=SimpleNamespace(cuda=None))
    monkeypatch.setitem(sys.modules, "torch", torch)
    refused(r"expected a CUDA build of PyTorch, got 2\.14\.1\+cpu")


def test_another_version_of_pytorch(installed, monkeypatch):
    pytest.importorskip("torch")  # its libraries are loaded
    torch = SimpleNamespace(__version__="1.0.0+cu99", version=SimpleNamespace(cuda="9.9"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    refused("expected PyTorch .*, which .* was compiled against, got 1.0.0; build it again")


def test_the_backend_itself_is_chosen_and_lowered_to(standin, nvdiffrast_build):
    """The library for GPUs loads and binds, and is what a GPU's program would call."""
    program = """
import sys
from importlib import machinery
# The copy of the package, not what an editable install points to.
sys.meta_path[:] = [machinery.BuiltinImporter, machinery.FrozenImporter, machinery.PathFinder]
import jax, numpy as np, rasterizer_ffi
from rasterizer_ffi import backends
print(backends.available_backends(), backends.backend_in_use(), "torch" in sys.modules)
from raster_scenes import random_scene, render
scene = random_scene()
traced = jax.jit(lambda pos: render(pos, *scene[1:])).trace(scene.pos)
print("rasterizer_nvdiffrast_antialias" in traced.lower(lowering_platforms=("cuda",)).as_text())
out = render(*scene)[0]
rasterizer_ffi.use_backend("cpu")
print(np.array_equal(out, render(*scene)[0]))
"""
    # `find_library` looks in the package's folder, so the library is offered from a copy of it.
    package = standin / "rasterizer_ffi"
    if not package.exists():
        shutil.copytree(os.path.dirname(rasterizer_ffi.__file__), package)
        shutil.copy(nvdiffrast_build / "librasterizer_nvdiffrast.so", package)
        shutil.copyfile(find_library("librasterizer_cpu.so"), package / "librasterizer_cpu.so")
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=standin,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(standin), here]),
            "RASTERIZER_FFI_BACKEND": "nvdiffrast",
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert "'nvdiffrast'" in first and first.endswith("nvdiffrast True")
    assert others == ["True", "True"]
