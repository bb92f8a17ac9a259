"""One picture that shows whether features tell parts apart: the same part, the same colour."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_TILE_PX = 128


def contact_sheet(
    images: Sequence[UInt8[np.ndarray, "s s 3"]],
    features: Sequence[UInt8[np.ndarray, "p p c"]],
    *,
    num_columns: int = 8,
) -> UInt8[np.ndarray, "h w 3"]:
    """Rows of photographs, each above their first three feature channels as red, green, blue."""
    rows = []
    for start in range(0, len(images), num_columns):
        for pictures in (images, features):
            tiles = [_tile(picture[..., :3]) for picture in pictures[start : start + num_columns]]
            tiles += [np.zeros_like(tiles[0])] * (num_columns - len(tiles))
            rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows, axis=0)


def _tile(picture: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "t t 3"]:
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize((_TILE_PX, _TILE_PX))
    return np.asarray(resized)
