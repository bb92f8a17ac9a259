"""DINO ViT-S/8 as a backbone: the paper's choice."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from pony_jax.features.backbones import Tokens, file_sha256
from pony_jax.features.errors import MissingPackageError, MissingWeightsError
from pony_jax.features.weights import read_weights
from pony_jax.interop.torch_names import vit_params
from pony_jax.modules.vit import ViT

_ARCHITECTURE = "vit_small_patch8_224.dino"
_PUBLISHED_AT = f"timm/{_ARCHITECTURE}"  # on the Hugging Face Hub, as model.safetensors
_WIDTH, _DEPTH, _PATCH = 384, 12, 8
_PUBLISHED_TOKENS = 1 + (224 // _PATCH) ** 2

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels


class DinoViTS8:
    """Tokens of 384 channels on a grid of 32 x 32, from 256 pixels.

    key: the keys of the last block; out: its tokens after the final normalisation. Source:
    elliottwu/MagicPony@e4a8b20, its ViT encoder, except that pixels are normalised the way the
    network was trained (the original does so for its features, but not for its tokens).
    """

    name = "dino_vits8"
    image_size = 256

    def __init__(self, weights: Path | None = None):
        """Raises `ExtractionError` if the weights are another network's, `MissingWeightsError` if
        they had to be fetched and could not."""
        path = weights or _fetch_weights()
        self.weights_sha256 = file_sha256(path)
        self._params = vit_params(read_weights(path, _shapes(), _ARCHITECTURE, ignored=("head.",)))
        self._tokens = jax.jit(_tokens)

    def __call__(self, image: UInt8[np.ndarray, "256 256 3"]) -> Tokens:
        key, out = self._tokens(self._params, image)
        return Tokens(np.asarray(key), np.asarray(out))


def _fetch_weights() -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "expected huggingface_hub to fetch the weights of dino_vits8 with, found none; install "
            "it with `pip install 'pony_jax[hub]'`, or pass a local file with --weights"
        ) from error
    try:
        return Path(hf_hub_download(_PUBLISHED_AT, "model.safetensors"))
    except OSError as error:  # the library's own errors are of this kind
        raise MissingWeightsError(
            f"expected to fetch the weights of {_ARCHITECTURE} from the hub, could not "
            f"({type(error).__name__}); check the connection, or pass a local file with --weights"
        ) from error


def _shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors."""
    d = _WIDTH

    def layer(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (d,), f"{name}.bias": (d,)}

    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, _PUBLISHED_TOKENS, d),
        "patch_embed.proj.weight": (d, 3, _PATCH, _PATCH),
        "patch_embed.proj.bias": (d,),
        **norm("norm"),
    }
    for number in range(_DEPTH):
        block = f"blocks.{number}"
        shapes |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        shapes |= layer(f"{block}.attn.qkv", 3 * d, d) | layer(f"{block}.attn.proj", d, d)
        shapes |= layer(f"{block}.mlp.fc1", 4 * d, d) | layer(f"{block}.mlp.fc2", d, 4 * d)
    return shapes


def _tokens(params: dict, image: UInt8[Array, "256 256 3"]) -> tuple[Array, Array]:
    """key and out of `Tokens`."""
    pixels = (image[None] / np.float32(255) - jnp.array(_MEAN)) / jnp.array(_DEVIATION)
    tokens = ViT(width=_WIDTH, depth=_DEPTH, num_heads=6, resize="timm").apply(
        {"params": params}, pixels
    )
    return tokens.key[0], tokens.out[0]
