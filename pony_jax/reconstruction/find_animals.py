"""Finds the animals in a picture, for those who have no masks."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from pony_jax.features.foreground import ForegroundClassifier
from pony_jax.features.square_views import Square, view
from pony_jax.features.token_reader import TokenReader, backbone_tokens

_SEARCH_SCALE = 1.3
"""Side of the square that is looked at next, over the longer side of what was found."""

_MAX_LOOKS = 5
_SETTLED = 0.95
"""Overlap of two squares that are taken for the same."""

_FINE = 4
"""Points along the side of a cell at which its share is interpolated."""

_MIN_CELLS = 2.0
"""What covers less of a view than so many cells is taken for noise."""

_MIN_CONFIDENCE = 0.8
"""A part of a picture whose every cell is less likely the animal is not taken for one."""

_MIN_SHARE = 0.1
"""Animals smaller than this share of the largest one's area are part of the surroundings."""

_SAME_ANIMAL = 0.4
"""Overlap of two squares that are taken for looks at one animal."""


class Found(NamedTuple):
    """An animal in a picture.

    Attributes:
      box: left, top, right, bottom; pixels of the picture.
      area: that it covers, square pixels.
    """

    box: tuple[float, float, float, float]
    area: float

    def square(self, scale: float) -> Square:
        return Square.around(*self.box, scale=scale)


Look = Callable[[Square], Float[np.ndarray, "g g"]]
"""Probability that each cell of a square shows the animal."""


def find_animals(
    picture: Image.Image, reader: TokenReader, classifier: ForegroundClassifier
) -> list[Found]:
    """The animals in an RGB picture, largest first; empty where there is none.

    The classifier looks at the whole picture; then at the square around each part that looks like
    the animal, again and again until that square stays. Where the whole shows nothing, quarters and
    overlaps of them are searched, in which a small animal is twice as large.
    """
    side = reader.backbone.image_size

    def look(square: Square) -> Float[np.ndarray, "g g"]:
        return classifier(backbone_tokens(reader.backbone, view(picture, square, side)).key)

    whole = Square.of_picture(picture.size)
    found = [_settle(part, look) for part in _parts(look(whole), whole)]
    if not any(found):
        steps = (0, 0.25, 0.5)
        quarters = [
            Square(whole.x0 + dx * whole.side, whole.y0 + dy * whole.side, whole.side / 2)
            for dy in steps
            for dx in steps
        ]
        found = [_settle(part, look) for each in quarters for part in _parts(look(each), each)]
    return _distinct([_inside(picture, animal) for animal in found if animal])


def _settle(start: Found, look: Look) -> Found | None:
    """Looks again until what is found stays; None if a closer look does not show an animal."""
    found, square = start, start.square(_SEARCH_SCALE)
    for _ in range(_MAX_LOOKS):
        parts = list(_parts(look(square), square))
        if not parts:
            return None
        found = max(parts, key=lambda part: part.area)
        nearer = found.square(_SEARCH_SCALE)
        if square.overlap(nearer) > _SETTLED:
            break
        square = nearer
    return found


def _parts(probability: Float[np.ndarray, "g g"], square: Square) -> Iterator[Found]:
    """Connected parts of a view that look like the animal."""
    grid = len(probability)
    fine = ndimage.zoom(probability, _FINE, order=1, mode="nearest", grid_mode=True)
    labels, count = ndimage.label(fine > 0.5, np.ones((3, 3)))
    cell = square.side / grid
    for number, rows_columns in enumerate(ndimage.find_objects(labels, count), start=1):
        part = labels[rows_columns] == number
        cells = part.sum() / _FINE**2
        if cells < _MIN_CELLS or fine[rows_columns][part].max() < _MIN_CONFIDENCE:
            continue
        rows, columns = rows_columns
        box = (
            square.x0 + columns.start * cell / _FINE,
            square.y0 + rows.start * cell / _FINE,
            square.x0 + columns.stop * cell / _FINE,
            square.y0 + rows.stop * cell / _FINE,
        )
        yield Found(box, float(cells * cell**2))


def _inside(picture: Image.Image, found: Found) -> Found:
    """With the box cut off at the picture's borders."""
    left, top, right, bottom = found.box
    box = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
    return found._replace(box=box)


def _distinct(found: list[Found]) -> list[Found]:
    """Largest first, each animal once, without those that are far smaller than the largest."""
    kept: list[Found] = []
    for animal in sorted(found, key=lambda animal: -animal.area):
        is_new = all(animal.square(1).overlap(other.square(1)) < _SAME_ANIMAL for other in kept)
        if is_new and animal.area >= _MIN_SHARE * (kept[0].area if kept else 0):
            kept.append(animal)
    return kept


def box_of_mask(mask: Bool[np.ndarray, "h w"], square: Square) -> Found | None:
    """The largest connected part of a mask of a square; None where it is empty."""
    parts = list(_parts(mask.astype(np.float32), square))
    return max(parts, key=lambda part: part.area) if parts else None
