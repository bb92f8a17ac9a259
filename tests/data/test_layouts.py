"""Layouts of public data sets, each on a few examples made here, and what is said of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pony_jax.data import layouts, photographs
from pony_jax.data.coco_segmentation import SegmentationError, parse_segmentation
from pony_jax.data.layouts import LAYOUTS, Sources
from pony_jax.data.picture_pairs import MissingPhotographsError
from pony_jax.errors import UserError

_WIDTH, _HEIGHT = 60, 40
_ANIMAL = (10, 8, 30, 28)  # left, top, right, bottom


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (_WIDTH, _HEIGHT), (90, 120, 60)).save(path)


def _animal_mask() -> np.ndarray:
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    left, top, right, bottom = _ANIMAL
    mask[top:bottom, left:right] = 1
    return mask


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _run_lengths() -> dict:
    flat = np.concatenate([[0], _animal_mask().T.ravel(), [0]])
    changes = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], changes, [_WIDTH * _HEIGHT]]))
    return {"size": [_HEIGHT, _WIDTH], "counts": counts.tolist()}


def _polygon() -> list:
    left, top, right, bottom = _ANIMAL
    return [[left, top, right, top, right, bottom, left, bottom]]


def _make_coco(root: Path) -> None:
    image = {"width": _WIDTH, "height": _HEIGHT}
    for number, split in enumerate(("train2017", "val2017")):
        _picture(root / split / "0001.jpg")
        horse = {"image_id": 1, "category_id": 19, "iscrowd": 0}
        contents = {
            "images": [{"id": 1, "file_name": "0001.jpg", **image}],
            "categories": [
                {"id": 19, "name": "horse", "keypoints": ["nose", "left_ear", "tail"]},
                {"id": 21, "name": "cow"},
            ],
            "annotations": [
                {
                    **horse,
                    "id": 7,
                    "segmentation": [_polygon(), _run_lengths()][number],
                    "keypoints": [12, 9, 2, 14, 10, 1, 0, 0, 0],
                },
                {**horse, "id": 8, "iscrowd": 1, "segmentation": _run_lengths()},
                {**horse, "id": 9, "segmentation": [[1, 2, 3, 4]]},
                {**horse, "id": 10, "category_id": 21, "segmentation": _polygon()},
            ],
        }
        _write(root / "annotations" / f"instances_{split}.json", json.dumps(contents))


def _make_pascal(root: Path) -> None:
    for name, number in (("2008_1", 2), ("2008_2", 1)):
        _picture(root / "JPEGImages" / f"{name}.jpg")
        index = _animal_mask() * number
        index[1, 50] = 3 - number  # a pixel of the other object
        mask = Image.fromarray(index).convert("P")
        mask.putdata(index.ravel())
        mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        (root / "SegmentationObject").mkdir(exist_ok=True)
        mask.save(root / "SegmentationObject" / f"{name}.png")
        names = ["person", "horse"] if number == 2 else ["horse", "person"]
        objects = "".join(f"<object><name>{each}</name></object>" for each in names)
        _write(root / "Annotations" / f"{name}.xml", f"<annotation>{objects}</annotation>")
    _write(root / "ImageSets" / "Segmentation" / "train.txt", "2008_1\n")
    _write(root / "ImageSets" / "Segmentation" / "val.txt", "2008_2\n")
    marked = (
        '<keypoint name="Nose" x="12" y="9" z="0" visible="1"/>'
        '<keypoint name="L_Eye" x="13" y="9" z="0" visible="0"/>'
    )
    keypoints = f"<annotation><keypoints>{marked}</keypoints></annotation>"
    _write(root / "keypoints" / "horse" / "2008_1_2.xml", keypoints)


def _make_cub(root: Path) -> None:
    _write(root / "images.txt", "1 001.Albatross/a.jpg\n2 001.Albatross/b.jpg\n")
    _write(root / "train_test_split.txt", "1 1\n2 0\n")
    _write(root / "parts" / "parts.txt", "1 back\n2 left eye\n")
    locations = "1 1 12.0 9.0 1\n1 2 0.0 0.0 0\n2 1 12.0 9.0 1\n2 2 13.0 9.0 1\n"
    _write(root / "parts" / "part_locs.txt", locations)
    for name in ("a", "b"):
        _picture(root / "images" / "001.Albatross" / f"{name}.jpg")
        # Five people: all saw the bird here, two of them something more.
        shares = _animal_mask() * 255
        shares[30:38, 10:50] = 102
        path = root / "segmentations" / "001.Albatross" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shares).save(path)


_MADE = {
    "coco_animals": (
        _make_coco,
        {"category": "horse"},
        {"train2017/0001_7": "train", "val2017/0001_7": "test"},
        ("nose", "left_ear", "tail"),
    ),
    "pascal_animals": (
        _make_pascal,
        {"category": "horse", "keypoints": "keypoints"},
        {"2008_1_2": "train", "2008_2_1": "test"},
        ("Nose", "L_Eye"),
    ),
    "cub_birds": (
        _make_cub,
        {},
        {"001.Albatross/a": "train", "001.Albatross/b": "test"},
        ("back", "left eye"),
    ),
}


def _find(layout: str, root: Path) -> photographs.FoundPhotographs:
    make, sources, _, _ = _MADE[layout]
    make(root)
    if "keypoints" in sources:
        sources = sources | {"keypoints": str(root / sources["keypoints"])}
    return layouts.find_photographs(layout, Sources(str(root), **sources))


@pytest.mark.parametrize("layout", _MADE)
def test_animals_of_a_layout_have_their_masks_and_keypoints(tmp_path: Path, layout: str) -> None:
    found = _find(layout, tmp_path)
    _, _, splits, names = _MADE[layout]
    assert {photograph.id: photograph.split for photograph in found} == splits
    for photograph in found:
        _, mask = photographs.read_whole(photograph)
        np.testing.assert_array_equal(np.asarray(mask), _animal_mask() * 255)
    keypoints = found[0].keypoints
    assert keypoints.names == names
    assert (keypoints.px[0], keypoints.visible[:2]) == ((12.0, 9.0), (True, False))


def test_annotations_that_cannot_be_drawn_are_named(tmp_path: Path) -> None:
    found = _find("coco_animals", tmp_path)
    assert len(found.errors) == 2  # the polygon of two corners in both files
    assert "train2017/0001_9: expected polygons of at least three corners, found [2]" in str(
        found.errors[0]
    )


def test_compressed_run_lengths_are_those_of_plain_ones() -> None:
    """By a compressor that writes each number's bits as the format has them."""

    def compress(counts: list[int]) -> str:
        text = ""
        for i, count in enumerate(counts):
            value, more = count - (counts[i - 2] if i > 2 else 0), True
            while more:
                bits, value = value & 31, value >> 5
                more = value != (-1 if bits & 16 else 0)
                text += chr(48 + bits + 32 * more)
        return text

    counts = _run_lengths()["counts"]
    stored = {"size": [_HEIGHT, _WIDTH], "counts": compress(counts)}
    segmentation = parse_segmentation(stored, _WIDTH, _HEIGHT)
    assert segmentation.run_lengths == tuple(counts)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, "at least three corners, found none"),
        ([[0, 0, 5, 5, 9, 1, 3]], r"found \[3\]"),
        ({"size": [5, 5], "counts": [25]}, r"40 rows and 60 columns, found \[5, 5\]"),
        ({"size": [_HEIGHT, _WIDTH], "counts": [1, 2]}, "sum to 2400 pixels, found 3"),
    ],
)
def test_segmentations_of_another_form_are_refused(stored, message: str) -> None:
    with pytest.raises(SegmentationError, match=message):
        parse_segmentation(stored, _WIDTH, _HEIGHT)


