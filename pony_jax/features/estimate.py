"""What an extraction will take, measured before it starts."""

import shutil
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pony_jax.data.file_contents import printable
from pony_jax.data.schema import FEATURE_DIM
from pony_jax.features.backbones import Backbone
from pony_jax.features.errors import ExtractionError
from pony_jax.features.extraction import FeatureSizes
from pony_jax.features.token_reader import backbone_tokens

_PIXEL_BYTES = 0.5  # of a stored crop with its mask, JPEG of quality 95 and PNG
_FEATURE_SHARE = 0.4  # what zlib leaves of pixel features, which are 0 off the animal


class Estimate(NamedTuple):
    """Attributes: size of the data set in bytes, time of the backbone alone in seconds."""

    size_bytes: float
    time_s: float

    def __str__(self) -> str:
        minutes = self.time_s / 60
        return f"about {self.size_bytes / 2**20:.0f} MiB, at least " + (
            f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{self.time_s:.0f} s"
        )


def estimate(
    backbone: Backbone,
    sizes: FeatureSizes,
    image_size: int,
    crop: Image.Image,
    num_looks: int,
    num_examples: int,
) -> Estimate:
    """Looks at `crop` to see how long the backbone takes.

    Args:
      num_looks: pictures that the backbone will look at.
    """
    tokens = backbone_tokens(backbone, crop)  # the first look compiles
    start_s = time.monotonic()
    backbone_tokens(backbone, crop)
    look_s = time.monotonic() - start_s
    width = sizes.token_dim or tokens.key.shape[-1]
    token_bytes = 2 * 2 * sizes.token_grid**2 * width * np.dtype(np.float16).itemsize
    feature_bytes = 2 * sizes.feature_size**2 * FEATURE_DIM * _FEATURE_SHARE
    example_bytes = token_bytes + feature_bytes + image_size**2 * _PIXEL_BYTES
    return Estimate(num_examples * example_bytes, num_looks * look_s)


def check_room(needed_bytes: float, folder: Path) -> None:
    """Raises `ExtractionError` if the disk of `folder`, which may not exist yet, has not enough."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free_bytes = shutil.disk_usage(there).free
    if needed_bytes > free_bytes:
        raise ExtractionError(
            f"expected about {needed_bytes / 2**30:.1f} GiB of room in {printable(folder)}, found "
            f"{free_bytes / 2**30:.1f}; choose another --data_dir, or smaller sizes"
        )
