"""What is measured of photographs for people."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pony_jax.data.photographs import crop_around
from pony_jax.data.picture_facts import measure, near_duplicates


def _picture(seed=0, size=(200, 160)):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 25, 3), np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def _mask(box, size=(200, 160)):
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def test_sizes_and_areas():
    facts = measure(crop_around(_picture(), _mask((50, 40, 150, 90))))
    assert (facts.width, facts.height, facts.crop_side) == (200, 160, 120)
    assert facts.area == pytest.approx(100 * 50 / 120**2)


@pytest.mark.parametrize(
    ("box", "truncated"),
    [
        ((50, 40, 150, 90), False),
        ((1, 40, 150, 90), False),
        ((0, 40, 150, 90), True),
        ((50, 0, 150, 90), True),
        ((50, 40, 200, 90), True),
        ((50, 40, 150, 160), True),
    ],
)
def test_an_animal_at_the_edge_is_truncated(box, truncated):
    assert measure(crop_around(_picture(), _mask(box))).truncated == truncated


def test_blur_takes_sharpness():
    mask = _mask((50, 40, 150, 90))
    picture = _picture().quantize(4).convert("RGB")  # areas of one colour have sharp edges
    sharp = measure(crop_around(picture, mask)).sharpness
    blurred = picture.filter(ImageFilter.GaussianBlur(4))
    assert 0 < measure(crop_around(blurred, mask)).sharpness < 0.1 * sharp
    flat = Image.new("RGB", (200, 160), (80, 90, 100))
    assert measure(crop_around(flat, mask)).sharpness == 0


def test_an_animal_thinner_than_a_pixel_has_no_sharpness():
    facts = measure(crop_around(_picture(size=(2000, 1600)), _mask((9, 9, 1900, 11), (2000, 1600))))
    assert facts.sharpness == 0


def test_the_same_picture_at_another_size_is_a_near_duplicate():
    mask = _mask((50, 40, 150, 90))
    pictures = [_picture(seed) for seed in range(300)]
    pictures[280] = pictures[3].resize((400, 320)).resize((200, 160))
    hashes = [measure(crop_around(picture, mask)).difference_hash for picture in pictures]
    assert near_duplicates(hashes) == [(3, 280)]
    assert near_duplicates(hashes[3:4]) == [] and near_duplicates([]) == []