@pytest.mark.parametrize(
    ("layout", "sources", "message"),
    [
        ("coco_animals", {"category": "unicorn"}, "a --category of cow, horse, as in .*'unicorn'"),
        ("coco_animals", {}, "such as --category=horse, got none"),
        ("cub_birds", {"masks": "x"}, "no --masks with layout 'cub_birds', .* got x; leave it out"),
        ("folders", {}, "expected --masks with layout 'folders', got none"),
    ],
)
def test_wrong_sources_say_what_to_give(tmp_path: Path, layout, sources, message: str) -> None:
    _make_coco(tmp_path)
    with pytest.raises(UserError, match=message):
        layouts.find_photographs(layout, Sources(str(tmp_path), **sources))


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"folders"}))
def test_empty_folders_say_what_was_expected(tmp_path: Path, layout: str) -> None:
    category = "horse" if "category" in LAYOUTS[layout].takes else None
    with pytest.raises(MissingPhotographsError, match=r"expected .*--"):
        layouts.find_photographs(layout, Sources(str(tmp_path), category=category))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_described_with_the_command_that_reads_it(layout: str) -> None:
    text = layouts.describe(layout)
    assert f"python -m pony_jax.extract --layout={layout} --images=" in text
    for flag in LAYOUTS[layout].takes:
        assert flag == "mask_label" or f"--{flag}" in text
