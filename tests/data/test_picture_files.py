"""Opening pictures that other people's cameras and programs wrote, whole and damaged."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from pony_jax.data import mask_files
from pony_jax.data.file_contents import describe_contents, printable
from pony_jax.data.picture_files import BadPhotographError, open_photograph, open_upright
from pony_jax.errors import UserError

_HEIGHT, _WIDTH = 24, 32


def _ramp():
    """No two rows and columns alike, smooth enough for JPEG."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    return np.dstack([x * 7, y * 10, (x + y) * 4]).astype(np.uint8)


def _encode(picture, file_format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def _orientation(number):
    exif = Image.Exif()
    exif[0x112] = number
    return exif


_INVERSE = (None, *"FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE".split())
_INVERSE += tuple("ROTATE_90 TRANSVERSE ROTATE_270".split())


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(tmp_path, file_format, orientation):
    shown = Image.fromarray(_ramp())
    inverse = _INVERSE[orientation - 1]
    stored = shown.transpose(Image.Transpose[inverse]) if inverse else shown
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = _encode(stored, file_format, exif=_orientation(orientation), quality=95, **options)
    path = tmp_path / "a.jpg"  # what a file is called says nothing of what it is
    path.write_bytes(content)
    upright = np.asarray(open_photograph(path), int)
    # JPEG's own error here; a wrong turn is off by 60.
    assert np.abs(upright - _ramp()).mean() < (4 if file_format == "JPEG" else 0.01)
    if file_format != "JPEG":  # a picture that is already open is turned as well
        np.testing.assert_array_equal(open_photograph(Image.open(path)), upright)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, value):
    Image.fromarray(_ramp()).save(tmp_path / "a.png", exif=_orientation(value))
    np.testing.assert_array_equal(open_photograph(tmp_path / "a.png"), _ramp())


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path):
    Image.fromarray(_ramp()).save(tmp_path / "a.webp", lossless=True, exif=b"Exif\0\0II*\0\xff\xff")
    np.testing.assert_array_equal(open_photograph(tmp_path / "a.webp"), _ramp())


_GREY = _ramp()[..., 0]
_ALPHA = np.where(np.arange(_WIDTH) < 16, 255, 0) * np.ones((_HEIGHT, 1))
_MODES = {
    # name: (picture, format, the RGB that is expected, largest difference)
    "8 bit grey": (_GREY, "PNG", _GREY, 0),
    "16 bit grey PNG": (_GREY.astype(np.uint16) * 257, "PNG", _GREY, 0),
    "16 bit grey TIFF": (_GREY.astype(np.uint16) * 257, "TIFF", _GREY, 0),
    "16 bit grey TIFF, big-endian": (_GREY.astype(">u2") * 257, "TIFF", _GREY, 0),
    "8 bit values in 16 bits": (_GREY.astype(np.uint16), "PNG", _GREY, 0),
    "32 bit grey": (_GREY.astype(np.int32) * 257, "TIFF", _GREY, 0),
    "fractions": ((_GREY / 255).astype(np.float32), "TIFF", _GREY, 0),
    "1 bit": (_GREY > 100, "PNG", np.where(_GREY > 100, 255, 0), 0),
    "alpha becomes black": (
        np.dstack([_ramp(), _ALPHA]).astype(np.uint8),
        "PNG",
        _ramp() * (_ALPHA[..., None] > 0),
        0,
    ),
    "grey and alpha": (np.dstack([_GREY, _ALPHA]).astype(np.uint8), "PNG", _GREY * (_ALPHA > 0), 0),
}


@pytest.mark.parametrize("name", _MODES)
def test_every_mode_keeps_its_range(tmp_path, name):
    stored, file_format, expected, tolerance = _MODES[name]
    (tmp_path / "a").write_bytes(_encode(Image.fromarray(stored), file_format))
    picture = open_photograph(tmp_path / "a")
    assert picture.mode == "RGB"
    expected = np.broadcast_to(expected[..., None] if expected.ndim == 2 else expected, (24, 32, 3))
    assert np.abs(np.asarray(picture, int) - expected).max() <= tolerance


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "P", "RGBA", "RGBX"])
def test_colour_spaces_become_rgb(tmp_path, mode):
    smooth = Image.fromarray(_ramp())
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(smooth, srgb, lab, outputMode="LAB")
    else:
        converted = smooth.quantize(256) if mode == "P" else smooth.convert(mode)
    converted.save(tmp_path / "a.tif")
    error = np.abs(np.asarray(open_photograph(tmp_path / "a.tif"), int) - _ramp())
    assert error.mean() < 3  # rounding of colour spaces, and 256 colours


