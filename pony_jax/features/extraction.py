"""Photographs in, feature arrays out: fit the projections once, then apply them to each crop."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image

from pony_jax.features import projection
from pony_jax.features.backbones import Backbone
from pony_jax.features.errors import ExtractionError, NonFiniteFeaturesError
from pony_jax.features.token_reader import TokenReader, backbone_tokens, pool

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

    reader: TokenReader
    sizes: FeatureSizes
    feature: projection.Projection

    def __call__(self, image: Image.Image, mask: Image.Image) -> dict[str, np.ndarray]:
        """`feature`, `patch_key` and `patch_out` of a square RGB crop and its mask (L).

        Raises `NonFiniteFeaturesError` if one of them is not finite.
        """
        tokens = backbone_tokens(self.reader.backbone, image)
        pixels = (self.sizes.feature_size, self.sizes.feature_size)
        is_animal = np.asarray(mask.resize(pixels, Image.Resampling.BOX)) > 127
        feature = projection.upsample_foreground(
            np.clip(self.feature(_unit_length(tokens.key)), 0, 1),
            _coverage(mask, tokens.key.shape[0]),
            is_animal,
        )
        with np.errstate(all="ignore"):  # what is not finite is found below
            patches = dict(zip(("patch_key", "patch_out"), self.reader.reduce(tokens), strict=True))
        if not all(np.isfinite(values).all() for values in (feature, *patches.values())):
            raise NonFiniteFeaturesError(
                f"expected finite features from {self.reader.backbone.name}, got NaN or infinity; "
                "remove the photograph"
            )
        return {"feature": np.rint(feature * 255).astype(np.uint8), **patches}

    def projection_arrays(self) -> dict[str, np.ndarray]:
        """The three projections as `np.savez` takes them."""
        return {
            **self.feature.arrays("feature"),
            **self.reader.patch_key.arrays("patch_key"),
            **self.reader.patch_out.arrays("patch_out"),
        }


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
        tokens = backbone_tokens(backbone, image)
        covered = _coverage(mask, tokens.key.shape[0]) > _MIN_COVERAGE
        foreground.append(_unit_length(tokens.key[covered]))
        keys.append(pool(tokens.key, sizes.token_grid).reshape(-1, tokens.key.shape[-1]))
        outs.append(pool(tokens.out, sizes.token_grid).reshape(-1, tokens.out.shape[-1]))
    if not keys:
        raise ExtractionError("expected training photographs to fit the PCA to, found none")
    reader = TokenReader(
        backbone,
        sizes.token_grid,
        patch_key=projection.fit_tokens(np.concatenate(keys), sizes.token_dim),
        patch_out=projection.fit_tokens(np.concatenate(outs), sizes.token_dim),
    )
    feature = projection.fit_features(np.concatenate(foreground), sizes.feature_dim)
    return Extractor(reader, sizes, feature)


def _coverage(mask: Image.Image, grid: int) -> Float32[np.ndarray, "g g"]:
    """Share of each cell that the animal covers."""
    return np.asarray(mask.resize((grid, grid), Image.Resampling.BOX), np.float32) / 255


def _unit_length(tokens: Float[np.ndarray, "... c"]) -> Float[np.ndarray, "... c"]:
    return tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
