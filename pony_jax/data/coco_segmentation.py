"""Masks as COCO's annotation files hold them: polygons or run lengths."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from pony_jax.errors import UserError

_POINTS_PER_PIXEL = 4  # along each side, at which it is seen whether a polygon covers them


class SegmentationError(UserError, ValueError):
    """A segmentation that cannot be drawn."""


class Segmentation(NamedTuple):
    """The mask of one animal, of a picture of `width` x `height` pixels.

    Attributes:
      polygons: x, y, x, y, ... of the corners of each, pixels from the picture's top left corner;
        empty where there are `run_lengths`.
      run_lengths: of pixels off, on, off, ... the animal, column by column from the top left.
    """

    width: int
    height: int
    polygons: tuple[tuple[float, ...], ...] = ()
    run_lengths: tuple[int, ...] = ()

    def draw(self) -> Image.Image:
        """The mask (L, 255 = animal)."""
        if self.run_lengths:
            is_animal = np.arange(len(self.run_lengths)) % 2
            pixels = np.repeat(is_animal, self.run_lengths).reshape(self.width, self.height).T
            return Image.fromarray((pixels * 255).astype(np.uint8))
        fine = Image.new("L", (self.width * _POINTS_PER_PIXEL, self.height * _POINTS_PER_PIXEL))
        drawing = ImageDraw.Draw(fine)
        for polygon in self.polygons:
            # Pillow's whole numbers are the middles of pixels, COCO's their corners.
            corners = np.array(polygon) * _POINTS_PER_PIXEL - 0.5
            drawing.polygon(list(map(tuple, corners.reshape(-1, 2))), fill=255)
        covered = np.asarray(fine.reduce(_POINTS_PER_PIXEL)) > 127
        return Image.fromarray((covered * 255).astype(np.uint8))


def parse_segmentation(stored: Any, width: int, height: int) -> Segmentation:
    """The `segmentation` of an annotation; `width` and `height` are those of its image.

    Raises `SegmentationError` where it is neither polygons nor run lengths of that size.
    """
    if isinstance(stored, Mapping):
        counts = stored.get("counts", ())
        if tuple(stored.get("size", ())) != (height, width):
            raise SegmentationError(
                f"expected run lengths of {height} rows and {width} columns, found "
                f"{stored.get('size')}; export the annotations again"
            )
        lengths = _decompressed(counts) if isinstance(counts, str) else tuple(counts)
        if sum(lengths) != width * height or min(lengths, default=-1) < 0:
            raise SegmentationError(
                f"expected run lengths that sum to {width * height} pixels, found {sum(lengths)}; "
                "export the annotations again"
            )
        return Segmentation(width, height, run_lengths=lengths)
    polygons = tuple(tuple(map(float, polygon)) for polygon in stored or ())
    if not polygons or any(len(each) < 6 or len(each) % 2 for each in polygons):
        raise SegmentationError(
            "expected polygons of at least three corners, found "
            f"{[len(each) // 2 for each in polygons] or 'none'}; export the annotations again"
        )
    return Segmentation(width, height, polygons)


def _decompressed(text: str) -> tuple[int, ...]:
    """Run lengths of COCO's compressed form.

    A number is a row of characters from code 48 on, each with five bits, the lowest first, and a
    sixth that says that another one follows; the last one's fifth bit is the sign. From the fourth
    number on, what is stored is the difference to the number two before.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return tuple(lengths)