def _profile_with_red_and_blue_swapped():
    """sRGB's profile, whose red and blue primaries have changed places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile).replace(b"s\0R\0G\0B", b"x\0R\0G\0B")


def test_an_embedded_colour_profile_is_applied_and_a_damaged_one_is_not(tmp_path):
    picture = Image.fromarray(_ramp())
    profile = _profile_with_red_and_blue_swapped()
    picture.save(tmp_path / "a.png", icc_profile=profile)
    error = np.abs(np.asarray(open_photograph(tmp_path / "a.png"), int) - _ramp()[..., ::-1])
    assert error.mean() < 2  # rounding of the profile's 16 bits
    picture.save(tmp_path / "b.png", icc_profile=profile[:100])
    np.testing.assert_array_equal(open_photograph(tmp_path / "b.png"), _ramp())
    Image.fromarray(_GREY).save(tmp_path / "c.png", icc_profile=profile)  # made for RGB
    np.testing.assert_array_equal(np.asarray(open_photograph(tmp_path / "c.png"))[..., 0], _GREY)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (_ramp(), _ramp()),
        (_ramp() / 255, _ramp()),
        (_ramp() / np.float32(254.9999), _ramp()),  # sums in float32 pass 1 by a little
        (_ramp().astype(np.uint16) * 257, _ramp()),
        (_ramp().astype(np.int64), _ramp()),
        (_GREY, np.dstack([_GREY] * 3)),
        (_GREY[..., None], np.dstack([_GREY] * 3)),
        (np.dstack([_ramp(), np.full_like(_GREY, 255)]), _ramp()),
    ],
)
def test_arrays_are_photographs(values, expected):
    np.testing.assert_array_equal(open_photograph(values), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 24, 32)), r"the array: expected shape .* found \[3, 24, 32\]"),
        (np.zeros((0, 5, 3)), r"expected shape .* found \[0, 5, 3\]"),
        (np.full((4, 4), np.nan), "expected values in 0..1, 0..255 or 0..65535, found nan"),
        (np.full((4, 4), 1.5), "found 1.5 to 1.5, which could be either; clip them to 0..1"),
        (None, "expected the path of a file, a picture of Pillow's or an array, got a NoneType"),
        (b"a.jpg", "an array, got a bytes"),
        (io.BytesIO(), "an array, got a BytesIO; open it with PIL.Image.open"),
        (np.full((4, 4), -1.0), "found -1.0 to -1.0"),
        (np.full((4, 4), 70000), "found 70000 to 70000"),
        (np.full((4, 4), "a"), "expected numbers, found values of type <U1"),
        (np.zeros((4, 4, 4), np.uint8), "transparent everywhere"),
    ],
)
def test_bad_arrays_say_why(values, message):
    with pytest.raises(BadPhotographError, match=message):
        open_photograph(values)


def _several(file_format):
    first = Image.fromarray(_ramp())
    return _encode(first, file_format, save_all=True, append_images=[first.rotate(90)])


def _iso_file(brand):
    return b"\0\0\0\x18ftyp" + brand + bytes(100)


_REFUSED = {
    # name: (content, what the message says)
    "empty": (b"", "found an empty file"),
    "interrupted copy": (bytes(5000), "found zero bytes"),
    "web page": (b"\n<!doctype html>", "found a web page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "found a Git LFS pointer"),
    "AppleDouble": (b"\0\5\x16\7\0\2\0\0Mac OS X", "found an AppleDouble file"),
    "HEIC": (_iso_file(b"heic"), "found HEIC"),
    "film": (_iso_file(b"qt  "), "found a film"),
    "AVIF": (_iso_file(b"avif"), "found AVIF"),
    "EPS": (_encode(Image.fromarray(_ramp()), "EPS"), "found PostScript"),
    "DDS": (_encode(Image.fromarray(_ramp()), "DDS"), "found a DDS texture"),
    "PPM": (_encode(Image.fromarray(_ramp()), "PPM"), "found one that fails with"),
    "bomb": (_encode(Image.new("1", (14000, 14000)), "PNG"), "exceeds limit of"),
    "cut": (_encode(Image.fromarray(_ramp()), "JPEG")[:-80], "image file is truncated"),
    "film of PNG": (_several("PNG"), "found 2 frames or pages"),
    "film of GIF": (_several("GIF"), "found 2 frames or pages"),
    "film of WebP": (_several("WEBP"), "found 2 frames or pages"),
    "pages": (_several("TIFF"), "found 2 frames or pages"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_no_picture_is_named_in_one_line(tmp_path, name):
    content, message = _REFUSED[name]
    path = tmp_path / "horse.jpg"
    path.write_bytes(content)
    for read in (open_photograph, mask_files.read_mask):
        with pytest.raises(BadPhotographError, match=message) as caught:
            read(path)
        assert isinstance(caught.value, UserError)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "folder.png").mkdir()
    for name, found in {"no": "no such file", "broken": "broken link", "folder": "folder"}.items():
        with pytest.raises(BadPhotographError, match=f"expected a readable image .* {found}"):
            open_upright(tmp_path / f"{name}.png")
    assert describe_contents(tmp_path / "a\0b") != ""


def test_names_stay_on_one_line():
    assert printable("a\nb\udcffc ü") == "a\\nb\\udcffc ü"


def test_the_photograph_of_a_multi_picture_file_is_its_first(tmp_path):
    (tmp_path / "a.jpg").write_bytes(_several("MPO"))
    error = np.abs(np.asarray(open_photograph(tmp_path / "a.jpg"), int) - _ramp())
    assert error.mean() < 4  # of JPEG


def test_previews_in_a_tiff_are_not_counted(tmp_path):
    picture = Image.fromarray(_ramp())
    preview = picture.resize((8, 6))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[preview])
    np.testing.assert_array_equal(open_photograph(tmp_path / "a.tif"), _ramp())


def _formats():
    """Small files of every promised format and many of their variants."""
    picture = Image.fromarray(_ramp())
    grey = Image.fromarray(_GREY)
    labels = Image.fromarray((_GREY // 100).astype(np.uint8))
    labels.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    wide = Image.fromarray(_GREY.astype(np.uint16) * 257)
    with_alpha = Image.merge("RGBA", [*picture.split(), grey])
    metadata = {"exif": _orientation(6), "icc_profile": _profile_with_red_and_blue_swapped()}
    yield _encode(picture, "JPEG", **metadata)
    yield _encode(picture, "JPEG", progressive=True)
    yield _encode(picture.convert("CMYK"), "JPEG")
    yield _several("MPO")
    yield _encode(with_alpha, "PNG", **metadata)
    yield _encode(wide, "PNG")
    yield _encode(labels, "PNG", transparency=0)
    yield _encode(grey.convert("1"), "PNG")
    yield _encode(picture, "BMP")
    yield _encode(labels, "BMP")
    yield _encode(picture, "WEBP", **metadata)
    yield _encode(with_alpha, "WEBP", lossless=True)
    yield _encode(labels, "GIF")
    for compression in (None, "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"):
        yield _encode(picture, "TIFF", compression=compression, exif=_orientation(6))
    yield _encode(grey.convert("1"), "TIFF", compression="group4")
    yield _encode(wide, "TIFF")
    yield _encode(Image.fromarray((_GREY / 255).astype(np.float32)), "TIFF")
    yield from (_several(name) for name in ("PNG", "GIF", "WEBP", "TIFF"))


def _damage(content, rng):
    """Cut, overwritten, zeroed, its header changed, or bytes added."""
    content = bytearray(content)
    place = rng.integers(len(content))
    match rng.integers(5):
        case 0:
            del content[place:]
        case 1:
            for _ in range(rng.integers(1, 8)):
                content[rng.integers(len(content))] = rng.integers(256)
        case 2:
            end = min(place + rng.integers(1, 40), len(content))
            content[place:end] = bytes(end - place)
        case 3:
            for _ in range(rng.integers(1, 4)):
                content[rng.integers(min(len(content), 120))] = rng.choice([0, 1, 127, 128, 255])
        case 4:
            content[place:place] = rng.bytes(rng.integers(1, 9))
    return bytes(content)


def _check_damaged_files(path, num_files, seed):
    rng = np.random.default_rng(seed)
    whole = list(_formats())
    for number in range(num_files):
        path.write_bytes(_damage(whole[number % len(whole)], rng))
        for read, mode in ((open_photograph, "RGB"), (mask_files.read_mask, "L")):
            try:
                assert read(path).mode == mode
            except BadPhotographError as error:
                assert str(path) in str(error) and "\n" not in str(error)


def test_damaged_files_end_in_a_picture_or_the_promised_error(tmp_path):
    _check_damaged_files(tmp_path / "a.jpg", num_files=250, seed=0)


@pytest.mark.slow
def test_many_damaged_files(tmp_path):
    _check_damaged_files(tmp_path / "a.jpg", num_files=3000, seed=1)
