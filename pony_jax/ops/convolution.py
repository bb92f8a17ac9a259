"""Convolutions of images, and residual blocks of them."""

from typing import NamedTuple

from jax import lax, nn
from jaxtyping import Array, Float

from pony_jax.ops.dense import layer_norm
from pony_jax.ops.substitution import substitutable


def convolution(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], *, stride: int, padding: int
) -> Float[Array, "b oh ow o"]:
    """Cross-correlation, as networks mean it.

    Args:
      stride, padding: the same along both axes; padding with zeros at every side.

    Raises:
      ValueError: where the kernel does not fit.
    """
    if x.shape[3] != kernel.shape[2]:
        raise ValueError(
            f"kernel: expected shape [kh, kw, {x.shape[3]}, o] for images of {x.shape[3]} "
            f"channels, got {kernel.shape}"
        )
    if any(
        size + 2 * padding < taps for size, taps in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    ):
        raise ValueError(
            f"x: expected images of at least {kernel.shape[:2]} with their padding of {padding}, "
            f"got {x.shape[1:3]}"
        )
    if not padding and x.shape[1:] == kernel.shape[:3]:  # of one pixel: rows of a product
        rows = x.reshape(len(x), -1) @ kernel.reshape(-1, kernel.shape[3])
        return rows[:, None, None]
    return strided_convolution(x, kernel, stride=stride, padding=padding)


@substitutable
def strided_convolution(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], *, stride: int, padding: int
) -> Float[Array, "b oh ow o"]:
    """`convolution` of arrays that fit."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class ConvBlockWeights(NamedTuple):
    """Of the normalisation, and of the convolution (`k` is odd)."""

    scale: Float[Array, " c"]
    shift: Float[Array, " c"]
    kernel: Float[Array, "k k c c"]
    bias: Float[Array, " c"]


@substitutable
def conv_block(x: Float[Array, "b h w c"], weights: ConvBlockWeights) -> Float[Array, "b h w c"]:
    """A residual block: `x + gelu(convolution(layer_norm(x)) + bias)`, with the gelu by tanh."""
    unit = layer_norm(x, weights.scale, weights.shift)
    u = convolution(unit, weights.kernel, stride=1, padding=len(weights.kernel) // 2)
    return x + nn.gelu(u + weights.bias)
