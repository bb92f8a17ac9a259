"""What costs most in the networks, made for a CPU: layers at points and of images, the update."""

from pony_jax.layers.adam import adam_update, joined
from pony_jax.layers.attention import attention
from pony_jax.layers.backend import plain_xla
from pony_jax.layers.conv_block import ConvBlockWeights, conv_block
from pony_jax.layers.convolution import convolution
from pony_jax.layers.gelu_sum import gelu_sum
from pony_jax.layers.group_norm import group_norm
from pony_jax.layers.mlp import MLPWeights, mlp
from pony_jax.layers.norm import norm
from pony_jax.layers.norm_dense import NormDenseWeights, norm_dense
from pony_jax.layers.spatial_gradient import spatial_gradient
from pony_jax.layers.token_dense import token_dense

__all__ = [
    "ConvBlockWeights",
    "MLPWeights",
    "NormDenseWeights",
    "adam_update",
    "attention",
    "conv_block",
    "convolution",
    "gelu_sum",
    "group_norm",
    "joined",
    "mlp",
    "norm",
    "norm_dense",
    "plain_xla",
    "spatial_gradient",
    "token_dense",
]
