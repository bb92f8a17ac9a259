"""The FFI targets: which one is named on which platform, and what they check by themselves."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from rasterizer_ffi import backends, targets
from tests.rasterizer_ffi.raster_scenes import random_scene

SCENE = random_scene(images=2, vertices=9, triangles=6, resolution=(4, 6))
COLOR = jnp.ones((2, 4, 6, 3))
FINE = jnp.zeros((2, 8, 12, 4))


def every_operation(pos, attr):
    """A scalar that every operation and its gradient take part in."""
    tri, resolution = jnp.asarray(SCENE.tri), SCENE.resolution
    rast, rast_db = rasterizer_ffi.rasterize(pos, tri, resolution)
    layers, _ = rasterizer_ffi.rasterize_layers(pos, tri, resolution, 2)
    out, out_da = rasterizer_ffi.interpolate(attr, rast, tri, rast_db, "all")
    colors = rasterizer_ffi.texture(attr[:, None], out[..., :2])
    blended = rasterizer_ffi.antialias(colors, rast, pos, tri)
    pooled = rasterizer_ffi.antialias_pooled(COLOR * attr.sum(), FINE, pos, tri, samples=2)
    return layers.sum() + out_da.sum() + blended.sum() + pooled.sum()


def named_targets(platform: str) -> set[str]:
    function = jax.jit(jax.grad(every_operation, (0, 1)))
    arrays = jnp.asarray(SCENE.pos), jnp.asarray(SCENE.attr)
    text = function.trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
    return set(re.findall(r"rasterizer_\w+", text))


@pytest.fixture
def default_backend():
    """What is in use where nobody has chosen."""
    before = backends.backend_in_use()
    rasterizer_ffi.use_backend("cuda" if "cuda" in rasterizer_ffi.available_backends() else "cpu")
    yield
    rasterizer_ffi.use_backend(before)


@pytest.mark.usefixtures("default_backend")
def test_a_platform_names_its_own_targets():
    """Wherever it is lowered: no library for a GPU is needed, and a CPU keeps all its kernels."""
    ops = set(backends._SYMBOLS)
    cpu_only = {"antialias_pooled", "antialias_pooled_grad"}
    assert named_targets("cpu") == {f"rasterizer_cpu_{op}" for op in ops | cpu_only}
    assert named_targets("cuda") == {f"rasterizer_cuda_{op}" for op in ops}


@pytest.mark.usefixtures("default_backend")
def test_a_program_is_exported_for_a_gpu_without_one():
    allowed = [
        jax.export.DisabledSafetyCheck.custom_call(f"rasterizer_cuda_{op}")
        for op in backends._SYMBOLS
    ]
    exported = jax.export.export(
        jax.jit(jax.grad(every_operation)), platforms=["cuda"], disabled_checks=allowed
    )(jnp.asarray(SCENE.pos), jnp.asarray(SCENE.attr))
    assert exported.platforms == ("cuda",)
    assert b"rasterizer_cpu" not in exported.mlir_module_serialized


def test_no_backend_for_other_platforms():
    function = jax.jit(lambda pos: rasterizer_ffi.rasterize(pos, SCENE.tri, SCENE.resolution)[0])
    with pytest.raises(NotImplementedError, match="platform tpu"):
        function.trace(SCENE.pos).lower(lowering_platforms=("tpu",))


# ------------------------------------------------------------------------------
# Shapes. A kernel writes all of a result, so a smaller one must be refused.
# ------------------------------------------------------------------------------


class Target(NamedTuple):
    args: list[Any]
    results: list[jax.ShapeDtypeStruct]
    attributes: dict[str, Any]


def floats(*shapes):
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def integers(shape, dtype=jnp.int32):
    return jax.ShapeDtypeStruct(shape, dtype)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


POS, TRI, RANGES = zeros(2, 9, 4), zeros(6, 3, dtype=np.int32), zeros(2, 2, dtype=np.int32)
RAST, ATTR, BYTES = zeros(2, 4, 6, 4), zeros(2, 9, 3), zeros(2, 4, 6, dtype=np.uint8)
IMAGE, SMALL, PIXELS = zeros(2, 4, 6, 3), zeros(2, 2, 3, 3), zeros(0, dtype=np.int32)
UV, DA, BIAS, STACK = zeros(2, 4, 6, 2), zeros(2, 4, 6, 4), zeros(2, 4, 6, 1), zeros(2, 21, 3)
BEHIND = zeros(1, 1, 1, 3)
INSTANCES = {"range_mode": False}
LOOKUP = {
    "height": np.int64(4),
    "width": np.int64(4),
    "max_level": np.int64(2),
    "filter": np.int64(3),
    "boundary": np.int64(1),
    "with_da": True,
    "with_bias": True,
}
OUTLINES = [RAST, POS, TRI, RANGES, TRI]
POOLED = {"range_mode": False, "samples": np.int64(2), "packed": False}
GRADIENTS = floats(IMAGE.shape, POS.shape)
TARGETS = {
    "rasterize": Target([POS, TRI, RANGES], floats(RAST.shape, RAST.shape), INSTANCES),
    "rasterize_layers": Target(
        [POS, TRI, RANGES], floats((3, *RAST.shape), (3, *RAST.shape)), INSTANCES
    ),
    "rasterize_grad": Target(
        [POS, TRI, RANGES, RAST, RAST, RAST],
        floats(POS.shape),
        {"range_mode": False, "with_db": True},
    ),
    "interpolate": Target(
        [ATTR, RAST, TRI, RAST], floats(IMAGE.shape, (2, 4, 6, 4)), {"diff_attrs": (0, 2)}
    ),
    "interpolate_grad": Target(
        [ATTR, RAST, TRI, RAST, IMAGE, zeros(2, 4, 6, 4)],
        floats(ATTR.shape, RAST.shape, RAST.shape),
        {"diff_attrs": (0, 2)},
    ),
    "antialias": Target(
        [IMAGE, *OUTLINES], [*floats(IMAGE.shape), integers((2, 4, 6), jnp.uint8)], INSTANCES
    ),
    "antialias_grad": Target(
        [IMAGE, *OUTLINES, BYTES, IMAGE],
        GRADIENTS,
        {"range_mode": False, "pos_gradient_boost": np.float32(1)},
    ),
    "antialias_pooled": Target(
        [SMALL, *OUTLINES, BEHIND, PIXELS],
        [*floats(SMALL.shape), integers((2, 4, 6), jnp.uint8), integers((2, 2, 3))],
        POOLED,
    ),
    "antialias_pooled_grad": Target(
        [SMALL, *OUTLINES, BEHIND, PIXELS, BYTES, zeros(2, 2, 3, dtype=np.int32), SMALL],
        floats(SMALL.shape, POS.shape),
        POOLED,
    ),
    "texture": Target([STACK, UV, DA, BIAS], floats(IMAGE.shape), LOOKUP),
    "texture_grad": Target(
        [STACK, UV, DA, BIAS, IMAGE],
        floats(STACK.shape, UV.shape, DA.shape, BIAS.shape),
        LOOKUP,
    ),
    "topology": Target([TRI], [integers(TRI.shape)], {}),
}


def run(op, args, results, attributes):
    name = f"rasterizer_cpu_{op}"
    return jax.block_until_ready(
        targets._call_target(name, results, tuple(attributes.items()), *args)
    )


@pytest.mark.parametrize("op", TARGETS)
def test_results_of_another_shape_are_refused(op):
    assert set(TARGETS) == set(backends._SYMBOLS) | set(backends._CPU_SYMBOLS)
    args, results, attributes = TARGETS[op]
    run(op, args, results, attributes)
    for i, result in enumerate(results):
        sizes = result.shape
        others = [(*sizes[:k], sizes[k] - 1, *sizes[k + 1 :]) for k in range(len(sizes))]
        # Fewer dimensions, and one more, as vmap would add it.
        for shape in [*others, sizes[1:], (2, *sizes)]:
            wrong = [*results[:i], jax.ShapeDtypeStruct(shape, result.dtype), *results[i + 1 :]]
            with pytest.raises(jax.errors.JaxRuntimeError, match="expected"):
                run(op, args, wrong, attributes)


@pytest.mark.parametrize(
    ("color", "samples", "background", "message"),
    [
        (SMALL[:, 1:], 2, BEHIND, r"color: expected shape .*`samples` times .*got \[2,1,3,3\]"),
        (SMALL, 0, BEHIND, "samples: expected at least 1, got 0"),
        (SMALL, 2, SMALL[:, :1, :2], r"background: expected shape .* got \[2,1,2,3\]"),
    ],
)
def test_arguments_of_another_shape_are_refused(color, samples, background, message):
    _, results, attributes = TARGETS["antialias_pooled"]
    attributes = attributes | {"samples": np.int64(samples)}
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        run("antialias_pooled", [color, *OUTLINES, background, PIXELS], results, attributes)
