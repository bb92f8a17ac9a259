"""DINO ViT-S/8 as a backbone: the paper's choice."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from pony_jax.features.backbones import BackboneOptions, Tokens, file_sha256
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
    """Tokens of 384 channels, one for 8 x 8 pixels: 32 x 32 from 256 pixels.

    key: the keys of `options.layers`, by default of the last block; several are each scaled to unit
    deviation, so that none outweighs the others, and lie side by side. out: the last block's tokens
    after the final normalisation. Source:
    elliottwu/MagicPony@e4a8b20, its ViT encoder, except that pixels are normalised the way the
    network was trained (the original does so for its features, but not for its tokens).
    """

    def __init__(self, weights: Path | None, options: BackboneOptions):
        """Raises `ExtractionError` if the weights are another network's, `MissingWeightsError` if
        they had to be fetched and could not."""
        path = weights or _fetch_weights()
        self.name, self.image_size = options.name, options.input_size
        self.weights_sha256 = file_sha256(path)
        self._params = vit_params(read_weights(path, _shapes(), _ARCHITECTURE, ignored=("head.",)))
        self._tokens = jax.jit(functools.partial(_tokens, layers=options.layers))

    def __call__(self, image: UInt8[np.ndarray, "s s 3"]) -> Tokens:
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


def _tokens(
    params: dict, image: UInt8[Array, "s s 3"], *, layers: tuple[int, ...]
) -> tuple[Array, Array]:
    """key and out of `Tokens`."""
    pixels = (image[None] / np.float32(255) - jnp.array(_MEAN)) / jnp.array(_DEVIATION)
    network = ViT(width=_WIDTH, depth=_DEPTH, num_heads=6, resize="timm")
    if layers == (_DEPTH - 1,):
        tokens = network.apply({"params": params}, pixels)
        return tokens.key[0], tokens.out[0]
    blocks = [f"block_{layer}" for layer in layers]
    tokens, kept = network.apply(
        {"params": params},
        pixels,
        capture_intermediates=lambda module, _: module.name in blocks,
    )
    keys = [kept["intermediates"][block]["__call__"][0][1][0, 1:] for block in blocks]
    if len(keys) > 1:
        keys = [key / jnp.maximum(jnp.std(key), jnp.finfo(key.dtype).tiny) for key in keys]
    grid = tokens.out.shape[1:3]
    return jnp.concatenate(keys, axis=-1).reshape(*grid, -1), tokens.out[0]
