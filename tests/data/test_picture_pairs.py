"""Every picture finds its mask or is named: nothing under the folders disappears."""

import os
import re
import unicodedata

import pytest

from pony_jax.data import magicpony_folder, photographs, picture_pairs
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.errors import UserError

_COMPOSED = unicodedata.normalize("NFC", "jäger")
_DECOMPOSED = unicodedata.normalize("NFD", "jäger")


def _put(*names):
    for name in names:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(b"x")


_MATCHES = {
    # name: (pictures, masks, pairs of them, how many files are errors, what the errors say)
    "same name": (["a.jpg"], ["a.png"], {"a.jpg": "a.png"}, 0, ""),
    "no mask": (["a.jpg", "b.jpg"], ["b.png"], {"b.jpg": "b.png"}, 1, "a.jpg: expected a mask"),
    "no picture": (["b.jpg"], ["a.png", "b.png"], {"b.jpg": "b.png"}, 1, "a.png: expected a pic"),
    "upper case": (["Horse1.JPG"], ["horse1.png"], {"Horse1.JPG": "horse1.png"}, 0, ""),
    "Unicode form": (
        [f"{_COMPOSED}.jpg"],
        [f"{_DECOMPOSED}.png"],
        {f"{_COMPOSED}.jpg": ...},
        0,
        "",
    ),
    "spaces at the end": (["a .jpg"], ["a.png "], {"a .jpg": "a.png "}, 0, ""),
    "TIFF and GIF": (["a.tif"], ["a.gif"], {"a.tif": "a.gif"}, 0, ""),
    "dots in names": (
        ["a.1.jpg", "a.2.jpg"],
        ["a.1.png", "a.2.png"],
        {"a.1.jpg": "a.1.png"},
        0,
        "",
    ),
    "the same name comes first": (
        ["a.jpg", "A.jpg"],
        ["a.png"],
        {"a.jpg": "a.png"},
        1,
        "A.jpg: expected a mask of the same name, found none",
    ),
    "case sensitive names": (["a.jpg", "A.jpg"], ["a.png", "A.png"], {"A.jpg": "A.png"}, 0, ""),
    "a choice": (
        ["ok.jpg", "Horse.jpg", "HORSE.jpg"],
        ["ok.png", "horse.png"],
        {"ok.jpg": "ok.png"},
        3,
        r"horse.png: expected a picture .* name, found several \(HORSE.jpg and Horse.jpg\)",
    ),
    "two pictures of one name": (
        ["ok.jpg", "a.jpg", "a.png"],
        ["ok.png", "a.png"],
        {"ok.jpg": "ok.png"},
        1,
        r"a.jpg and .*a.png: expected one picture and one mask of this name, found a.jpg and",
    ),
    "two masks of one name": (
        ["ok.jpg", "a.jpg"],
        ["ok.png", "a.png", "a.bmp"],
        {"ok.jpg": "ok.png"},
        1,
        "a.jpg: expected one picture and .* found a.jpg and a.bmp and a.png; remove or",
    ),
    "other files": (
        ["a.jpg", "a.heic", "a.mov", "a.json", "a"],
        ["a.png", "labelmap.txt"],
        {"a.jpg": "a.png"},
        5,
        r"a.heic: expected a picture \(JPEG, .*\), found the ending '.heic'; convert",
    ),
    "files of systems": (
        ["a.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"],
        ["a.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png"],
        {"a.jpg": "a.png"},
        0,
        "",
    ),
    "folders": (
        ["s1/a.jpg", "s2/a.jpg"],
        ["s1/a.png", "s2/a.png"],
        {"s2/a.jpg": "s2/a.png"},
        0,
        "",
    ),
    "other folders": (
        ["a.jpg", "s1/b.jpg"],
        ["a.png", "b.png"],
        {"a.jpg": "a.png"},
        2,
        "s1/b.jpg: expected a mask of the same name, found none",
    ),
}


@pytest.mark.parametrize("name", _MATCHES)
def test_pictures_find_their_masks_or_are_named(tmp_path, name, caplog):
    pictures, masks, pairs, num_errors, message = _MATCHES[name]
    images, masks_folder = tmp_path / "images", tmp_path / "masks"
    _put(*(images / picture for picture in pictures), *(masks_folder / mask for mask in masks))
    found = photographs.find_pairs(images, masks_folder)
    by_picture = {str(p.image_path.relative_to(images)): p for p in found}
    for picture, mask in pairs.items():
        photograph = by_picture[picture]
        assert photograph.id == os.path.splitext(picture)[0]
        assert mask in (..., str(photograph.mask_path.relative_to(masks_folder)))
    assert len(found.errors) == num_errors
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped {error}" for error in found.errors
    ]
    lines = "\n".join(map(str, found.errors))
    assert re.search(message, lines)
    assert len(lines.splitlines()) == num_errors
    used = {path for photograph in found for path in (photograph.image_path, photograph.mask_path)}
    for file in (*images.rglob("*.*"), *masks_folder.rglob("*.*")):
        is_of_system = re.search(r"/\.|__MACOSX|Thumbs|desktop", str(file))
        assert file in used or is_of_system or file.name in lines


