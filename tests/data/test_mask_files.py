"""Masks as labelling tools, editors and data sets write them: all mean the same ellipse."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from pony_jax.data import mask_files
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.errors import UserError

_Y, _X = np.mgrid[:120, :160]


def _ellipse(x, y, width, height):
    return ((_X - x) / width) ** 2 + ((_Y - y) / height) ** 2 < 1


_ANIMAL, _OTHER = _ellipse(100, 60, 40, 20), _ellipse(30, 90, 20, 15)
_BOTH = _ANIMAL | _OTHER
_RIM = ndimage.binary_dilation(_ANIMAL, iterations=3) & ~ndimage.binary_erosion(_ANIMAL)
_INSIDE = _ANIMAL & ~_RIM
_GREY = np.where(_ANIMAL, 255, 0).astype(np.uint8)
_WHITE, _BLACK = np.full_like(_GREY, 255), np.zeros_like(_GREY)
_NOISE = np.random.default_rng(0).integers(0, 256, (*_GREY.shape, 3), np.uint8)


def _voc_palette():
    """Bits 3k, 3k + 1 and 3k + 2 of an index are bit 7 - k of its red, green and blue."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    return np.stack(
        [sum(bits[:, 3 * k + c] << 7 - k for k in range(3) if 3 * k + c < 8) for c in range(3)], -1
    )


def _palette(labels, colours):
    picture = Image.fromarray(np.asarray(labels, np.uint8))
    picture.putpalette(np.asarray(colours, np.uint8).ravel().tolist())
    return picture


def _grey(values):
    return Image.fromarray(np.asarray(values, np.uint8))


def _colours(*choices, background=(0, 0, 0)):
    """RGB pixels of (where, colour) choices."""
    pixels = np.broadcast_to(np.array(background, np.uint8), (*_GREY.shape, 3)).copy()
    for where, colour in choices:
        pixels[where] = colour
    return Image.fromarray(pixels)


