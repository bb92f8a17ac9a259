"""Heads on the frozen backbone's tokens: image vectors, viewpoints, light, silhouettes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.linear import default_kernel_init
from jax import lax
from jaxtyping import Array, Float

from pony_jax.modules.linear import MLP, Conv, Weights
from pony_jax.ops.convolution import ConvBlockWeights, conv_block, convolution
from pony_jax.ops.dense import NormDenseWeights, norm_dense
from pony_jax.ops.numerics import safe_normalize


class TokenEncoder(nn.Module):
    """A map of tokens to one vector, by convolutions of stride two down to 4 x 4, then one more.

    MagicPony@e4a8b20:magicpony/networks.py:Encoder32, for any side of 4 times a power of
    two: three strided layers for the original's 32 x 32 tokens, two for 16 x 16.
    """

    features: int
    hidden: int

    @nn.compact
    def __call__(self, tokens: Float[Array, "b t t c"]) -> Float[Array, "b d"]:
        side = tokens.shape[1]
        halvings = (side // 4).bit_length() - 1
        if tokens.shape[2] != side or side < 8 or side != 4 * 2**halvings:
            raise ValueError(
                "token map: expected a square of side 8, 16, 32, ..., got "
                f"{tokens.shape[1]} x {tokens.shape[2]}; extract the features with another "
                "--token_grid"
            )
        x = tokens
        for i in range(halvings):
            x = Conv(self.hidden, 4, stride=2, padding=1, name=f"conv_{i}")(x)
            norm = nn.GroupNorm(
                num_groups=None,
                group_size=4,
                epsilon=1e-5,
                use_fast_variance=False,
                name=f"norm_{i}",
            )
            x = nn.leaky_relu(norm(x), 0.2)
        x = Conv(self.features, 4, name=f"conv_{halvings}")(x)
        return x.reshape(len(x), -1)


class SilhouetteHead(nn.Module):
    """Where the animal is, from tokens and pixels: what poses are refined against.

    Not in the original. Each token is joined by the pixels under it and looks at its surroundings;
    the result is spread over cells of 2 x 2 pixels, which look at theirs. A leg is narrower than a
    token: without the second half it is found half as well.
    """

    hidden: int

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "b t t c"],
        image: Float[Array, "b h h 3"],
        dropout_key: Array | None = None,
    ) -> Float[Array, "b h h 1"]:
        """Logit of each pixel.

        Args:
          dropout_key: in training; a few hundred photographs are soon known by heart.

        Raises:
          ValueError: unless each token covers an even number of pixels along a side.
        """
        side, rest = divmod(image.shape[1], tokens.shape[1])
        if rest or side % 2:
            raise ValueError(
                f"image: expected a side that is an even multiple of the {tokens.shape[1]} tokens "
                f"along it, got {image.shape[1]} px; choose another data.image_size or --token_grid"
            )
        pixels, c = image - 0.5, tokens.shape[-1]
        kernel, bias = _layer((c + side * side * 3, self.hidden), "token_in")
        under = pixels
        if dropout_key is not None:
            keys = jax.random.split(dropout_key)
            tokens, under = _dropout(tokens, keys[0]), _dropout(pixels, keys[1])
        x = convolution(tokens, kernel[None, None, :c], stride=1, padding=0)
        x += convolution(under, kernel[c:].reshape(side, side, 3, -1), stride=side, padding=0)
        x = nn.gelu(x + bias)
        for i in (1, 2):
            x = _ConvBlock(name=f"token_{i}")(x)
        fine, cells = self.hidden // 2, side // 2
        x = _norm_dense(x, cells * cells * fine, "LayerNorm_0", "spread")
        kernel, bias = _layer((3, 3, 2 * 2 * 3, fine), "cell_in")
        kernel = kernel.reshape(3, 3, 2, 2, 3, fine).swapaxes(1, 2).reshape(6, 6, 3, fine)
        near = convolution(pixels, kernel, stride=2, padding=2)
        x = nn.gelu(_depth_to_space(x, cells) + near + bias)
        for i in (1, 2):
            x = _ConvBlock(name=f"cell_{i}")(x)
        return _depth_to_space(_norm_dense(x, 4, "LayerNorm_1", "output"), 2)


class _ConvBlock(nn.Module):
    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        c = x.shape[-1]
        weights = _norm_and_layer(c, (3, 3, c, c), "LayerNorm_0", "Conv_0")
        return conv_block(x, ConvBlockWeights(*weights))


def _norm_dense(x: Array, features: int, norm: str, dense: str) -> Array:
    """Parameters as `flax.linen.LayerNorm` and `flax.linen.Dense` of these names have them."""
    shape = (x.shape[-1], features)
    return norm_dense(x, NormDenseWeights(*_norm_and_layer(shape[0], shape, norm, dense)))


def _norm_and_layer(
    channels: int, kernel: tuple[int, ...], norm: str, layer: str
) -> tuple[Array, ...]:
    """Scale and shift of a normalisation, then kernel and bias of a layer."""
    ones, zeros = nn.initializers.ones, nn.initializers.zeros
    of_norm = ("scale", ones, (channels,)), ("bias", zeros, (channels,))
    return *Weights(of_norm, name=norm)(), *_layer(kernel, layer)


def _layer(kernel: tuple[int, ...], name: str) -> tuple[Array, ...]:
    """Kernel and bias, as `flax.linen.Dense` and `flax.linen.Conv` have them."""
    zeros = nn.initializers.zeros
    return Weights(
        (("kernel", default_kernel_init, kernel), ("bias", zeros, kernel[-1:])), name=name
    )()


def _dropout(x: Array, key: Array) -> Array:
    """`flax.linen.Dropout` at a rate of 51/256, four values for each random word.

    On a CPU the random words of Flax's, one a value, take a tenth of a training step.
    """
    words = jax.random.bits(key, (-(-x.size // 4),), jnp.uint32)
    octets = lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: x.size]
    return jnp.where(octets.reshape(x.shape) < 51, 0.0, x * (256 / 205))


def _depth_to_space(x: Float[Array, "b h w d"], side: int) -> Float[Array, "b hs ws c"]:
    """Channels of a pixel as a square of `side` by `side` pixels."""
    b, h, w, d = x.shape
    x = x.reshape(b, h, w, side, side, d // side**2).swapaxes(2, 3)
    return x.reshape(b, h * side, w * side, -1)


class LightHead(nn.Module):
    """Directional light in the camera frame from the appearance vector.

    MagicPony@e4a8b20:magicpony/render/light.py. The light comes from above: the direction's y is
    +0.5 before normalisation.
    """

    hidden: int
    num_layers: int

    @nn.compact
    def __call__(
        self, appearance: Float[Array, "b c"]
    ) -> tuple[Float[Array, "b 3"], Float[Array, "b 1"], Float[Array, "b 1"]]:
        """Unit direction towards the light, ambient in 0..1, diffuse in 0.5..1."""
        raw = nn.sigmoid(MLP(4, self.hidden, self.num_layers, name="mlp")(appearance))
        x, z = 2 * raw[:, 0] - 1, 2 * raw[:, 1] - 1
        direction = safe_normalize(jnp.stack([x, jnp.full_like(x, 0.5), z], axis=-1))
        return direction, raw[:, 2:3], 0.5 + 0.5 * raw[:, 3:4]
