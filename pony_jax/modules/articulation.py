"""Per-bone rotations: by attention over the bones, or each bone on its own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pony_jax.modules.linear import MLP, Linear, PerTokenLinear, Weights
from pony_jax.ops.dense import NormDenseWeights, norm_dense
from pony_jax.ops.harmonic import harmonic_embedding


class ArticulationNetwork(nn.Module):
    """Raw rotation triples of all bones of an animal, each bone a token.

    MagicPony@e4a8b20:magicpony/networks.py:ArticulationNetwork, kind attention: a layer on
    [bone feature, bone position, embedded position], pre-norm transformer blocks, a linear output.

    Attributes:
      own_layers: each bone has a first and a last layer of its own, since a spine and a hoof look
        for different things; otherwise all bones share them, as in the original.
    """

    hidden: int
    num_blocks: int
    num_heads: int
    num_frequencies: int
    own_layers: bool

    @nn.compact
    def __call__(
        self, bone_features: Float[Array, "b k c"], bone_positions: Float[Array, "b k p"]
    ) -> Float[Array, "b k 3"]:
        x = _embedded(bone_features, bone_positions, self.num_frequencies)

        layer = PerTokenLinear if self.own_layers else Linear
        x = nn.gelu(layer(self.hidden, name="input")(x), approximate=False)
        x = nn.LayerNorm(epsilon=1e-5, name="input_norm")(x)
        for i in range(self.num_blocks):
            x = _Block(self.num_heads, name=f"block_{i}")(x)
        # Zero at the start: the animal begins in its rest pose. (The original begins with small
        # random angles, kept small by a multiplier that also makes the pose learn slowly.)
        return layer(3, zero_init=True, name="output")(x)


class ArticulationMLP(nn.Module):
    """Raw rotation triples of all bones of an animal, each bone on its own.

    MagicPony@e4a8b20:magicpony/networks.py:ArticulationNetwork, kind mlp: layers without bias on
    [bone feature, bone position, embedded position]. Starts with small random angles.
    """

    hidden: int
    num_layers: int
    num_frequencies: int

    @nn.compact
    def __call__(
        self, bone_features: Float[Array, "b k c"], bone_positions: Float[Array, "b k p"]
    ) -> Float[Array, "b k 3"]:
        x = _embedded(bone_features, bone_positions, self.num_frequencies)
        return MLP(3, self.hidden, self.num_layers, name="mlp")(x)


def _embedded(
    bone_features: Float[Array, "b k c"],
    bone_positions: Float[Array, "b k p"],
    num_frequencies: int,
) -> Float[Array, "b k d"]:
    """What both kinds of network read of a bone."""
    waves = harmonic_embedding(bone_positions, num_frequencies, 0.9 * np.pi)
    return jnp.concatenate([bone_features, bone_positions, waves], axis=-1)


class _Block(nn.Module):
    """Pre-norm self-attention and a two-layer network of ratio two."""

    num_heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b k c"]) -> Float[Array, "b k c"]:
        width = x.shape[-1]
        qkv = _norm_linear(x, 3 * width, "norm_attention", "qkv", use_bias=False)
        heads = qkv.reshape(*x.shape[:2], 3, self.num_heads, -1)
        mixed = jax.nn.dot_product_attention(*jnp.moveaxis(heads, 2, 0))
        x = x + Linear(width, name="projection")(mixed.reshape(x.shape))
        h = nn.gelu(_norm_linear(x, 2 * width, "norm_mlp", "mlp_in"), approximate=False)
        return x + Linear(width, name="mlp_out")(h)


def _norm_linear(x: Array, features: int, norm: str, layer: str, use_bias: bool = True) -> Array:
    """Parameters as `flax.linen.LayerNorm` and `Linear` of these names have them."""
    width = x.shape[-1]
    arrays = ("scale", nn.initializers.ones, (width,)), ("bias", nn.initializers.zeros, (width,))
    kernel, *bias = Linear(features, use_bias, name=layer).weights(width)
    bias = bias[0] if bias else jnp.zeros(features)
    return norm_dense(x, NormDenseWeights(*Weights(arrays, name=norm)(), kernel, bias))
