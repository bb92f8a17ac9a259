"""One picture that shows whether features tell parts apart: the same part, the same colour."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_TILE_PX = 128


def contact_sheet(
    *kinds: Sequence[UInt8[np.ndarray, "s t c"]], num_columns: int = 8
) -> UInt8[np.ndarray, "h w 3"]:
    """Rows of pictures of one kind, such as photographs, each above those of the next kind.

    Of pictures with more than three channels the first three are red, green and blue; those with
    one are grey.
    """
    rows = []
    for start in range(0, len(kinds[0]), num_columns):
        for pictures in kinds:
            tiles = [_tile(picture[..., :3]) for picture in pictures[start : start + num_columns]]
            tiles += [np.zeros_like(tiles[0])] * (num_columns - len(tiles))
            rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows, axis=0)


def _tile(picture: UInt8[np.ndarray, "s t c"]) -> UInt8[np.ndarray, "t t 3"]:
    colours = np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))
    resized = Image.fromarray(colours).resize((_TILE_PX, _TILE_PX))
    return np.asarray(resized)
