"""The linear maps from a backbone's tokens to the arrays of an example."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from pony_jax.features.errors import ExtractionError
from pony_jax.features.token_statistics import Components, TokenStatistics

_LOW_PERCENTILE, _HIGH_PERCENTILE = 1.0, 99.0
"""The range of a feature channel: what lies outside is clipped, so that a few odd tokens do not
squeeze all others together."""


_MIN_SPREAD = 1e-6
"""Tokens that differ by a smaller share of their size are the same but for rounding."""


@dataclasses.dataclass(frozen=True)
class Projection:
    """Principal components of tokens: (x - mean) @ basis, then (... - offset) / scale."""

    mean: Float32[np.ndarray, " c"]
    basis: Float32[np.ndarray, "c d"]
    offset: Float32[np.ndarray, " d"]
    scale: Float32[np.ndarray, " d"]

    def __call__(self, tokens: Float[np.ndarray, "... c"]) -> Float32[np.ndarray, "... d"]:
        return ((tokens - self.mean) @ self.basis - self.offset) / self.scale

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str) -> "Projection":
        """The one that `arrays` names so. Raises `ExtractionError` if they are none."""
        names = [field.name for field in dataclasses.fields(cls)]
        found = {name: arrays.get(f"{prefix}/{name}") for name in names}
        if missing := [name for name, value in found.items() if value is None]:
            raise ExtractionError(f"expected a projection {prefix!r}, found no {missing[0]} of it")
        dims = found["basis"].shape
        shapes = {"mean": dims[:1], "basis": dims, "offset": dims[1:], "scale": dims[1:]}
        for name, value in found.items():
            if len(dims) != 2 or value.shape != shapes[name] or value.dtype != np.float32:
                raise ExtractionError(
                    f"expected a projection {prefix!r} of float32, found {prefix}/{name} of "
                    f"{value.dtype} and shape {value.shape}"
                )
            if not np.isfinite(value).all():
                raise ExtractionError(f"expected finite numbers in {prefix}/{name}, found others")
        return cls(**found)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Its arrays for `np.savez`, named `prefix/mean` and so on."""
        return {f"{prefix}/{key}": value for key, value in dataclasses.asdict(self).items()}


class Fitted(NamedTuple):
    """A projection and, for each of its channels, the share of the tokens' variance in it."""

    projection: Projection
    explained_variance: Float[np.ndarray, " d"]


def fit_features(tokens: TokenStatistics, num_channels: int) -> Fitted:
    """Onto the leading components of foreground tokens, mapped so that 0..1 holds 98 % of each.

    The caller clips. Raises `ExtractionError` if there are fewer tokens or channels than
    components.
    """
    components = tokens.leading_components(num_channels)
    projected = (tokens.sample() - components.mean) @ components.basis
    low, high = np.percentile(projected, [_LOW_PERCENTILE, _HIGH_PERCENTILE], axis=0)
    return _fitted(components, offset=low, scale=np.maximum(high - low, 1e-6))


def fit_tokens(tokens: TokenStatistics, num_channels: int) -> Fitted:
    """Onto the leading components, all divided by one number: unit variance on average.

    One number, not one a channel: distances between tokens stay as the backbone made them, and its
    faintest components are not blown up to the size of the strongest. Raises `ExtractionError` like
    `fit_features`, and if all tokens are the same.
    """
    components = tokens.leading_components(num_channels)
    deviation = np.sqrt(components.variance.mean())
    if deviation <= _MIN_SPREAD * np.sqrt(tokens.mean_square):
        raise ExtractionError(
            "expected photographs that differ, got tokens that are all the same; give others"
        )
    scale = np.full(num_channels, deviation)
    return _fitted(components, offset=np.zeros(num_channels), scale=scale)


def upsample_foreground(
    grid: Float[np.ndarray, "g g c"],
    coverage: Float[np.ndarray, "g g"],
    is_animal: Bool[np.ndarray, "p p"],
) -> Float32[np.ndarray, "p p c"]:
    """A token grid brought to pixels, bilinearly between foreground tokens only; 0 off the animal.

    `coverage` is the share of each cell that the animal covers: the background, of which the PCA
    knows nothing, does not bleed into the rim of the animal.
    """
    weights = np.maximum(coverage, 1e-4)[..., None]  # a thin limb may cover next to nothing
    rows = _interpolation(grid.shape[0], is_animal.shape[0])
    total = np.einsum("yp,pqc,xq->yxc", rows, grid * weights, rows, optimize=True)
    weight = np.einsum("yp,pqc,xq->yxc", rows, weights, rows, optimize=True)
    return np.where(is_animal[..., None], total / weight, 0).astype(np.float32)


def _fitted(components: Components, *, offset: np.ndarray, scale: np.ndarray) -> Fitted:
    arrays = (components.mean, components.basis, offset, scale)
    projection = Projection(*(np.asarray(array, np.float32) for array in arrays))
    return Fitted(projection, components.variance_share)


def _interpolation(num_in: int, num_out: int) -> Float32[np.ndarray, "out in"]:
    """Bilinear weights along one axis, half-pixel centres, borders clamped."""
    position = np.clip((np.arange(num_out) + 0.5) * num_in / num_out - 0.5, 0, num_in - 1)
    distance = np.abs(position[:, None] - np.arange(num_in))
    return np.maximum(0, 1 - distance).astype(np.float32)
