"""DINO ViT-S/8 as a backbone: the paper's choice."""

import hashlib
from pathlib import Path

import numpy as np
import timm
import torch
from jaxtyping import UInt8
from timm.models.vision_transformer import checkpoint_filter_fn

from pony_jax.features.backbones import Tokens, file_sha256
from pony_jax.features.errors import MissingWeightsError
from pony_jax.features.torch_weights import read_weights, shapes

_ARCHITECTURE = "vit_small_patch8_224.dino"
_PUBLISHED_TOKENS = 1 + (224 // 8) ** 2

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
        options = {"img_size": self.image_size, "num_classes": 0}
        if weights is None:
            try:
                self._network = timm.create_model(_ARCHITECTURE, pretrained=True, **options)
            except OSError as error:
                raise MissingWeightsError(
                    f"expected to fetch the weights of {_ARCHITECTURE} from the hub, could not "
                    f"({type(error).__name__}); check the connection, or pass a local file with "
                    "--weights"
                ) from error
        else:
            self._network = timm.create_model(_ARCHITECTURE, pretrained=False, **options)
            expected = shapes(self._network) | {"pos_embed": (1, _PUBLISHED_TOKENS, 384)}
            state = read_weights(weights, expected, _ARCHITECTURE)
            # Brings the positions from the size of training to ours, as fetching does.
            self._network.load_state_dict(checkpoint_filter_fn(state, self._network))
        self._network.eval()
        self.weights_sha256 = file_sha256(weights) if weights else _state_sha256(self._network)
        self._keys: torch.Tensor | None = None
        self._network.blocks[-1].attn.qkv.register_forward_hook(self._keep_keys)

    @torch.inference_mode()
    def __call__(self, image: UInt8[np.ndarray, "256 256 3"]) -> Tokens:
        pixels = torch.from_numpy(image).float() / 255
        pixels = (pixels - torch.tensor(_MEAN)) / torch.tensor(_DEVIATION)
        out = self._network.forward_features(pixels.permute(2, 0, 1)[None])[0]
        side = self.image_size // 8
        key, out = (tokens[1:].reshape(side, side, -1).numpy() for tokens in (self._keys, out))
        return Tokens(key, out)

    def _keep_keys(self, module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        """Channels of the projection are query, key, value, each with its heads side by side."""
        self._keys = output[0].chunk(3, dim=-1)[1]


def _state_sha256(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
