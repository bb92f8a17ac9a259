"""Photographs with masks: where they lie, which are good, and the square crop around the animal."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from pony_jax.data.picture_files import BadPhotographError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

CROP_SCALE = 1.2
"""Side of the crop over the longer side of the mask's bounding box."""

_MAX_ASPECT_RATIO_ERROR = 0.02
"""A mask made at another size may differ from the photograph by this share in width over height,
which is what rounding to whole pixels does to masks of some hundred pixels."""

_MIN_SPECK = 0.002
"""Connected parts of a mask smaller than this share of it are noise of JPEG compression."""


class Photograph(NamedTuple):
    """One photograph on disk."""

    id: str
    split: str  # 'train' or 'test'
    image_path: Path
    mask_path: Path
    box_path: Path | None = None  # if there: the files are crops already, and this is their box


class Crop(NamedTuple):
    """The square around the animal, at the photograph's own resolution."""

    image: Image.Image  # RGB
    mask: Image.Image  # L, 255 = animal
    box: Float32[np.ndarray, " 8"]  # schema.BOX_FIELDS


def find_pairs(
    image_dir: str | os.PathLike[str], mask_dir: str | os.PathLike[str], *, test_every: int = 10
) -> list[Photograph]:
    """The photographs of `image_dir` that have a mask of the same stem in `mask_dir`, by name.

    Photographs 0, `test_every`, 2 `test_every`, ... are the test split, the others `train`; 0 means
    no test split. Raises `FileNotFoundError` when a folder is missing or holds no pair.
    """
    images, masks = _images_by_stem(image_dir), _images_by_stem(mask_dir)
    stems = sorted(images.keys() & masks.keys())
    if not stems:
        raise FileNotFoundError(
            f"expected masks in {mask_dir} named like the images in {image_dir} (any of "
            f"{', '.join(IMAGE_SUFFIXES)}), found {len(images)} images and {len(masks)} masks but "
            "no pair; give the folders with --images and --masks"
        )
    return [
        Photograph(stem, split_of(position, test_every), images[stem], masks[stem])
        for position, stem in enumerate(stems)
    ]


def split_of(position: int, test_every: int) -> str:
    """The split of the photograph at `position` in a sorted list, bad ones counted too."""
    return "test" if test_every and position % test_every == 0 else "train"


def read_crop(photograph: Photograph) -> Crop:
    """Decodes a photograph and its mask and cuts out the square around the animal.

    Raises `BadPhotographError`.
    """
    image, mask = read_whole(photograph)
    if photograph.box_path is not None:
        return Crop(image, mask, _read_box(photograph))
    return crop_around(image, mask)


def read_whole(photograph: Photograph) -> tuple[Image.Image, Image.Image]:
    """Decodes a photograph (RGB) and its mask (L, 0 and 255), of one size.

    A mask of another size is scaled to the photograph if it has the same proportions. Raises
    `BadPhotographError`.
    """
    image = _open(photograph, photograph.image_path).convert("RGB")
    mask = _open(photograph, photograph.mask_path).convert("L")
    proportions = (image.width * mask.height) / (image.height * mask.width)
    if abs(proportions - 1) > _MAX_ASPECT_RATIO_ERROR:
        raise BadPhotographError(
            f"{photograph.id}: expected a mask of the photograph's proportions "
            f"{image.width}x{image.height}, found {mask.width}x{mask.height}; make the mask again"
        )
    if mask.size != image.size:
        mask = mask.resize(image.size, Image.Resampling.BILINEAR)
    is_animal = _without_specks(np.asarray(mask) > 127)
    if not is_animal.any():
        raise BadPhotographError(
            f"{photograph.id}: expected a mask with foreground (brighter than half), found none in "
            f"{photograph.mask_path}; make the mask again"
        )
    return image, Image.fromarray(np.where(is_animal, 255, 0).astype(np.uint8))


def crop_around(image: Image.Image, mask: Image.Image) -> Crop:
    """Cuts out the square around the animal, of a mask that is not empty.

    The square is `CROP_SCALE` times the longer side of the mask's bounding box, about its centre;
    beyond the photograph it is black and off the animal.
    """
    left, top, right, bottom = mask.getbbox()
    side = int(np.ceil(CROP_SCALE * max(right - left, bottom - top)))
    return crop_square(
        image, mask, round((left + right - side) / 2), round((top + bottom - side) / 2), side
    )


def crop_square(image: Image.Image, mask: Image.Image, x0: int, y0: int, side: int) -> Crop:
    """Cuts out a square of pixels; beyond the photograph it is black and off the animal."""
    corners = (x0, y0, x0 + side, y0 + side)
    box = np.array([0, x0, y0, side, side, image.width, image.height, 0], np.float32)
    return Crop(image.crop(corners), mask.crop(corners), box)


def split_good_from_bad(
    photographs: Sequence[Photograph],
) -> tuple[list[Photograph], list[BadPhotographError]]:
    """Tries to read every photograph. Raises `ValueError` if none is good."""
    good, bad = [], []
    for photograph in photographs:
        try:
            read_crop(photograph)
        except BadPhotographError as error:
            bad.append(error)
        else:
            good.append(photograph)
    if not good:
        raise ValueError(
            f"expected photographs with masks, found {len(bad)} bad ones and no good one; the "
            f"first: {bad[0] if bad else 'none at all'}"
        )
    return good, bad


def _images_by_stem(folder: str | os.PathLike[str]) -> dict[str, Path]:
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"expected a folder of images at {folder}, found none; check the path"
        )
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.stem: path for path in paths}


def _open(photograph: Photograph, path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise BadPhotographError(
            f"{photograph.id}: expected a readable image at {path}, found a corrupt or missing one "
            f"({error}); replace or remove it"
        ) from error
    return image


def _read_box(photograph: Photograph) -> Float32[np.ndarray, " 8"]:
    """The original's `*_box.txt`: `schema.BOX_FIELDS`, the frame possibly as `0012_3`."""
    try:
        frame, *rest = photograph.box_path.read_text().split()[:8]
        box = np.array([frame.split("_")[0], *rest], np.float32)
    except (OSError, ValueError) as error:
        raise BadPhotographError(
            f"{photograph.id}: expected 8 numbers in {photograph.box_path}, found something else "
            f"({error}); remove the photograph"
        ) from error
    if box.shape != (8,):
        raise BadPhotographError(
            f"{photograph.id}: expected 8 numbers in {photograph.box_path}, found {box.size}; "
            "remove the photograph"
        )
    return box


def _without_specks(is_animal: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    labels, _ = ndimage.label(is_animal, np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    keep = areas >= _MIN_SPECK * is_animal.sum()
    keep[0] = False
    return keep[labels]
