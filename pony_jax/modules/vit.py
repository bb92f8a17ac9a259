"""The vision transformer of DINO: image in, tokens out, without PyTorch."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class ViTTokens(NamedTuple):
    """What the transformer says about each patch, and about the whole image.

    Attributes:
      key: keys of the last block, heads side by side; tells parts apart.
      out: tokens after the final normalisation; tells looks apart.
      class_key: key of the class token.
      class_out: the class token.
    """

    key: Float[Array, "b r s d"]
    out: Float[Array, "b r s d"]
    class_key: Float[Array, "b d"]
    class_out: Float[Array, "b d"]


class ViT(nn.Module):
    """A vision transformer with a class token and learned positions.

    facebookresearch/dino@7c446df:vision_transformer.py. `interop.torch_names.vit_params` loads the
    weights of DINO and of timm's `vit_{small,base}_patch8_224.dino`.

    Attributes:
      width: channels of a token: 384 for ViT-S, 768 for ViT-B.
      position_side: patches along a side of the images that the positions were learned for.
      resize: how positions are stretched to other images: 'dino' or 'timm' (`resize_positions`).
    """

    width: int = 384
    depth: int = 12
    num_heads: int = 6
    patch: int = 8
    position_side: int = 28
    resize: str = "dino"

    @nn.compact
    def __call__(self, pixels: Float[Array, "b h w 3"]) -> ViTTokens:
        """Tokens of images with sides that are multiples of `patch`.

        Args:
          pixels: normalised as the user of the tokens wants it; MagicPony scales 0..1 to -1..1,
            while DINO was trained with the mean and deviation of ImageNet.

        Raises:
          ValueError: for sides that are no multiples of `patch`.
        """
        b, h, w, _ = pixels.shape
        if h % self.patch or w % self.patch:
            raise ValueError(
                f"pixels: expected sides that are multiples of {self.patch}, got {h} x {w}; "
                "resize the image"
            )
        rows, columns = h // self.patch, w // self.patch
        patches = nn.Conv(
            self.width, (self.patch,) * 2, strides=self.patch, padding="VALID", name="patches"
        )(pixels)
        init = nn.initializers.truncated_normal(0.02)
        class_token = self.param("class_token", init, (self.width,))
        class_position = self.param("class_position", init, (self.width,))
        side = self.position_side
        positions = self.param("positions", init, (side, side, self.width))
        x = (patches + resize_positions(positions, rows, columns, self.resize)).reshape(
            b, rows * columns, self.width
        )
        first = jnp.broadcast_to(class_token + class_position, (b, 1, self.width))
        x = jnp.concatenate([first, x], axis=1)
        key = x
        for i in range(self.depth):
            x, key = _Block(self.num_heads, name=f"block_{i}")(x)
        out = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        maps = (t[:, 1:].reshape(b, rows, columns, self.width) for t in (key, out))
        return ViTTokens(*maps, key[:, 0], out[:, 0])


class _Block(nn.Module):
    """Pre-norm attention and a two-layer network of ratio four; also returns the keys."""

    num_heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"]
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b n d"]]:
        b, n, width = x.shape
        h = nn.LayerNorm(epsilon=1e-6, name="norm_attention")(x)
        query, key, value = jnp.split(nn.Dense(3 * width, name="qkv")(h), 3, axis=-1)
        mixed = jax.nn.dot_product_attention(
            *(t.reshape(b, n, self.num_heads, -1) for t in (query, key, value))
        )
        x = x + nn.Dense(width, name="projection")(mixed.reshape(b, n, width))
        h = nn.LayerNorm(epsilon=1e-6, name="norm_mlp")(x)
        h = nn.gelu(nn.Dense(4 * width, name="mlp_in")(h), approximate=False)
        return x + nn.Dense(width, name="mlp_out")(h), key


def resize_positions(
    positions: Float[Array, "n n d"], rows: int, columns: int, how: str
) -> Float[Array, "r s d"]:
    """Position embeddings for another number of patches, by bicubic interpolation.

    Args:
      how: 'dino' is what DINO, and so MagicPony, does: its scale is (rows + 0.1) / n instead of
        rows / n, a guard against rounding that moves every sample a little (a quirk). 'timm' is
        what timm does when it loads weights for another size of image.

    Raises:
      ValueError: for another `how`.
    """
    n = len(positions)
    if how not in ("dino", "timm"):
        raise ValueError(f"how to resize positions: expected 'dino' or 'timm', got {how!r}")
    if rows == columns == n:
        return positions
    if how == "timm":
        return jax.image.resize(positions, (rows, columns, positions.shape[2]), "cubic")
    by_row, by_column = (_cubic_matrix(n, size, (size + 0.1) / n) for size in (rows, columns))
    return jnp.einsum("ri,sj,ijd->rsd", by_row, by_column, positions, precision="highest")


def _cubic_matrix(num_in: int, num_out: int, scale: float) -> Float[np.ndarray, "o i"]:
    """Cubic convolution (A = -0.75, ends repeated), as `torch.nn.functional.interpolate`.

    Its sample points are float32 numbers, which moves the last ones by up to 2e-6 of a patch.
    """
    a = -0.75
    step = float(np.float32(1 / scale))
    source = ((np.arange(num_out) + 0.5) * step - 0.5).astype(np.float32).astype(np.float64)
    first = np.floor(source).astype(int) - 1
    matrix = np.zeros((num_out, num_in))
    for tap in range(4):
        d = np.abs(source - (first + tap))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        column = np.clip(first + tap, 0, num_in - 1)
        np.add.at(matrix, (np.arange(num_out), column), np.where(d <= 1, near, far))
    return matrix.astype(np.float32)
