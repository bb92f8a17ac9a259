"""Photographs with masks: where they lie, which are good, and the square crop around the animal."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Bool, Float32
from PIL import Image
from scipy import ndimage

from pony_jax.data import picture_pairs
from pony_jax.data.coco_segmentation import Segmentation
from pony_jax.data.file_contents import printable
from pony_jax.data.keypoints import Keypoints
from pony_jax.data.mask_files import MaskLabel, read_mask
from pony_jax.data.picture_files import BadPhotographError, open_photograph
from pony_jax.data.picture_pairs import MissingPhotographsError

CROP_SCALE = 1.2
"""Side of the crop over the longer side of the mask's bounding box."""

_MAX_CROP_PIXELS = 89_478_485
"""A quarter of a GiB in colours; Pillow takes larger ones for an attack on the memory."""

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
    mask_path: Path | None  # None where there is a `segmentation`
    box_path: Path | None = None  # if there: the files are crops already, and this is their box
    mask_label: MaskLabel | None = None  # if there: the only label in the mask that is the animal
    truth_path: Path | None = None  # if there: the picture was rendered, and this is known of it
    keypoints: Keypoints | None = None  # if there: marked in the full photograph
    segmentation: Segmentation | None = None  # if there: the mask


class FoundPhotographs(list[Photograph]):
    """Photographs in the order of their names, and in `errors` a line for each file left out."""

    def __init__(self, photographs: Iterable[Photograph], errors: Iterable[BadPhotographError]):
        """Logs the errors."""
        super().__init__(photographs)
        self.errors = tuple(errors)
        for error in self.errors:
            logging.warning("skipped %s", error)


class Crop(NamedTuple):
    """The square around the animal, at the photograph's own resolution."""

    image: Image.Image  # RGB
    mask: Image.Image  # L, 255 = animal
    box: Float32[np.ndarray, " 8"]  # schema.BOX_FIELDS


def find_pairs(
    image_dir: str | os.PathLike[str],
    mask_dir: str | os.PathLike[str],
    *,
    test_every: int = 10,
    mask_label: MaskLabel | None = None,
) -> FoundPhotographs:
    """The photographs under `image_dir` that have a mask of the same name under `mask_dir`.

    A name is the path below the folder without its ending; `picture_pairs` says what is looked
    through and which names are the same. Photographs 0, `test_every`, 2 `test_every`, ... are the
    test split, the others `train`; 0 means no test split. `mask_label`: see `mask_files.RULE`.
    Files without partner are logged and returned as `errors`. Raises `MissingPhotographsError` when
    a folder is missing or holds no pair, `BadPhotographError` when both are the same.
    """
    is_one_folder = os.path.realpath(image_dir) == os.path.realpath(mask_dir)
    images = picture_pairs.find_picture_files(image_dir, () if is_one_folder else [mask_dir])
    masks = picture_pairs.find_picture_files(mask_dir, () if is_one_folder else [image_dir])
    if is_one_folder and images.pictures:
        raise BadPhotographError(
            f"expected images and masks in two folders, got {printable(image_dir)} for both; move "
            "the masks to a folder of their own"
        )
    pairs = picture_pairs.match_by_name(images.pictures, masks.pictures)
    errors = [
        *(error for files in (images, masks) for error in files.errors),
        *(picture_pairs.no_picture(path) for path in (*images.others, *masks.others)),
        *pairs.errors,
    ]
    if not pairs.by_name:
        raise MissingPhotographsError(
            f"expected masks in {printable(mask_dir)} named like the images in "
            f"{printable(image_dir)}, found {len(images.pictures)} images and "
            f"{len(masks.pictures)} masks but no pair"
            + (f" (such as {errors[-1]})" if errors else "")
            + "; give the folders with --images and --masks"
        )
    return FoundPhotographs(
        (
            Photograph(name, split_of(position, test_every), *paths, mask_label=mask_label)
            for position, (name, paths) in enumerate(pairs.by_name.items())
        ),
        errors,
    )


def split_of(position: int, test_every: int) -> str:
    """The split of the photograph at `position` in a sorted list, bad ones counted too."""
    return "test" if test_every and position % test_every == 0 else "train"


def read_crop(photograph: Photograph) -> Crop:
    """Decodes a photograph and its mask and cuts out the square around the animal.

    The square is that of `crop_around`. Raises `BadPhotographError`.
    """
    image, mask = read_whole(photograph)
    with _naming(photograph):
        if photograph.box_path is not None:
            return Crop(image, mask, _read_box(photograph))
        return crop_around(image, mask)


def read_whole(photograph: Photograph) -> tuple[Image.Image, Image.Image]:
    """Decodes a photograph (RGB) and its mask (L, 0 and 255), of one size.

    A mask of another size is scaled to the photograph if it has the same proportions. Raises
    `BadPhotographError`.
    """
    with _naming(photograph):
        image = open_photograph(photograph.image_path)
        if photograph.box_path is not None and image.width != image.height:
            raise BadPhotographError(
                f"expected a square crop, since it has a box, found {image.width}x{image.height}"
            )
        if photograph.segmentation is not None:
            return image, fit_mask(image, photograph.segmentation.draw(), "its segmentation")
        mask = read_mask(photograph.mask_path, photograph.mask_label)
        return image, fit_mask(image, mask, photograph.mask_path)


