"""Masks that are made: kept as files, filtered with a reason each, and struck out by people."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pony_jax.data.photographs import read_crop
from pony_jax.data.picture_pairs import MissingPhotographsError
from pony_jax.features import mask_rcnn
from pony_jax.features.errors import ExtractionError, MissingWeightsError
from pony_jax.features.made_masks import FILTERS, find_masked, make_masks, summarise

_BOXES = {  # left, top, right, bottom; photographs are 200 x 150
    "good_0": [(40, 30, 140, 110)],
    "good_1": [(50, 30, 150, 110)],
    "good_2": [(60, 30, 160, 110)],
    "blurred": [(40, 30, 140, 110)],
    "cut": [(0, 30, 100, 110)],
    "none": [],
    "pair": [(20, 20, 100, 100), (120, 20, 180, 80)],
    "tiny": [(40, 30, 60, 50)],
}


class _Maker:
    """Knows the boxes by the shade of each photograph's first pixel."""

    def __init__(self, name: str = "boxes"):
        self.name, self.num_calls = name, 0

    def __call__(self, picture: Image.Image) -> list[Image.Image]:
        self.num_calls += 1
        masks = []
        for box in list(_BOXES.values())[picture.getpixel((0, 0))[0]]:
            mask = Image.new("L", picture.size)
            mask.paste(255, box)
            masks.append(mask)
        return masks


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for number, name in enumerate(_BOXES):
        pixels = rng.integers(0, 256, (150, 200, 3), np.uint8)
        if name == "blurred":
            pixels[:] = 90
        pixels[0, 0] = number
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def _reasons(found) -> dict[str, str]:
    return {str(error).split(":")[0]: error.reason for error in found.errors}


def test_each_photograph_that_is_left_out_has_its_reason(images: Path, tmp_path: Path) -> None:
    make_masks(images, tmp_path / "made", _Maker())
    found = find_masked(images, tmp_path / "made", test_every=2)
    assert [(p.id, p.split) for p in found] == [
        ("good_0", "test"),
        ("good_1", "train"),
        ("good_2", "test"),
    ]
    assert _reasons(found) == {
        "blurred": FILTERS["sharpness"],
        "cut": FILTERS["truncation"],
        "none": "no animal found",
        "pair": FILTERS["one_animal"],
        "tiny": FILTERS["size"],
    }
    assert summarise(found).startswith("3 kept, 1 left out (it is less than 0.1 times as sharp")
    np.testing.assert_array_equal(read_crop(found[0]).box[1:5], [30, 10, 120, 120])
    page = (tmp_path / "made" / "masks.html").read_text()
    assert page.count("<figure>") == 8 and "3 kept" in page and "5 left out" in page


def test_filters_are_chosen_by_name(images: Path, tmp_path: Path) -> None:
    make_masks(images, tmp_path / "made", _Maker())
    everything = find_masked(images, tmp_path / "made", filters=[""])
    assert _reasons(everything) == {"none": "no animal found"}
    with pytest.raises(ExtractionError, match=r"expected --mask_filters of size, .* got colour"):
        find_masked(images, tmp_path / "made", filters=["colour"])


def test_what_people_strike_out_stays_out(images: Path, tmp_path: Path) -> None:
    folder, maker = tmp_path / "made", _Maker()
    make_masks(images, folder, maker)
    find_masked(images, folder)
    (folder / "struck_out.txt").write_text("good_1\n\n")
    make_masks(images, folder, maker)
    assert maker.num_calls == len(_BOXES)  # none is made twice
    found = find_masked(images, folder)
    assert [p.id for p in found] == ["good_0", "good_2"]
    assert _reasons(found)["good_1"] == "struck out"
    (folder / "struck_out.txt").write_text("good_7\n")
    with pytest.raises(ExtractionError, match=r"names of photographs in .*, got good_7; copy them"):
        find_masked(images, folder)


def test_masks_are_made_again_for_another_photograph_or_by_another_maker(
    images: Path, tmp_path: Path
) -> None:
    folder, maker, other = tmp_path / "made", _Maker(), _Maker("other")
    make_masks(images, folder, maker)
    Image.new("RGB", (200, 150), (0, 9, 9)).save(images / "tiny.png")
    make_masks(images, folder, maker)
    assert maker.num_calls == len(_BOXES) + 1
    make_masks(images, folder, other)
    assert other.num_calls == len(_BOXES)


def test_photographs_that_cannot_be_read_are_named(images: Path, tmp_path: Path) -> None:
    (images / "cut.png").write_bytes(b"corrupt")
    (images / "notes.txt").write_text("no picture")
    make_masks(images, tmp_path / "made", _Maker())
    found = find_masked(images, tmp_path / "made")
    assert len(found) == 3 and "2 left out (cannot be read)" in summarise(found)


def test_nothing_left_says_why(images: Path, tmp_path: Path) -> None:
    for name in _BOXES:
        if name != "none":
            (images / f"{name}.png").unlink()
    make_masks(images, tmp_path / "made", _Maker())
    with pytest.raises(MissingPhotographsError, match=r"0 kept, 1 left out \(no animal found\)"):
        find_masked(images, tmp_path / "made")


def test_mask_rcnn_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ExtractionError, match=r"a class of bird, .* got 'unicorn'"):
        mask_rcnn.MaskRcnn("unicorn")
    pytest.importorskip("torchvision")
    with pytest.raises(MissingWeightsError, match=r"at .*none.pth, found no such file"):
        mask_rcnn.MaskRcnn("horse", tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"corrupt")
    with pytest.raises(ExtractionError, match="found a damaged or other file; fetch https"):
        mask_rcnn.MaskRcnn("horse", tmp_path / "bad.pth")
