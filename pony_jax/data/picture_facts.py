"""What can be measured of a photograph and its mask, for people who look through a data set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from pony_jax.data.photographs import Crop

_SHARPNESS_PX = 128  # side of the crop that sharpness is measured in, so that sizes can be compared
_MAX_HASH_DISTANCE = 5  # of 64 bits; chance alone gives two pictures about 32
_COMPARED_TOGETHER = 256  # hashes against all others, which bounds the memory


class PictureFacts(NamedTuple):
    """Of one photograph.

    Attributes:
      width, height: of the full photograph, pixels.
      crop_side: of the square around the animal, pixels of the photograph.
      area: share of the square that the animal covers.
      truncated: whether the animal touches an edge of the photograph.
      sharpness: variance of the Laplacian on the animal, with greys 0..1 and the square at 128
        pixels a side; photographs out of focus have less than about a tenth of sharp ones.
      difference_hash: 64 bits, which of two neighbouring cells of 9 x 8 is brighter; nearly the
        same for pictures that look alike.
    """

    width: int
    height: int
    crop_side: int
    area: float
    truncated: bool
    sharpness: float
    difference_hash: int


def measure(crop: Crop) -> PictureFacts:
    """The facts of a photograph, seen through the crop around its animal."""
    _, x0, y0, side, _, width, height, _ = crop.box
    scale = side / crop.image.width
    left, top, right, bottom = crop.mask.getbbox()
    grey = crop.image.convert("L")
    size = (_SHARPNESS_PX, _SHARPNESS_PX)
    small = np.asarray(grey.resize(size, Image.Resampling.BOX), np.float32) / 255
    on_animal = np.asarray(crop.mask.resize(size, Image.Resampling.BOX)) > 127
    details = ndimage.laplace(small)[on_animal]
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int32)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    return PictureFacts(
        width=int(width),
        height=int(height),
        crop_side=int(side),
        area=float((np.asarray(crop.mask) > 127).mean()),
        truncated=bool(
            x0 + left * scale < 1
            or y0 + top * scale < 1
            or x0 + right * scale > width - 1
            or y0 + bottom * scale > height - 1
        ),
        sharpness=float(details.var()) if details.size else 0.0,
        difference_hash=int.from_bytes(bits.tobytes(), "big"),
    )


def near_duplicates(hashes: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of positions, the smaller first, whose difference hashes are nearly the same."""
    bits = np.array(hashes, np.uint64)
    pairs = []
    for start in range(0, len(bits), _COMPARED_TOGETHER):
        block = bits[start : start + _COMPARED_TOGETHER, None] ^ bits[None, start:]
        rows, columns = np.nonzero(np.bitwise_count(block) <= _MAX_HASH_DISTANCE)
        pairs += [
            (start + int(row), start + int(column))
            for row, column in zip(rows, columns, strict=True)
            if row < column
        ]
    return sorted(pairs)
