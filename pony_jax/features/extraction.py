"""Photographs in, feature arrays out: fit the projections once, then apply them to each crop."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from pony_jax.features import projection
from pony_jax.features.backbones import Backbone
from pony_jax.features.errors import ExtractionError, NonFiniteFeaturesError

_MIN_COVERAGE = 0.5
"""A cell is foreground for the PCA if the animal covers more than this share of it."""


@dataclasses.dataclass(frozen=True)
class FeatureSizes:
    """Sizes of the arrays made: P = feature_size, T = token_grid, d = token_dim."""

    feature_size: int
    feature_dim: int
    token_grid: int
    token_dim: int


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A backbone with its fitted projections."""

    backbone: Backbone
    sizes: FeatureSizes
    feature: projection.Projection
    patch_key: projection.Projection
    patch_out: projection.Projection

    def __call__(self, image: Image.Image, mask: Image.Image) -> dict[str, np.ndarray]:
        """`feature`, `patch_key` and `patch_out` of a square RGB crop and its mask (L).

        Raises `NonFiniteFeaturesError` if one of them is not finite.
        """
        tokens = self.backbone(_backbone_pixels(image, self.backbone))
        pixels = (self.sizes.feature_size, self.sizes.feature_size)
        is_animal = np.asarray(mask.resize(pixels, Image.Resampling.BOX)) > 127
        feature = projection.upsample_foreground(
            np.clip(self.feature(_unit_length(tokens.key)), 0, 1),
            _coverage(mask, tokens.key.shape[0]),
            is_animal,
        )
        with np.errstate(all="ignore"):  # what is not finite is found below
            patches = {
                "patch_key": self.patch_key(_pool(tokens.key, self.sizes)).astype(np.float16),
                "patch_out": self.patch_out(_pool(tokens.out, self.sizes)).astype(np.float16),
            }
        if not all(np.isfinite(values).all() for values in (feature, *patches.values())):
            raise NonFiniteFeaturesError(
                f"expected finite features from {self.backbone.name}, got NaN or infinity; remove "
                "the photograph"
            )
        return {"feature": np.rint(feature * 255).astype(np.uint8), **patches}

    def projection_arrays(self) -> dict[str, np.ndarray]:
        """The three projections as `np.savez` takes them."""
        names = ("feature", "patch_key", "patch_out")
        return {k: v for name in names for k, v in getattr(self, name).arrays(name).items()}


def fit_extractor(
    backbone: Backbone, sizes: FeatureSizes, crops: Iterable[tuple[Image.Image, Image.Image]]
) -> Extractor:
    """Fits the projections to (image, mask) crops, which should be training photographs only.

    Pixel features are fitted to the tokens on the animal, patch tokens to all of them. Raises
    `ExtractionError` if the crops have too few tokens, or `token_grid` does not divide the
    backbone's.
    """
    foreground, keys, outs = [], [], []
    for image, mask in crops:
        tokens = backbone(_backbone_pixels(image, backbone))
        covered = _coverage(mask, tokens.key.shape[0]) > _MIN_COVERAGE
        foreground.append(_unit_length(tokens.key[covered]))
        keys.append(_pool(tokens.key, sizes).reshape(-1, tokens.key.shape[-1]))
        outs.append(_pool(tokens.out, sizes).reshape(-1, tokens.out.shape[-1]))
    if not keys:
        raise ExtractionError("expected training photographs to fit the PCA to, found none")
    return Extractor(
        backbone,
        sizes,
        feature=projection.fit_features(np.concatenate(foreground), sizes.feature_dim),
        patch_key=projection.fit_tokens(np.concatenate(keys), sizes.token_dim),
        patch_out=projection.fit_tokens(np.concatenate(outs), sizes.token_dim),
    )


def _backbone_pixels(image: Image.Image, backbone: Backbone) -> UInt8[np.ndarray, "s s 3"]:
    return np.array(
        image.resize((backbone.image_size, backbone.image_size), Image.Resampling.BICUBIC)
    )


def _coverage(mask: Image.Image, grid: int) -> Float32[np.ndarray, "g g"]:
    """Share of each cell that the animal covers."""
    return np.asarray(mask.resize((grid, grid), Image.Resampling.BOX), np.float32) / 255


def _unit_length(tokens: Float[np.ndarray, "... c"]) -> Float[np.ndarray, "... c"]:
    return tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)


def _pool(tokens: Float[np.ndarray, "g g c"], sizes: FeatureSizes) -> Float[np.ndarray, "t t c"]:
    """The mean over square blocks of cells."""
    grid, wanted = tokens.shape[0], sizes.token_grid
    if grid % wanted:
        raise ExtractionError(
            f"expected a token grid that divides the backbone's {grid}, got {wanted}; choose "
            f"one of {[n for n in range(1, grid + 1) if grid % n == 0]}"
        )
    block = grid // wanted
    return tokens.reshape(wanted, block, wanted, block, -1).mean(axis=(1, 3))