def fit_mask(
    image: Image.Image, mask: Image.Image, mask_name: str | os.PathLike[str]
) -> Image.Image:
    """The mask at the photograph's size, 0 and 255, without specks.

    Raises `BadPhotographError` if it has other proportions or shows nothing but specks.
    """
    if not _have_equal_proportions(image.size, mask.size):
        turned = _have_equal_proportions(image.size, mask.size[::-1])
        raise BadPhotographError(
            f"expected a mask of the photograph's proportions {image.width}x{image.height}, found "
            f"{mask.width}x{mask.height}"
            + (", as of a program that ignores EXIF orientations" if turned else "")
            + "; make the mask again"
        )
    if mask.size != image.size:
        mask = mask.resize(image.size, Image.Resampling.BILINEAR)
    is_animal = _without_specks(np.asarray(mask) > 127)
    if not is_animal.any():
        raise BadPhotographError(
            f"expected a mask with foreground in {printable(mask_name)}, found specks only; make "
            "the mask again"
        )
    return Image.fromarray(np.where(is_animal, 255, 0).astype(np.uint8))


@contextmanager
def _naming(photograph: Photograph) -> Iterator[None]:
    """Puts before a message which photograph cannot be used."""
    try:
        yield
    except BadPhotographError as error:
        raise BadPhotographError(f"{printable(photograph.id)}: {error}") from error


def crop_around(image: Image.Image, mask: Image.Image) -> Crop:
    """Cuts out the square around the animal, of a mask (0 and 255) that is not empty.

    The square is `CROP_SCALE` times the longer side of the mask's bounding box, about its centre;
    beyond the photograph it is black and off the animal. Raises `BadPhotographError` if the square
    is larger than any picture should be.
    """
    left, top, right, bottom = mask.getbbox()
    extent = max(right - left, bottom - top)
    side = int(np.ceil(CROP_SCALE * extent))
    if side * side > _MAX_CROP_PIXELS:
        raise BadPhotographError(
            f"expected an animal of at most {int(_MAX_CROP_PIXELS**0.5 / CROP_SCALE)} pixels in "
            f"length, found {extent}; make photograph and mask smaller"
        )
    x0, y0 = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return crop_square(image, mask, x0, y0, side)


def crop_square(image: Image.Image, mask: Image.Image, x0: int, y0: int, side: int) -> Crop:
    """Cuts out a square of pixels; beyond the photograph it is black and off the animal."""
    corners = (x0, y0, x0 + side, y0 + side)
    box = np.array([0, x0, y0, side, side, image.width, image.height, 0], np.float32)
    return Crop(image.crop(corners), mask.crop(corners), box)


def animal_at_size(crop: Crop, size: int) -> Bool[np.ndarray, "size size"]:
    """Where the animal covers more than half of a pixel, with the crop at `size` pixels a side."""
    return np.asarray(crop.mask.resize((size, size), Image.Resampling.BOX)) > 127


def split_good_from_bad(
    photographs: Sequence[Photograph],
    size: int | None = None,
    look_at: Callable[[Photograph, Crop], None] = lambda *_: None,
) -> tuple[list[Photograph], list[BadPhotographError]]:
    """Tries to read every photograph, and to see its animal with the crop at `size` pixels a side.

    `look_at` is called for each good one, since reading them takes time. Raises
    `BadPhotographError` if none is good.
    """
    good, bad = [], []
    for photograph in photographs:
        try:
            crop = read_crop(photograph)
            if size is not None and not animal_at_size(crop, size).any():
                raise BadPhotographError(
                    f"{printable(photograph.id)}: expected an animal that covers a pixel of {size} "
                    f"x {size}, found a thinner one; remove it or make the crops larger"
                )
        except BadPhotographError as error:
            bad.append(error)
        else:
            good.append(photograph)
            look_at(photograph, crop)
    if not good:
        raise BadPhotographError(
            f"expected photographs with masks, found {len(bad)} bad ones and no good one; the "
            f"first: {bad[0] if bad else 'none at all'}"
        )
    return good, bad


def _have_equal_proportions(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= _MAX_ASPECT_RATIO_ERROR


def _read_box(photograph: Photograph) -> Float32[np.ndarray, " 8"]:
    """The original's `*_box.txt`: `schema.BOX_FIELDS`, the frame possibly as `0012_3`."""
    try:
        frame, *rest = photograph.box_path.read_text().split()[:8]
        box = np.array([frame.split("_")[0], *rest], np.float32)
    except (OSError, ValueError) as error:
        found = f"something else ({error})"
    else:
        if box.shape == (8,) and np.isfinite(box).all() and (box[3:7] > 0).all():
            return box
        found = f"{box.size}: {' '.join(map(str, box))}"
    raise BadPhotographError(
        f"expected 8 numbers in {printable(photograph.box_path)}, finite and lengths above 0, "
        f"found {found}; remove the photograph"
    )


def _without_specks(is_animal: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    labels, _ = ndimage.label(is_animal, np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    keep = areas >= _MIN_SPECK * is_animal.sum()
    keep[0] = False
    return keep[labels]
