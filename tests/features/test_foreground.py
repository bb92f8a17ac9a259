"""The foreground classifier: what it learns, and what it refuses."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("sklearn", reason="scikit-learn comes with the extra 'extract'")

from pony_jax.features.backbones import Tokens
from pony_jax.features.foreground import fit_foreground
from pony_jax.features.scenes import MaskedPicture, place_in, without_animal


class _Colours:
    name, image_size, weights_sha256 = "colours", 64, "0" * 64

    def __call__(self, image):
        mean = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3)).astype(np.float32) / 255
        return Tokens(mean, mean)


def _picture(number: int) -> MaskedPicture:
    """A dark red animal on noise without red."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (60, 90, 3), np.uint8)
    pixels[..., 0] //= 4
    image, mask = Image.fromarray(pixels), Image.new("L", (90, 60))
    box = (15 + number, 10, 55 + number, 50)
    ImageDraw.Draw(image).ellipse(box, fill=(220, 30 + number, 60))
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return MaskedPicture(image, mask)


def test_it_tells_animals_from_surroundings():
    classifier = fit_foreground(_Colours(), (_picture(i) for i in range(8)), 8)
    animal, surroundings = np.float32([[0.85, 0.15, 0.2], [0.12, 0.5, 0.5]])
    assert classifier(animal) > 0.9 and classifier(surroundings) < 0.1
    again = fit_foreground(_Colours(), (_picture(i) for i in range(8)), 8)
    np.testing.assert_array_equal(classifier.weights, again.weights)
    assert classifier.arrays("foreground").keys() == {"foreground/weights", "foreground/bias"}


def test_pictures_without_animals_are_refused():
    image, _ = _picture(0)
    with pytest.raises(ValueError, match="expected photographs with animals to fit"):
        fit_foreground(_Colours(), [MaskedPicture(image, Image.new("L", image.size))], 1)


def test_scenes_keep_the_animal_and_say_where_it_is():
    rng = np.random.default_rng(0)
    behind = Image.new("RGB", (100, 80), (0, 0, 255))
    for number in range(5):
        image, mask = place_in(_picture(number), behind, rng)
        pixels, is_animal = np.asarray(image), np.asarray(mask) > 127
        assert image.size == mask.size == (100, 80) and is_animal.sum() > 50
        assert pixels[is_animal, 0].mean() > 150
        assert (pixels[np.asarray(mask) == 0] == [0, 0, 255]).all()


def test_the_animal_is_gone_from_its_surroundings():
    picture = _picture(3)
    pixels = np.asarray(without_animal(picture))
    outside = np.asarray(picture.mask) == 0
    assert pixels[~outside, 0].max() < 100
    far = np.zeros_like(outside)
    far[:, 75:] = True
    np.testing.assert_array_equal(pixels[far], np.asarray(picture.image)[far])
