"""Squares cut from a picture, as the foreground classifier looks at them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

OUTSIDE_RGB = (127, 127, 127)
"""Beyond the picture: what the backbone takes for 0, like the zeros its convolutions pad with."""


class Square(NamedTuple):
    """A square in a picture, which it may exceed; pixels, x right, y down from the top left."""

    x0: float
    y0: float
    side: float

    @classmethod
    def around(cls, x0: float, y0: float, x1: float, y1: float, scale: float) -> "Square":
        """The square about the middle of a box, `scale` times as long as its longer side."""
        side = scale * max(x1 - x0, y1 - y0)
        return cls((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side)

    @classmethod
    def of_picture(cls, size: tuple[int, int]) -> "Square":
        """The smallest square that shows all of a picture, width and height given."""
        return cls.around(0, 0, *size, scale=1.0)

    def overlap(self, other: "Square") -> float:
        """Intersection over union of both."""
        width, height = (
            max(min(a + self.side, b + other.side) - max(a, b), 0.0)
            for a, b in zip(self[:2], other[:2], strict=True)
        )
        shared = width * height
        return shared / max(self.side**2 + other.side**2 - shared, 1e-9)


def view(picture: Image.Image, square: Square, side_px: int, outside=OUTSIDE_RGB) -> Image.Image:
    """What a square shows, `side_px` pixels a side; `outside` beyond the picture.

    The picture may have any mode that `outside` is a colour of.
    """
    canvas = Image.new(picture.mode, (side_px, side_px), outside)
    scale = side_px / square.side
    x0, y0 = max(square.x0, 0.0), max(square.y0, 0.0)
    x1, y1 = (
        min(start + square.side, limit)
        for start, limit in zip(square[:2], picture.size, strict=True)
    )
    left, top = round((x0 - square.x0) * scale), round((y0 - square.y0) * scale)
    right, bottom = round((x1 - square.x0) * scale), round((y1 - square.y0) * scale)
    if right > left and bottom > top:
        size = (right - left, bottom - top)
        resampling = Image.Resampling.BICUBIC
        canvas.paste(picture.resize(size, resampling, box=(x0, y0, x1, y1)), (left, top))
    return canvas


def inside(size: tuple[int, int], square: Square, grid: int) -> Bool[np.ndarray, "g g"]:
    """Which cells of a square have their middle inside a picture of `size`."""
    middle = (np.arange(grid) + 0.5) * square.side / grid
    columns, rows = (
        (start + middle >= 0) & (start + middle < limit)
        for start, limit in zip(square[:2], size, strict=True)
    )
    return rows[:, None] & columns[None]


def coverage(mask: Image.Image, square: Square, grid: int) -> Float[np.ndarray, "g g"]:
    """Share of each cell of a square that a mask (L) covers."""
    fine = view(mask, square, 8 * grid, outside=0)
    return np.asarray(fine.resize((grid, grid), Image.Resampling.BOX), np.float32) / 255
