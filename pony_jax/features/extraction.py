"""Photographs in, feature arrays out: fit the projections once, then apply them to each crop."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image

from pony_jax.features import projection
from pony_jax.features.backbones import Backbone
from pony_jax.features.errors import ExtractionError, NonFiniteFeaturesError
from pony_jax.features.token_reader import TokenReader, backbone_tokens, pool
from pony_jax.features.token_statistics import TokenStatistics

_MIN_COVERAGE = 0.5
"""A cell is foreground for the PCA if the animal covers more than this share of it."""


@dataclasses.dataclass(frozen=True)
class FeatureSizes:
    """Sizes of the arrays made: P = feature_size, T = token_grid, d = token_dim.

    A `token_dim` of 0 asks for the backbone's own channels, without a PCA.
    """

    feature_size: int
    feature_dim: int
    token_grid: int
    token_dim: int


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A backbone with its fitted projections.

    Attributes:
      sizes: with the true number of channels, also where there is no PCA of tokens.
      explained_variance: for each projection that was fitted, and each of its channels, the share
        of the variance of the tokens that it was fitted to.
    """

    reader: TokenReader
    sizes: FeatureSizes
    feature: projection.Projection
    explained_variance: Mapping[str, Float[np.ndarray, " d"]]

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

    @classmethod
    def from_arrays(
        cls, backbone: Backbone, sizes: FeatureSizes, arrays: Mapping[str, np.ndarray]
    ) -> "Extractor":
        """The extractor of `projection_arrays`, without what they were fitted to.

        Raises `ExtractionError` if they are damaged.
        """
        feature = projection.Projection.from_arrays(arrays, "feature")
        has_tokens = any(name.startswith("patch_key/") for name in arrays)
        if has_tokens:
            patches = [
                projection.Projection.from_arrays(arrays, name)
                for name in ("patch_key", "patch_out")
            ]
        else:
            patches = [None, None]
            sizes = dataclasses.replace(sizes, token_dim=len(feature.mean))
        return cls(TokenReader(backbone, sizes.token_grid, *patches), sizes, feature, {})

    def projection_arrays(self) -> dict[str, np.ndarray]:
        """The projections that there are, as `np.savez` takes them."""
        there = {
            "feature": self.feature,
            "patch_key": self.reader.patch_key,
            "patch_out": self.reader.patch_out,
        }
        return {
            name: array
            for prefix, one in there.items()
            if one is not None
            for name, array in one.arrays(prefix).items()
        }


def fit_extractor(
    backbone: Backbone,
    sizes: FeatureSizes,
    crops: Iterable[tuple[Image.Image, Image.Image]],
    max_bytes: int = 512 * 2**20,
) -> Extractor:
    """Fits the projections to (image, mask) crops, which should be training photographs only.

    Pixel features are fitted to the tokens on the animal, patch tokens to all of them, in at most
    about `max_bytes` of memory (`TokenStatistics`). Raises `ExtractionError` if the crops have too
    few tokens, `token_grid` does not divide the backbone's, or `token_dim` is 0 and the backbone
    has not as many channels in `key` as in `out`.
    """
    names = ("feature",) if sizes.token_dim == 0 else ("feature", "patch_key", "patch_out")
    statistics = {name: TokenStatistics(max_bytes // len(names)) for name in names}
    widths = None
    for image, mask in crops:
        tokens = backbone_tokens(backbone, image)
        covered = _coverage(mask, tokens.key.shape[0]) > _MIN_COVERAGE
        statistics["feature"].add(_unit_length(tokens.key[covered]))
        widths = [values.shape[-1] for values in tokens]
        for name, values in zip(("patch_key", "patch_out"), tokens, strict=True):
            pooled = pool(values, sizes.token_grid)
            if name in statistics:
                statistics[name].add(pooled.reshape(-1, pooled.shape[-1]))
    if widths is None:
        raise ExtractionError("expected training photographs to fit the PCA to, found none")
    fitted = {"feature": projection.fit_features(statistics["feature"], sizes.feature_dim)}
    if sizes.token_dim:
        for name in names[1:]:
            fitted[name] = projection.fit_tokens(statistics[name], sizes.token_dim)
    else:
        sizes = dataclasses.replace(sizes, token_dim=_own_channels(backbone, *widths))
    projections = {name: one.projection for name, one in fitted.items()}
    return Extractor(
        TokenReader(
            backbone,
            sizes.token_grid,
            patch_key=projections.get("patch_key"),
            patch_out=projections.get("patch_out"),
        ),
        sizes,
        projections["feature"],
        {name: one.explained_variance for name, one in fitted.items()},
    )


def _own_channels(backbone: Backbone, num_key: int, num_out: int) -> int:
    if num_key != num_out:
        raise ExtractionError(
            f"expected a backbone with as many channels in its keys as in its outputs for "
            f"--token_dim=0, got {backbone.name} with {num_key} and {num_out}; ask for a number of "
            "channels, or choose another --backbone or --layers"
        )
    return num_key


def _coverage(mask: Image.Image, grid: int) -> Float32[np.ndarray, "g g"]:
    """Share of each cell that the animal covers."""
    return np.asarray(mask.resize((grid, grid), Image.Resampling.BOX), np.float32) / 255


def _unit_length(tokens: Float[np.ndarray, "... c"]) -> Float[np.ndarray, "... c"]:
    return tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
