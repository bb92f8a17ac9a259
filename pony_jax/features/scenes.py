"""Pictures made of pictures: an animal in the surroundings of another one."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

_SCENE_SCALES = (1.3, 5.0)
"""Shorter side of the scenes that animals are put into, over the animal's longer side."""


class MaskedPicture(NamedTuple):
    """A whole photograph (RGB) and which part of it is the animal (L, 255), of one size."""

    image: Image.Image
    mask: Image.Image


def place_in(
    picture: MaskedPicture, behind: Image.Image, rng: np.random.Generator
) -> MaskedPicture:
    """The animal of a picture, small and somewhere in other surroundings.

    Args:
      behind: the surroundings.
      rng: draws its size and place.
    """
    box = picture.mask.getbbox()
    animal, outline = picture.image.crop(box), picture.mask.crop(box)
    scale = min(behind.size) / (np.exp(rng.uniform(*np.log(_SCENE_SCALES))) * max(animal.size))
    size = tuple(max(round(side * scale), 1) for side in animal.size)
    corner = tuple(
        int(rng.integers(0, max(room - side, 0) + 1))
        for side, room in zip(size, behind.size, strict=True)
    )
    animal, outline = animal.resize(size), outline.resize(size)
    scene, where = behind.copy(), Image.new("L", behind.size)
    scene.paste(animal, corner, outline)
    where.paste(outline, corner)
    return MaskedPicture(scene, where)


def without_animal(picture: MaskedPicture) -> Image.Image:
    """The picture with blurred surroundings where the animal was."""
    pixels = np.asarray(picture.image)
    hidden = ndimage.binary_dilation(np.asarray(picture.mask) > 64, iterations=4)
    if hidden.all():
        return picture.image
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled = pixels[tuple(nearest)]
    smooth = ndimage.gaussian_filter(filled.astype(np.float32), (6, 6, 0))
    return Image.fromarray(np.where(hidden[..., None], smooth, pixels).astype(np.uint8))
