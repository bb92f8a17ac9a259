"""Animals are found where they are, whole pictures and parts of them."""

import numpy as np
import pytest

from pony_jax.features.square_views import Square, inside, view
from pony_jax.features.token_reader import TokenReader
from pony_jax.reconstruction.find_animals import find_animals
from tests.reconstruction.red_animals import RED_IS_ANIMAL, Colours, picture

_READER = TokenReader(Colours(), 8, None, None)


def _find(image):
    return find_animals(image, _READER, RED_IS_ANIMAL)


def _overlap(found, box):
    """Of squares about both boxes: what a crop is made of."""
    return found.square(1.2).overlap(Square.around(*box, scale=1.2))


@pytest.mark.parametrize(
    "size, box",
    [
        ((400, 300), (100, 60, 300, 220)),
        ((300, 400), (20, 250, 180, 390)),
        ((900, 200), (500, 40, 620, 160)),  # a panorama
        ((200, 900), (40, 500, 160, 620)),
        ((400, 300), (-80, 100, 120, 280)),  # only its front is in the picture
        ((64, 64), (4, 4, 60, 60)),
        ((2000, 1500), (1200, 700, 1500, 900)),
        ((40, 30), (8, 6, 30, 24)),  # tiny
        ((500, 400), (0, 0, 499, 399)),  # fills the picture
    ],
)
def test_the_animal_is_found(size, box):
    (found,) = _find(picture(size, box))
    seen = (max(box[0], 0), max(box[1], 0), *box[2:])
    # One cell of the last look is 8 % of the animal's length; half of one on each side.
    assert _overlap(found, seen) > 0.85
    assert found.area == pytest.approx(np.pi / 4 * (box[2] - box[0]) * (box[3] - box[1]), rel=0.5)


def test_a_small_animal_is_searched_for_in_parts_of_the_picture():
    # It covers less than two of the cells of 62 pixels that a look at the whole has.
    box = (700, 300, 820, 380)
    (found,) = _find(picture((1000, 1000), box))
    assert _overlap(found, box) > 0.85


def test_several_animals_come_largest_first_and_each_once():
    boxes = [(20, 100, 120, 180), (300, 50, 560, 250), (150, 300, 300, 390)]
    found = _find(picture((600, 400), *boxes))
    assert len(found) == 3
    for animal, box in zip(found, (boxes[1], boxes[2], boxes[0]), strict=True):
        assert _overlap(animal, box) > 0.8


def test_animals_far_smaller_than_the_largest_are_surroundings():
    assert len(_find(picture((600, 600), (50, 50, 450, 450), (500, 500, 560, 560)))) == 1


@pytest.mark.parametrize("size", [(400, 300), (1, 1), (3, 2000)])
def test_nothing_is_found_where_nothing_is(size):
    assert _find(picture(size)) == []


def test_a_view_shows_the_pixels_of_its_square():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
    from PIL import Image

    image = Image.fromarray(pixels)
    shown = np.asarray(view(image, Square(4, -5, 10), 10, outside=(1, 2, 3)))
    np.testing.assert_array_equal(shown[5:], pixels[:5, 4:14])
    assert (shown[:5] == [1, 2, 3]).all()
    assert not np.asarray(view(image, Square(40, 40, 10), 10, outside=(0, 0, 0))).any()
    np.testing.assert_array_equal(
        inside((30, 20), Square(-5, 10, 20), 4),
        np.outer([True, True, False, False], [False, True, True, True]),
    )


def test_overlap_of_squares():
    assert Square(0, 0, 4).overlap(Square(0, 0, 4)) == 1
    assert Square(0, 0, 4).overlap(Square(2, 0, 4)) == pytest.approx(8 / 24)
    assert Square(0, 0, 4).overlap(Square(4, 4, 4)) == 0
