"""EfficientNet-Lite0 up to its 192-channel blocks: image in, feature maps out, without PyTorch."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

STEM_CHANNELS = 32

EARLY_BLOCK, MIDDLE_BLOCK, LAST_BLOCK = 4, 10, 14


class BlockSettings(NamedTuple):
    """One inverted bottleneck: widen by `expansion`, filter each channel alone, narrow again."""

    kernel: int
    stride: int
    expansion: int
    channels: int


def _stage(repeats: int, kernel: int, stride: int, expansion: int, channels: int) -> list:
    first = BlockSettings(kernel, stride, expansion, channels)
    return [first] + [first._replace(stride=1)] * (repeats - 1)


BLOCKS: tuple[BlockSettings, ...] = (
    *_stage(1, kernel=3, stride=1, expansion=1, channels=16),
    *_stage(2, kernel=3, stride=2, expansion=6, channels=24),
    *_stage(2, kernel=5, stride=2, expansion=6, channels=40),
    *_stage(3, kernel=3, stride=2, expansion=6, channels=80),
    *_stage(3, kernel=5, stride=1, expansion=6, channels=112),
    *_stage(4, kernel=5, stride=2, expansion=6, channels=192),
)
"""Of EfficientNet-B0 (Tan and Le, ICML 2019, table 1), whose widths and depths Lite0 shares. The
last stage, of 320 channels, and the classifier are not needed here."""


class FeatureMaps(NamedTuple):
    """Outputs of three blocks.

    Attributes:
      early: of block `EARLY_BLOCK`, 40 channels at stride 8.
      middle: of block `MIDDLE_BLOCK`, 112 channels at stride 16.
      last: of block `LAST_BLOCK`, 192 channels at stride 32.
    """

    early: Float[Array, "b h8 w8 40"]
    middle: Float[Array, "b h16 w16 112"]
    last: Float[Array, "b h32 w32 192"]


class EfficientNetLite0(nn.Module):
    """The convolutional part of EfficientNet-Lite0, for use only: it has no batch statistics.

    The Lite variants have no squeeze-and-excitation and ReLU6 for an activation
    (tensorflow/tpu@master:models/official/efficientnet/lite). Batch normalisation is part of the
    convolution before it (`features.efficientnet.read_params`).
    """

    @nn.compact
    def __call__(self, pixels: Float[Array, "b h w 3"]) -> FeatureMaps:
        """Feature maps of images with sides that are multiples of 32.

        Args:
          pixels: (0..255 - 127) / 128, as the network was trained.

        Raises:
          ValueError: for other sides.
        """
        _, h, w, _ = pixels.shape
        if h % 32 or w % 32:
            raise ValueError(
                f"pixels: expected sides that are multiples of 32, got {h} x {w}; resize the image"
            )
        stem = nn.Conv(STEM_CHANNELS, (3, 3), strides=2, padding=((0, 1), (0, 1)), name="stem")
        x = nn.relu6(stem(pixels))
        outputs = []
        for number, settings in enumerate(BLOCKS):
            x = _Block(settings, name=f"block_{number}")(x)
            if number in (EARLY_BLOCK, MIDDLE_BLOCK, LAST_BLOCK):
                outputs.append(x)
        return FeatureMaps(*outputs)


class _Block(nn.Module):
    settings: BlockSettings

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b r s d"]:
        kernel, stride, expansion, channels = self.settings
        inner = x
        if expansion != 1:
            inner = nn.relu6(nn.Dense(x.shape[-1] * expansion, name="expand")(x))
        inner = nn.relu6(DepthwiseConv(kernel, stride, name="depthwise")(inner))
        inner = nn.Dense(channels, name="project")(inner)
        return x + inner if inner.shape == x.shape else inner


class DepthwiseConv(nn.Module):
    """A convolution of each channel with a kernel of its own; zeros beyond the borders.

    Output i sees inputs i * stride - p to i * stride - p + kernel - 1, where p is
    (kernel - stride) // 2, rounded down: TensorFlow's padding of sides that `stride` divides.

    It is written as a sum over the kernel's elements, since XLA's own grouped convolutions take 15
    to 60 times as long on a CPU.
    """

    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b r s c"]:
        b, h, w, c = x.shape
        k, stride = self.kernel, self.stride
        weights = self.param("kernel", nn.initializers.lecun_normal(), (k, k, c))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        low = (k - stride) // 2
        high = k - stride - low
        x = jnp.pad(x, ((0, 0), (low, high), (low, high), (0, 0)))
        total = bias
        for row in range(k):
            for column in range(k):
                start = (0, row, column, 0)
                end = (b, row + h - stride + 1, column + w - stride + 1, c)
                seen = lax.slice(x, start, end, (1, stride, stride, 1))
                total = total + weights[row, column] * seen
        return total