def _lossy(picture, file_format="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def _alpha(colour, alpha):
    return Image.fromarray(np.dstack([colour] * 3 + [alpha]).astype(np.uint8))


_GREYS = [(i, i, i) for i in range(256)]
_HORSE, _PERSON = _voc_palette()[13], _voc_palette()[15]
_SOFT = Image.fromarray(_GREY).filter(ImageFilter.GaussianBlur(2))

_READ = {
    # name: (mask, what is the animal, smallest IoU with it)
    "black and white": (_grey(_GREY), _ANIMAL, 1),
    "1 bit": (Image.fromarray(_ANIMAL), _ANIMAL, 1),
    "black and white, in colours": (_grey(_GREY).convert("RGB"), _ANIMAL, 1),
    "0 and 1": (_grey(_ANIMAL), _ANIMAL, 1),
    "0 and a class": (_grey(_ANIMAL * 24), _ANIMAL, 1),
    "one of two instances is class 1, the other 2": (_grey(_ANIMAL + 2 * _OTHER), _BOTH, 1),
    "instances in greys": (_grey(_ANIMAL * 100 + _OTHER * 200), _BOTH, 1),
    "instances of 16 bits": (
        Image.fromarray((_ANIMAL * 26001 + _OTHER * 26002).astype(np.uint16)),
        _BOTH,
        1,
    ),
    "16 bit black and white": (Image.fromarray(_GREY.astype(np.uint16) * 257), _ANIMAL, 1),
    "16 bit, haze": (
        Image.fromarray(np.where(_ANIMAL, 65535, 20000).astype(np.uint16)),
        _ANIMAL,
        1,
    ),
    "8 bit values in 16 bits": (Image.fromarray(_GREY.astype(np.uint16)), _ANIMAL, 1),
    "soft": (_SOFT, _ANIMAL, 0.98),
    "soft, 16 bits": (
        Image.fromarray(np.asarray(_SOFT).astype(np.uint16) * 257),
        _ANIMAL,
        0.98,
    ),
    "soft, small, as a detector returns it": (_grey(_GREY).resize((40, 30), 4), _ANIMAL, 0.94),
    "JPEG": (_lossy(_grey(_GREY), quality=50), _ANIMAL, 0.99),
    "JPEG in colours": (_lossy(_grey(_GREY).convert("RGB"), quality=30), _ANIMAL, 0.98),
    "JPEG of CMYK": (_lossy(_grey(_GREY).convert("CMYK")), _ANIMAL, 0.99),
    "WebP": (_lossy(_grey(_GREY).convert("RGB"), "WEBP", quality=50), _ANIMAL, 0.98),
    "GIF": (_lossy(_grey(_GREY), "GIF"), _ANIMAL, 1),
    "alpha, white": (_alpha(_WHITE, _GREY), _ANIMAL, 1),
    "alpha, black": (_alpha(_BLACK, _GREY), _ANIMAL, 1),
    "alpha, a cut-out photograph": (Image.fromarray(np.dstack([_NOISE, _GREY])), _ANIMAL, 1),
    "alpha, a faint overlay": (_alpha(_WHITE, _ANIMAL * 89), _ANIMAL, 1),
    "alpha, soft": (_alpha(_WHITE, np.asarray(_SOFT)), _ANIMAL, 0.98),
    "alpha, grey": (Image.fromarray(np.dstack([_WHITE, _GREY])), _ANIMAL, 1),
    "alpha of a palette": (
        _lossy(_palette(_ANIMAL, [(9, 9, 9), (200, 0, 0)]), "PNG", transparency=0),
        _ANIMAL,
        1,
    ),
    "opaque alpha says nothing": (_alpha(_GREY, _WHITE), _ANIMAL, 1),
    "palette of VOC": (_palette(_ANIMAL * 13, _voc_palette()), _ANIMAL, 1),
    "palette of VOC, void rim": (
        _palette(np.where(_RIM, 255, _ANIMAL * 13), _voc_palette()),
        _INSIDE,
        1,
    ),
    "palette of VOC, two classes": (
        _palette(_ANIMAL * 13 + _OTHER * 15, _voc_palette()),
        _BOTH,
        1,
    ),
    "palette of DAVIS": (_palette(_ANIMAL, [(0, 0, 0), (128, 0, 0)]), _ANIMAL, 1),
    "palette on white": (_palette(_ANIMAL, [(255, 255, 255), (255, 0, 0)]), _ANIMAL, 1),
    "palette of greys, white first": (
        _palette(~_ANIMAL, [(255, 255, 255), (0, 0, 0)]),
        _ANIMAL,
        1,
    ),
    "palette of greys, labels and void": (
        _palette(np.where(_RIM, 255, _ANIMAL * 13), _GREYS),
        _INSIDE,
        1,
    ),
    "colours": (_colours((_ANIMAL, _HORSE), (_OTHER, (1, 0, 60))), _BOTH, 1),
    "colours of VOC, void rim": (_colours((_ANIMAL, _HORSE), (_RIM, (224, 224, 192))), _INSIDE, 1),
    "colours, JPEG": (_lossy(_colours((_ANIMAL, _HORSE)), quality=75), _ANIMAL, 0.97),
    "dark colours, JPEG": (_lossy(_colours((_ANIMAL, (64, 0, 0))), quality=75), _ANIMAL, 0.97),
    "fractions": (_lossy(Image.fromarray(_ANIMAL.astype(np.float32)), "TIFF"), _ANIMAL, 1),
    "32 bits": (_lossy(Image.fromarray(_ANIMAL.astype(np.int32) * 24), "TIFF"), _ANIMAL, 1),
    "the animal reaches all sides, void at its edge": (
        _palette(np.where(_X > 140, 0, np.where(_X > 136, 255, 13)), _voc_palette()),
        _X <= 136,
        1,
    ),
    "the animal fills the picture": (_grey(_WHITE), _WHITE > 0, 1),
}

_AMBIGUOUS = {
    # name: (mask, what the message says)
    "nothing": (_grey(_BLACK), "expected a mask with foreground, found none"),
    "void only": (_palette(_RIM * 255, _voc_palette()), "with foreground, found none"),
    "labels and 255": (_grey(np.where(_RIM, 255, _ANIMAL * 13)), "the greys 0, 13, 255, which"),
    "0, 1 and 255": (_grey(np.where(_RIM, 255, _ANIMAL)), "the greys 0, 1, 255, which could"),
    "trimap": (_grey(np.where(_RIM, 128, _GREY)), "the greys 0, 128, 255, which could mean"),
    "trimap of Oxford's pets": (
        _grey(np.where(_RIM, 3, np.where(_ANIMAL, 1, 2))),
        "the greys 1, 2, 3, which could mean several things; choose .* --mask_label",
    ),
    "one value everywhere": (_grey(_WHITE // 10), "the greys 25, which could mean"),
    "inverted": (_grey(255 - _GREY), "found foreground on all sides; invert the mask"),
    "inverted alpha": (_alpha(_WHITE, 255 - _GREY), "found foreground on all sides"),
    "inverted palette": (
        _palette(~_ANIMAL, [(255, 0, 0), (255, 255, 255)]),
        "found foreground on all sides",
    ),
    "inverted, cut at the lower edge": (
        _grey(np.where(_ellipse(80, 110, 30, 60), 0, 255)),
        "found foreground on all sides",
    ),
    "half opaque": (_alpha(_GREY, _WHITE // 2), "an opacity of 127 of 255 everywhere"),
    "a map of everything": (
        _grey(np.where(_ANIMAL, 13, np.where(_Y > 60, 5, 3))),
        "the greys 3, 5, 13",
    ),
    "a map of everything, palette": (
        _palette(np.where(_ANIMAL, 13, np.where(_Y > 60, 5, 3)), _voc_palette()),
        r"labels on all sides \(3, 5, 13\); choose the animal's with --mask_label",
    ),
    "animal and ground, palette": (
        _palette(np.where(_ANIMAL, 13, 3), _voc_palette()),
        r"labels on all sides \(3, 13\)",
    ),
    "colour on white": (
        _colours((_ANIMAL, (255, 0, 0)), background=(255, 255, 255)),
        "expected areas of colour on black, or black and white, found #ff0000, #ffffff",
    ),
    "noise": (Image.fromarray(_NOISE), "expected areas of colour on black"),
    "grey noise": (_grey(_NOISE[..., 0]), "and 248 others, which could mean"),
    "a cut-out on black": (
        Image.fromarray(_NOISE * _ANIMAL[..., None]),
        "expected areas of colour on black",
    ),
    "negative": (
        _lossy(Image.fromarray(_ANIMAL.astype(np.int32) - 1), "TIFF"),
        "expected values in 0..1, 0..255 or 0..65535, found -1 to 0",
    ),
    "no numbers": (
        _lossy(Image.fromarray(np.where(_ANIMAL, np.nan, 0).astype(np.float32)), "TIFF"),
        "found nan",
    ),
}


def _write(path, mask):
    path.write_bytes(mask if isinstance(mask, bytes) else _lossy(mask, "PNG"))
    return path


def _iou(is_animal, expected):
    return (is_animal & expected).sum() / (is_animal | expected).sum()


@pytest.mark.parametrize("name", _READ)
def test_the_animal_is_found(tmp_path, name):
    mask, expected, smallest_iou = _READ[name]
    level = mask_files.read_mask(_write(tmp_path / "m.png", mask))
    assert level.mode == "L"
    expected = np.asarray(Image.fromarray(expected).resize(level.size, Image.Resampling.NEAREST))
    assert _iou(np.asarray(level) > 127, expected) >= smallest_iou


@pytest.mark.parametrize("name", _AMBIGUOUS)
def test_what_is_ambiguous_is_refused_by_name(tmp_path, name):
    mask, message = _AMBIGUOUS[name]
    with pytest.raises(BadPhotographError, match=message) as caught:
        mask_files.read_mask(_write(tmp_path / "m.png", mask))
    assert str(tmp_path / "m.png") in str(caught.value)


_BY_LABEL = {
    "grey": (_grey(np.where(_RIM, 255, _ANIMAL * 13)), 13, _INSIDE),
    "inverted": (_grey(255 - _GREY), 0, _ANIMAL),
    "trimap": (_grey(np.where(_RIM, 3, np.where(_ANIMAL, 1, 2))), 1, _INSIDE),
    "instance": (Image.fromarray((_ANIMAL * 26001 + _OTHER).astype(np.uint16)), 26001, _ANIMAL),
    "index": (_palette(_ANIMAL * 13 + _OTHER * 15, _voc_palette()), 13, _ANIMAL),
    "index, by its colour": (
        _palette(_ANIMAL * 13 + _OTHER * 15, _voc_palette()),
        tuple(_HORSE.tolist()),
        _ANIMAL,
    ),
    "void on purpose": (_palette(_ANIMAL * 255 + _OTHER, _voc_palette()), 255, _ANIMAL),
    "colour": (_colours((_ANIMAL, (255, 0, 0)), background=(9, 9, 9)), (255, 0, 0), _ANIMAL),
    "not where it is transparent": (_alpha(_WHITE, np.where(_OTHER, 255, _GREY)), 255, _BOTH),
    "fractions": (_lossy(Image.fromarray(_ANIMAL.astype(np.float32)), "TIFF"), 1, _ANIMAL),
    "1 bit": (Image.fromarray(_ANIMAL), 1, _ANIMAL),
}


@pytest.mark.parametrize("name", _BY_LABEL)
def test_a_label_is_the_only_animal(tmp_path, name):
    mask, label, expected = _BY_LABEL[name]
    level = mask_files.read_mask(_write(tmp_path / "m.png", mask), label)
    np.testing.assert_array_equal(np.asarray(level) > 127, expected)


def test_a_label_that_is_not_there_lists_those_that_are(tmp_path):
    path = _write(tmp_path / "m.png", _grey(_ANIMAL * 13 + _OTHER * 15))
    with pytest.raises(BadPhotographError, match="foreground, label 14, found 0, 13, 15"):
        mask_files.read_mask(path, 14)
    path = _write(tmp_path / "m.png", _colours((_ANIMAL, (255, 0, 0))))
    with pytest.raises(BadPhotographError, match="colours #000000, #ff0000; give a colour instead"):
        mask_files.read_mask(path, 14)
    with pytest.raises(BadPhotographError, match="label #0a0b0c, found #000000, #ff0000"):
        mask_files.read_mask(path, (10, 11, 12))


def test_labels_are_written_as_numbers_or_colours():
    assert mask_files.parse_label("13") == 13
    assert mask_files.parse_label("#C00080") == (192, 0, 128)
    for text in ("", "-1", "horse", "#fff", "1.5", "c00080", "123456"):
        with pytest.raises(UserError, match="expected a grey value or palette index"):
            mask_files.parse_label(text)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_the_smallest_masks(tmp_path, shape):
    path = _write(tmp_path / "m.png", Image.fromarray(np.full(shape, 255, np.uint8)))
    assert (np.asarray(mask_files.read_mask(path)) == 255).all()
    mask = np.zeros(shape, np.uint8)
    mask[0, 0] = 1
    if mask.size > 1:
        path = _write(tmp_path / "m.png", Image.fromarray(mask))
        np.testing.assert_array_equal(np.asarray(mask_files.read_mask(path)), mask * 255)


def test_masks_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    stored = _grey(_GREY).transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(mask_files.read_mask(tmp_path / "m.png")), _GREY)
