"""Texture lookups against numbers of nvdiffrast's own kernels, in every mode that they hold."""

import jax
import numpy as np
import pytest

import rasterizer_ffi

pytestmark = pytest.mark.usefixtures("backend")

FILES = [f"texture{i}" for i in range(5)] + ["texture_cube"]
MODES = ["nearest", "linear", "linear_mipmap_nearest", "linear_mipmap_linear"]


@pytest.mark.parametrize("filter_mode", MODES)
@pytest.mark.parametrize("name", FILES)
def test_golden(golden, name, filter_mode):
    arrays = golden(f"raster_{name}")
    keys = [k for k in arrays if k.startswith(f"{filter_mode}__") and k.endswith("__out")]
    if not keys:
        pytest.skip("this file holds no such mode")
    for key in keys:
        prefix = key.removesuffix("out")
        _, boundary, inputs, levels, _ = key.split("__")

        def lookup(tex, uv, uv_da, bias, boundary=boundary, inputs=inputs, levels=levels):
            return rasterizer_ffi.texture(
                tex,
                uv,
                uv_da if "da" in inputs else None,
                bias if "bias" in inputs else None,
                filter_mode=filter_mode.replace("_", "-"),
                boundary_mode=boundary,
                max_mip_level=2 if levels == "max2" else None,
            )

        # Cube maps have no bias in the data.
        bias = arrays.get("mip_level_bias", np.zeros(arrays["uv"].shape[:3], np.float32))
        args = (arrays["tex"], arrays["uv"], arrays["uv_da"], bias)
        out, vjp = jax.vjp(lookup, *args)
        gradients = dict(
            zip(("g_tex", "g_uv", "g_uv_da", "g_bias"), vjp(arrays["dy"]), strict=True)
        )
        for result, got in {"out": out, **gradients}.items():
            if prefix + result in arrays:
                wanted = arrays[prefix + result]
                largest = np.abs(wanted).max()
                # Five times the noise of the reference itself.
                np.testing.assert_allclose(
                    got, wanted, rtol=0, atol=2.5e-5 * largest, err_msg=prefix + result
                )


def test_custom_mip_levels_are_used():
    tex = np.zeros((1, 4, 4, 1), np.float32)
    mip = [np.full((1, 2, 2, 1), 3.0, np.float32), np.full((1, 1, 1, 1), 7.0, np.float32)]
    uv = np.full((1, 1, 3, 2), 0.3, np.float32)
    level = np.array([[[1.0, 1.5, 9.0]]], np.float32)
    out = rasterizer_ffi.texture(tex, uv, mip_level_bias=level, mip=mip)
    np.testing.assert_allclose(out[0, 0, :, 0], [3.0, 5.0, 7.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filter_mode": "cubic"}, "expected filter_mode 'auto' or one of .*, got cubic"),
        ({"boundary_mode": "mirror"}, "expected boundary_mode one of .*, got mirror"),
        ({"filter_mode": "linear-mipmap-linear"}, "expected uv_da or mip_level_bias"),
        ({"uv_da": np.zeros((1, 5, 5, 2), np.float32)}, r"expected uv_da of shape \(1, 5, 5, 4\)"),
        (
            {"mip_level_bias": np.zeros((1, 5, 5), np.float32)},
            "expected a level to be halved of even",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    tex = np.zeros((1, 6, 6, 3), np.float32)
    uv = np.zeros((1, 5, 5, 2), np.float32)
    with pytest.raises(ValueError, match=message):
        rasterizer_ffi.texture(tex, uv, **arguments)


@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero", "cube"])
def test_wild_coordinates_are_harmless(boundary):
    cube = boundary == "cube"
    tex = np.ones((1, 6, 4, 4, 2) if cube else (1, 4, 4, 2), np.float32)
    wild = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0, 1.0], np.float32)
    uv = np.stack(np.meshgrid(*[wild] * (3 if cube else 2)), -1).reshape(1, 8, -1, 3 if cube else 2)
    uv_da = np.resize(wild, (*uv.shape[:3], 2 * uv.shape[3])).astype(np.float32)

    def lookup(tex, uv, uv_da):
        return rasterizer_ffi.texture(tex, uv, uv_da, boundary_mode=boundary)

    out, vjp = jax.vjp(lookup, tex, uv, uv_da)
    assert np.all((np.asarray(out) >= 0) & (np.asarray(out) <= 1))
    jax.block_until_ready(vjp(np.ones_like(out)))
