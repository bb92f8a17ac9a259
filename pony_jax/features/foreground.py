"""Which parts of a picture show the animal: a linear classifier of a backbone's tokens."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image
from scipy import special

from pony_jax.features.backbones import Backbone
from pony_jax.features.errors import ExtractionError
from pony_jax.features.scenes import MaskedPicture, place_in, without_animal
from pony_jax.features.square_views import Square, coverage, inside, view
from pony_jax.features.token_reader import backbone_tokens

_MAX_TOKENS = 100_000
"""Enough for some hundred weights; more only take time."""

_CROP_SCALES = (1.1, 1.6)
"""Sides of the crops that a search comes across on its way to the animal, over the animal's longer
side."""


@dataclasses.dataclass(frozen=True)
class ForegroundClassifier:
    """Logistic regression on the tokens `key` of a backbone."""

    weights: Float32[np.ndarray, " c"]
    bias: Float32[np.ndarray, ""]

    def __call__(self, key: Float[np.ndarray, "*g c"]) -> Float32[np.ndarray, "*g"]:
        """Share of each cell that the animal covers, as far as the token tells."""
        return special.expit(key @ self.weights + self.bias)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], prefix: str
    ) -> "ForegroundClassifier | None":
        """The one that `arrays` names so, None if there is none."""
        found = [arrays.get(f"{prefix}/{field.name}") for field in dataclasses.fields(cls)]
        return None if any(value is None for value in found) else cls(*found)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Its arrays for `np.savez`, named `prefix/weights` and `prefix/bias`."""
        return {f"{prefix}/{key}": value for key, value in dataclasses.asdict(self).items()}


def fit_foreground(
    backbone: Backbone, pictures: Iterable[MaskedPicture], num_pictures: int
) -> ForegroundClassifier:
    """Fits the classifier to photographs, which should be for training only.

    Each is looked at three times: whole, near the animal, and with the animal small in the
    surroundings of another photograph, since people's pictures show more surroundings than those
    of data sets do.

    Args:
      num_pictures: that there are, to know how many tokens of each to keep.

    Raises:
      ExtractionError: if no picture has an animal.
    """
    rng = np.random.default_rng(0)
    per_view = max(_MAX_TOKENS // max(3 * num_pictures, 1), 1)
    tokens, covered = [], []
    for looked_at in _views(pictures, rng, backbone.image_size):
        key = backbone_tokens(backbone, looked_at.image).key
        share = coverage(looked_at.mask, Square.of_picture(looked_at.mask.size), len(key))
        within = np.flatnonzero(looked_at.inside(len(key)))
        chosen = rng.choice(within, min(per_view, len(within)), replace=False)
        tokens.append(key.reshape(-1, key.shape[-1])[chosen])
        covered.append(share.reshape(-1)[chosen])
    if not tokens:
        raise ExtractionError(
            "expected photographs with animals to fit the foreground classifier to, found none"
        )
    return _fit(np.concatenate(tokens), np.concatenate(covered))


class _View(NamedTuple):
    """A square look at a picture of `picture_size` pixels, of which it shows `square`."""

    image: Image.Image
    mask: Image.Image
    picture_size: tuple[int, int]
    square: Square

    def inside(self, grid: int) -> np.ndarray:
        return inside(self.picture_size, self.square, grid)


def _views(
    pictures: Iterable[MaskedPicture], rng: np.random.Generator, side_px: int
) -> Iterator[_View]:
    behind: Image.Image | None = None
    for picture in pictures:
        box = picture.mask.getbbox()
        if box is None:
            continue
        whole = Square.of_picture(picture.image.size)
        near = _square_about(box, rng.uniform(*_CROP_SCALES), rng)
        shown = [
            MaskedPicture(
                view(picture.image, square, side_px),
                view(picture.mask, square, side_px, outside=0),
            )
            for square in (whole, near)
        ]
        for square, look in zip((whole, near), shown, strict=True):
            yield _View(*look, picture.image.size, square)
        surroundings = without_animal(shown[0])
        scene = place_in(picture, behind or surroundings, rng)
        yield _View(*scene, scene.image.size, Square.of_picture(scene.image.size))
        behind = surroundings


def _square_about(box: Sequence[float], scale: float, rng: np.random.Generator) -> Square:
    """A square that shows all of a box, not always in its middle."""
    middle = Square.around(*box, scale=scale)
    slack = (scale - 1) / 2 * middle.side / scale
    dx, dy = rng.uniform(-slack, slack, 2)
    return Square(middle.x0 + dx, middle.y0 + dy, middle.side)


def _fit(
    tokens: Float32[np.ndarray, "n c"], covered: Float32[np.ndarray, " n"]
) -> ForegroundClassifier:
    """Logistic regression with shares for labels: each token counts for both classes."""
    from sklearn.linear_model import LogisticRegression  # needed where classifiers are fitted

    mean, deviation = tokens.mean(axis=0), np.maximum(tokens.std(axis=0), 1e-6)
    scaled = (tokens - mean) / deviation
    labels = np.repeat([True, False], len(scaled))
    shares = np.concatenate([covered, 1 - covered])
    regression = LogisticRegression(solver="newton-cholesky", C=0.1, max_iter=20)
    regression.fit(np.concatenate([scaled, scaled]), labels, sample_weight=shares)
    weights = regression.coef_[0] / deviation
    bias = regression.intercept_[0] - mean @ weights
    return ForegroundClassifier(weights.astype(np.float32), np.asarray(bias, np.float32))