def test_links_are_followed_but_not_in_circles(tmp_path):
    _put(tmp_path / "elsewhere" / "b.jpg", tmp_path / "images" / "a.jpg", tmp_path / "c.jpg")
    images = tmp_path / "images"
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    (images / "c.jpg").symlink_to(tmp_path / "c.jpg")
    (images / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "elsewhere" / "back").symlink_to(images)
    found = picture_pairs.find_picture_files(images)
    assert sorted(found.pictures) == ["a", "c", "linked/b"]
    lines = sorted(map(str, found.errors))
    assert len(lines) == 2
    assert re.search(r"broken.jpg: expected a picture .* found a broken link", lines[0])
    assert re.search(r"linked/back: .* found a link to a folder that it is in", lines[1])
    (tmp_path / "images2").symlink_to(images)
    assert picture_pairs.find_picture_files(tmp_path / "images2").pictures.keys() == {
        *found.pictures
    }


def test_pipes_and_names_that_are_no_text_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # to open one would wait for ever
    try:
        _put(tmp_path / os.fsdecode(b"caf\xe9.jpg"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    _put(tmp_path / "new\nline.jpg")
    found = picture_pairs.find_picture_files(tmp_path)
    assert list(found.pictures) == ["new\nline"]
    assert re.search(r"pipe.jpg: .* found something that is not a file", str(found.errors[1]))
    assert re.search(r"caf\\udce9.jpg: .* found a name that is not UTF-8", str(found.errors[0]))


def test_masks_may_lie_inside_the_folder_of_images(tmp_path):
    _put(tmp_path / "a.jpg", tmp_path / "masks" / "a.png")
    found = photographs.find_pairs(tmp_path, tmp_path / "masks")
    assert [photograph.id for photograph in found] == ["a"] and not found.errors
    with pytest.raises(BadPhotographError, match="expected images and masks in two folders"):
        photographs.find_pairs(tmp_path, tmp_path)


def test_missing_folders_are_named(tmp_path):
    _put(tmp_path / "file", tmp_path / "images" / "a.jpg", tmp_path / "masks" / "b.png")
    with pytest.raises(picture_pairs.MissingPhotographsError, match="found no such file"):
        photographs.find_pairs(tmp_path / "no", tmp_path / "masks")
    with pytest.raises(UserError, match=r"expected a folder of images at .*file, found a file"):
        photographs.find_pairs(tmp_path / "images", tmp_path / "file")
    with pytest.raises(UserError, match=r"1 images and 1 masks but no pair \(such as .*b.png: exp"):
        photographs.find_pairs(tmp_path / "images", tmp_path / "masks")


def test_folders_of_the_original_name_what_they_leave_out(tmp_path):
    _put(
        *(tmp_path / "train" / "s1" / f"0001_{role}" for role in ("rgb.jpg", "mask.png")),
        *(tmp_path / "elsewhere" / f"0001_{role}" for role in ("RGB.PNG", "mask.png")),
        *(tmp_path / "train" / "s1" / f"0001_{role}" for role in ("box.txt", "feat16.png")),
        *(tmp_path / "train" / "s1" / name for name in ("0002_rgb.png", "0003_mask.png")),
        *(tmp_path / "train" / "s1" / name for name in ("0004_rgb.npy", "._0001_rgb.jpg")),
        *(tmp_path / "val" / "s9" / f"0001_{role}.png" for role in ("rgb", "mask")),
        *(tmp_path / "test" / "s3" / f"0001_{role}.png" for role in ("rgb", "mask")),
    )
    (tmp_path / "train" / "s2").symlink_to(tmp_path / "elsewhere")
    found = magicpony_folder.find_photographs(tmp_path)
    assert [p.id for p in found] == ["train/s1/0001", "train/s2/0001", "test/s3/0001"]
    assert found[0].box_path == tmp_path / "train" / "s1" / "0001_box.txt"
    lines = "\n".join(map(str, found.errors))
    assert len(found.errors) == 4
    assert re.search(r"0004_rgb.npy: expected a picture .* found the ending '.npy'", lines)
    assert re.search(r"0002_rgb.png: expected a mask of the same name, found none", lines)
    assert re.search(r"0003_mask.png: expected a picture of the same name, found none", lines)
    assert re.search(r"val: not read, since there is a test", lines)
