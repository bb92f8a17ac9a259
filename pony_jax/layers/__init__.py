"""What costs most in the networks: all layers at points, and convolutions, made for a CPU."""

from pony_jax.layers.backend import plain_xla
from pony_jax.layers.conv_block import ConvBlockWeights, conv_block
from pony_jax.layers.convolution import convolution
from pony_jax.layers.mlp import MLPWeights, mlp
from pony_jax.layers.spatial_gradient import spatial_gradient

__all__ = [
    "ConvBlockWeights",
    "MLPWeights",
    "conv_block",
    "convolution",
    "mlp",
    "plain_xla",
    "spatial_gradient",
]
