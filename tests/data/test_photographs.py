"""Finding photographs, cutting crops, and telling good photographs from bad."""

import numpy as np
import pytest
from PIL import Image

from pony_jax.data import magicpony_folder, photographs, weizmann_horse


def _save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def _photograph(folder, name="a", *, image_size=(40, 60), mask_size=None, foreground=True):
    height, width = image_size
    mask = np.zeros(mask_size or image_size)
    if foreground:
        rows, columns = mask.shape
        mask[rows // 4 : rows // 2, columns // 6 : columns // 2] = 250
    _save(folder / "rgb" / f"{name}.png", np.full((height, width, 3), 90))
    _save(folder / "figure_ground" / f"{name}.png", mask)
    return photographs.Photograph(
        name, "train", folder / "rgb" / f"{name}.png", folder / "figure_ground" / f"{name}.png"
    )


def test_crop_is_a_square_around_the_mask(tmp_path):
    crop = photographs.read_crop(_photograph(tmp_path))
    # The mask covers rows 10..20 and columns 10..30: 20 px wide, so the crop has 24.
    np.testing.assert_array_equal(crop.box, [0, 8, 3, 24, 24, 60, 40, 0])
    assert crop.image.size == crop.mask.size == (24, 24)
    is_animal = np.asarray(crop.mask) > 127
    assert is_animal[7:17, 2:22].all()
    assert is_animal.sum() == 200


def test_crop_is_black_beyond_the_photograph(tmp_path):
    photograph = _photograph(tmp_path, image_size=(14, 60))
    _save(photograph.mask_path, np.full((14, 60), 255))
    crop = photographs.read_crop(photograph)
    assert crop.image.size == (72, 72)
    pixels = np.asarray(crop.image)
    assert pixels[:29].max() == 0
    assert pixels[36, 36].tolist() == [90, 90, 90]


def test_mask_at_another_scale_is_fitted_to_the_photograph(tmp_path):
    same = photographs.read_crop(_photograph(tmp_path / "same"))
    half = photographs.read_crop(_photograph(tmp_path / "half", mask_size=(20, 30)))
    np.testing.assert_allclose(half.box, same.box, atol=2)


def test_specks_of_compression_do_not_widen_the_crop(tmp_path):
    clean = _photograph(tmp_path / "clean", image_size=(400, 600))
    speckled = _photograph(tmp_path / "speckled", image_size=(400, 600))
    mask = np.array(Image.open(speckled.mask_path))
    mask[395:397, 590:592] = 255
    _save(speckled.mask_path, mask)
    expected, got = photographs.read_crop(clean), photographs.read_crop(speckled)
    np.testing.assert_array_equal(got.box, expected.box)


def test_bad_photographs_say_why(tmp_path):
    corrupt = _photograph(tmp_path, "corrupt")
    corrupt.image_path.write_bytes(b"\x89PNG but not really")
    with pytest.raises(photographs.BadPhotographError, match="corrupt: expected a readable image"):
        photographs.read_crop(corrupt)
    empty = _photograph(tmp_path, "empty", foreground=False)
    with pytest.raises(photographs.BadPhotographError, match="empty: expected a mask with foregr"):
        photographs.read_crop(empty)
    skewed = _photograph(tmp_path, "skewed", mask_size=(40, 40))
    with pytest.raises(
        photographs.BadPhotographError, match=r"skewed: .* proportions 60x40, found 40x40"
    ):
        photographs.read_crop(skewed)

    good, bad = photographs.split_good_from_bad([corrupt, _photograph(tmp_path, "good"), empty])
    assert [photograph.id for photograph in good] == ["good"]
    assert len(bad) == 2
    with pytest.raises(ValueError, match="found 2 bad ones and no good one"):
        photographs.split_good_from_bad([corrupt, empty])


def test_truncated_image_is_bad(tmp_path):
    photograph = _photograph(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
    _save(photograph.image_path, noise)
    content = photograph.image_path.read_bytes()
    photograph.image_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(photographs.BadPhotographError, match="expected a readable image"):
        photographs.read_crop(photograph)


def test_pairs_are_matched_by_stem_and_every_tenth_is_for_testing(tmp_path):
    for number in range(12):
        _photograph(tmp_path, f"horse{number:03d}")
    (tmp_path / "figure_ground" / "horse011.png").unlink()
    found = photographs.find_pairs(tmp_path / "rgb", tmp_path / "figure_ground")
    assert len(found) == 11
    assert [p.id for p in found if p.split == "test"] == ["horse000", "horse010"]
    assert weizmann_horse.find_photographs(tmp_path) == found
    everything = photographs.find_pairs(tmp_path / "rgb", tmp_path / "figure_ground", test_every=0)
    assert {photograph.split for photograph in everything} == {"train"}


def test_missing_folders_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the Weizmann horses .* download them"):
        weizmann_horse.find_photographs(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a folder of images"):
        photographs.find_pairs(tmp_path / "none", tmp_path)
    with pytest.raises(FileNotFoundError, match="found 0 images and 0 masks but no pair"):
        photographs.find_pairs(tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError, match="expected crops named"):
        magicpony_folder.find_photographs(tmp_path)


def test_folders_of_the_original(tmp_path):
    for split, sequence in (("train", "seq0"), ("train", "seq1"), ("test", "seq2"), ("val", "v")):
        stem = tmp_path / split / sequence / "0000001"
        _save(stem.with_name("0000001_rgb.png"), np.full((32, 32, 3), 50))
        _save(stem.with_name("0000001_mask.png"), np.pad(np.full((16, 16), 255), 8))
        stem.with_name("0000001_box.txt").write_text("0000123_45 10.5 20 100 100 640 480 0.25")
    found = magicpony_folder.find_photographs(tmp_path)
    assert [(p.split, p.id) for p in found] == [
        ("train", "train/seq0/0000001"),
        ("train", "train/seq1/0000001"),
        ("test", "test/seq2/0000001"),
    ]
    crop = photographs.read_crop(found[0])
    assert crop.image.size == (32, 32)  # a crop already
    np.testing.assert_array_equal(crop.box, [123, 10.5, 20, 100, 100, 640, 480, 0.25])
    found[0].box_path.write_text("1 2 3")
    with pytest.raises(photographs.BadPhotographError, match=r"expected 8 numbers .* found 3"):
        photographs.read_crop(found[0])


def test_boxes_are_read_as_the_original_reads_them(golden_case, tmp_path):
    case = golden_case("model_07_data", "boxtxt")
    path = tmp_path / "a_box.txt"
    for text, expected in zip(case["in/text"], case["out"], strict=True):
        path.write_text(text)
        photograph = photographs.Photograph("a", "train", path, path, path)
        np.testing.assert_array_equal(photographs._read_box(photograph), expected)


def test_a_mask_of_a_program_that_ignores_exif_is_refused(tmp_path):
    photograph = _photograph(tmp_path, image_size=(40, 60))
    exif = Image.Exif()
    exif[0x112] = 6  # stored 60 x 40, shown 40 x 60
    Image.open(photograph.image_path).save(photograph.image_path, exif=exif)
    message = r"proportions 40x60, found 60x40, as of a program that ignores EXIF orientations"
    with pytest.raises(photographs.BadPhotographError, match=message):
        photographs.read_crop(photograph)


def test_the_label_of_a_photograph_chooses_the_animal(tmp_path):
    photograph = _photograph(tmp_path)
    mask = np.zeros((40, 60))
    mask[10:20, 10:30], mask[10:20, 40:50] = 13, 15
    _save(photograph.mask_path, mask)
    both = photographs.read_crop(photograph)
    horse = photographs.read_crop(photograph._replace(mask_label=13))
    assert both.image.width == 48 and horse.image.width == 24
    found = photographs.find_pairs(tmp_path / "rgb", tmp_path / "figure_ground", mask_label=13)
    assert found[0].mask_label == 13


@pytest.mark.parametrize(
    "text",
    ["", "1 2 3", "1 2 3 4 5 6 7 nan", "1 inf 3 4 5 6 7 8", "1 2 3 0 5 6 7 8", "1 2 3 4 -5 6 7 8"],
)
def test_boxes_that_would_put_nonsense_into_a_shard_are_bad(tmp_path, text):
    photograph = _photograph(tmp_path, image_size=(32, 32))
    (tmp_path / "box.txt").write_text(text)
    with pytest.raises(photographs.BadPhotographError, match=r"a: expected 8 numbers in .*box.txt"):
        photographs.read_crop(photograph._replace(box_path=tmp_path / "box.txt"))


def test_a_crop_with_a_box_is_square(tmp_path):
    photograph = _photograph(tmp_path)._replace(box_path=tmp_path / "box.txt")
    with pytest.raises(photographs.BadPhotographError, match=r"a square crop, .* found 60x40"):
        photographs.read_crop(photograph)


def test_a_crop_that_would_fill_the_memory_is_refused(tmp_path):
    photograph = _photograph(tmp_path)
    Image.new("1", (8000, 10), 1).save(photograph.image_path)
    Image.new("1", (8000, 10), 1).save(photograph.mask_path)
    message = "a: expected an animal of at most 7882 pixels in length, found 8000"
    with pytest.raises(photographs.BadPhotographError, match=message):
        photographs.read_crop(photograph)


def test_an_animal_thinner_than_a_pixel_of_the_data_set_is_bad(tmp_path):
    thin = _photograph(tmp_path, "thin", image_size=(400, 600))
    mask = np.zeros((400, 600))
    mask[200, 50:500] = 255
    _save(thin.mask_path, mask)
    photographs_of_both = [thin, _photograph(tmp_path, "good")]
    good, bad = photographs.split_good_from_bad(photographs_of_both, 24)
    assert [photograph.id for photograph in good] == ["good"]
    assert "thin: expected an animal that covers a pixel of 24 x 24" in str(bad[0])
    assert len(photographs.split_good_from_bad(photographs_of_both)[0]) == 2
