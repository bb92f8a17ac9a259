"""All operations against numbers of nvdiffrast's own kernels.

Tolerances are the sensible limits of the golden data's README: five times the float32 noise that
was measured between a float and a double evaluation of the reference.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rasterizer_ffi
from rasterizer_ffi import rasterization
from tests.golden_arrays import golden_file

pytestmark = pytest.mark.usefixtures("backend")

SCENES = [
    "bad_indices",
    "batch5_c9",
    "cube",
    "cube_closed_bcast",
    "empty",
    "fillrule",
    "px1x1",
    "px1xN",
    "pxNx1",
    "range_mode",
    "single",
    "single_back",
    "single_docs",
    "soup_behind",
    "soup_degenerate_coincident",
    "soup_lattice",
    "soup_nonmanifold",
    "soup_offscreen",
    "soup_sliver_huge",
    "soup_tiny",
    "sphere",
    "spot64",
    "spot256",
    "spot256_views",
    "two_tri",
    "w_zero",
]


def assert_close(got, wanted, relative_to_largest: float) -> None:
    """Compares with a tolerance relative to the largest entry of the wanted array."""
    largest = float(np.abs(wanted).max(initial=0.0))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=relative_to_largest * max(largest, 1e-30))


@pytest.fixture(params=[name for name in SCENES if golden_file(f"raster_{name}")])
def scene(request, golden):
    return golden(f"raster_{request.param}")


def needs(scene, key: str) -> None:
    if key not in scene:
        pytest.skip(f"this scene stores no {key}")


def test_rasterize(scene):
    resolution = tuple(int(n) for n in scene["resolution"])
    rast, rast_db = jax.jit(
        lambda pos, tri: rasterizer_ffi.rasterize(pos, tri, resolution, scene.get("ranges"))
    )(scene["pos"], scene["tri"])
    same_id = np.asarray(rast[..., 3]) == scene["rast"][..., 3]
    free_to_differ = (scene["tie_mask"] & 1) | scene["unstable_id"]
    assert np.all(same_id | (free_to_differ == 1))

    comparable = same_id & (scene["illcond"] == 0)
    np.testing.assert_allclose(
        np.asarray(rast)[comparable], scene["rast"][comparable], rtol=0, atol=5e-5
    )
    needs(scene, "rast_db")
    wanted = scene["rast_db"][comparable]
    error = np.abs(np.asarray(rast_db)[comparable] - wanted).max(axis=-1)
    assert np.all(error <= 3.5e-4 * np.abs(wanted).max(axis=-1))


def test_interpolate(scene):
    needs(scene, "out")
    tri = scene.get("tri_attr", scene["tri"])
    channels = [int(c) for c in scene["diff_attrs"]]

    def interpolate(attr, rast, rast_db):
        return rasterizer_ffi.interpolate(attr, rast, tri, rast_db, channels)

    (out, out_da), vjp = jax.vjp(interpolate, scene["attr"], scene["rast"], scene["rast_db"])
    assert_close(out, scene["out"], 7e-7)
    assert_close(out_da, scene["out_da"], 7e-7)
    needs(scene, "dy_out")
    grad_attr, grad_rast, grad_rast_db = vjp((scene["dy_out"], scene["dy_out_da"]))
    assert_close(grad_attr, scene["g_attr"], 1e-5)
    assert_close(grad_rast, scene["g_rast"], 1.5e-7)
    assert_close(grad_rast_db, scene["g_rast_db"], 1.5e-7)

    _, vjp = jax.vjp(
        lambda attr: rasterizer_ffi.interpolate(attr, scene["rast"], tri)[0], scene["attr"]
    )
    assert_close(vjp(scene["dy_out"])[0], scene["g_attr_noda"], 1e-5)


def test_interpolate_all_is_every_channel(golden):
    scene = golden("raster_single")
    out = rasterizer_ffi.interpolate(
        scene["attr"], scene["rast"], scene["tri"], scene["rast_db"], "all"
    )
    assert_close(out[1], scene["out_da"], 7e-7)


@pytest.mark.parametrize(
    ("result", "dy", "ddb", "grad_db"),
    [
        ("g_pos_uv", "dy_rast", "dy_rast_db", False),
        ("g_pos_uvdb", "dy_rast", "dy_rast_db", True),
        ("g_pos_chain", "g_rast", "g_rast_db", True),
    ],
)
def test_rasterize_gradient(scene, result, dy, ddb, grad_db):
    needs(scene, result)
    needs(scene, ddb)
    resolution = tuple(int(n) for n in scene["resolution"])
    ranges = scene.get("ranges", np.zeros((0, 2), np.int32))
    # The golden gradients belong to the golden ids, so the backward rule is called by itself.
    residuals = tuple(jnp.asarray(x) for x in (scene["pos"], scene["tri"], ranges, scene["rast"]))
    cotangents = (jnp.asarray(scene[dy]), jnp.asarray(scene[ddb]))
    grad_pos, _, _ = rasterization._rasterize_bwd(resolution, grad_db, residuals, cotangents)
    assert_close(grad_pos, scene[result], 7e-4)
    assert not np.any(np.asarray(grad_pos)[..., 2])


def test_antialias(scene):
    needs(scene, "aa_out")

    def antialias(color, pos):
        return rasterizer_ffi.antialias(color, scene["rast"], pos, scene["tri"])

    out, vjp = jax.vjp(antialias, scene["color"], scene["pos"])
    assert_close(out, scene["aa_out"], 7e-5)
    grad_color, grad_pos = vjp(scene["dy_aa"])
    assert_close(grad_color, scene["g_color"], 7e-5)
    assert_close(grad_pos, scene["g_pos_aa"], 3e-5)

    topology = rasterizer_ffi.antialias_construct_topology_hash(scene["tri"])
    boosted = jax.grad(
        lambda pos: jnp.vdot(
            rasterizer_ffi.antialias(
                scene["color"], scene["rast"], pos, scene["tri"], topology, 3.0
            ),
            scene["dy_aa"],
        )
    )(scene["pos"])
    assert_close(boosted, 3.0 * scene["g_pos_aa"], 3e-5)
