"""A page to look through masks that were made, and to strike out bad ones."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
from PIL import Image
from scipy import ndimage

from pony_jax.data.photographs import Photograph, read_whole
from pony_jax.data.picture_files import open_photograph

_TILE_PX = 160
_OUTLINE_RGB = (255, 40, 120)


class MaskTile(NamedTuple):
    """A photograph on the page."""

    photograph: Photograph
    reason: str | None  # why it is left out
    has_animal: bool


def render_masks_page(tiles: Sequence[MaskTile], struck_out_file: str) -> str:
    """HTML of one file: photographs with outlines, those that are kept before those left out.

    A click on a photograph adds its name to the lines that are to be put into `struck_out_file`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    rows = [
        {"name": tile.photograph.id, "reason": tile.reason, "jpeg": _jpeg(tile)} for tile in tiles
    ]
    return environment.get_template("masks.html").render(
        kept=[row for row in rows if row["reason"] is None],
        left_out=[row for row in rows if row["reason"] is not None],
        struck_out_file=struck_out_file,
    )


def _jpeg(tile: MaskTile) -> str:
    """The photograph in base64, with the outline of the mask if there is one."""
    if tile.has_animal:
        image, mask = read_whole(tile.photograph)
    else:
        image, mask = open_photograph(tile.photograph.image_path), None
    image.thumbnail((_TILE_PX, _TILE_PX))
    pixels = np.array(image)
    if mask is not None:
        is_animal = np.asarray(mask.resize(image.size, Image.Resampling.BOX)) > 127
        pixels[ndimage.binary_dilation(is_animal) & ~is_animal] = _OUTLINE_RGB
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
