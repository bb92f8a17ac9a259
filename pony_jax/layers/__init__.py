"""What costs most in the networks, made for a CPU: layers at points and of images."""

from pony_jax.layers.backend import plain_xla
from pony_jax.layers.conv_block import ConvBlockWeights, conv_block
from pony_jax.layers.convolution import convolution
from pony_jax.layers.mlp import MLPWeights, mlp
from pony_jax.layers.norm_dense import NormDenseWeights, norm_dense

__all__ = [
    "ConvBlockWeights",
    "MLPWeights",
    "NormDenseWeights",
    "conv_block",
    "convolution",
    "mlp",
    "norm_dense",
    "plain_xla",
]
