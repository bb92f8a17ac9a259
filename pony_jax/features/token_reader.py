"""Tokens of a square crop as a model was trained on them."""

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pony_jax.features.backbones import Backbone, Tokens
from pony_jax.features.errors import ExtractionError
from pony_jax.features.projection import Projection

ModelTokens = tuple[Float[np.ndarray, "t t d"], Float[np.ndarray, "t t d"]]
"""`patch_key` and `patch_out` of `pony_jax.data.schema`."""


@dataclasses.dataclass(frozen=True)
class TokenReader:
    """A backbone with the projections of a data set.

    Attributes:
      token_grid: T, tokens along a side.
      patch_key, patch_out: from the backbone's channels to the data set's; None for models that
        read the backbone's tokens as they are.
      dtype: of the tokens: float16 as data sets store them, for models that learned from those.
    """

    backbone: Backbone
    token_grid: int
    patch_key: Projection | None
    patch_out: Projection | None
    dtype: type[np.floating] = np.float16

    def __call__(self, crop: Image.Image) -> ModelTokens:
        """Tokens of a square RGB crop, as the data set stores them."""
        return self.reduce(backbone_tokens(self.backbone, crop))

    def reduce(self, tokens: Tokens) -> ModelTokens:
        """The backbone's tokens, pooled and projected.

        Raises `ExtractionError` if T does not divide the backbone's grid.
        """
        key, out = (pool(values, self.token_grid) for values in tokens)
        if self.patch_key is not None:
            key = self.patch_key(key)
        if self.patch_out is not None:
            out = self.patch_out(out)
        return key.astype(self.dtype), out.astype(self.dtype)


def backbone_tokens(backbone: Backbone, crop: Image.Image) -> Tokens:
    """What the backbone says about a square RGB crop of any size."""
    return backbone(backbone_pixels(backbone, crop))


def backbone_pixels(backbone: Backbone, crop: Image.Image) -> UInt8[np.ndarray, "s s 3"]:
    """The crop at the size that the backbone takes."""
    side = backbone.image_size
    return np.array(crop.resize((side, side), Image.Resampling.BICUBIC))


def pool(tokens: Float[np.ndarray, "g g c"], wanted: int) -> Float[np.ndarray, "t t c"]:
    """The mean over square blocks of cells.

    Raises `ExtractionError` if `wanted` does not divide g.
    """
    grid = tokens.shape[0]
    if grid % wanted:
        raise ExtractionError(
            f"expected a token grid that divides the backbone's {grid}, got {wanted}; choose "
            f"one of {[n for n in range(1, grid + 1) if grid % n == 0]}"
        )
    block = grid // wanted
    return tokens.reshape(wanted, block, wanted, block, -1).mean(axis=(1, 3))
