"""Reads masks as labelling tools, editors and data sets write them: which pixels are the animal?"""

import os
import re

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from pony_jax.data.file_contents import printable
from pony_jax.data.picture_files import (
    BadPhotographError,
    full_scale,
    has_wide_values,
    open_upright,
    to_bytes,
)
from pony_jax.errors import UserError

RULE = (
    "What is the animal in a mask, the first that applies: (1) with --mask_label, what has this "
    "label. (2) If anything is transparent: what is opaque. (3) In a palette of colours: every "
    "index but 0 (background) and 255 (void). (4) In colours: everything but black and VOC's void "
    "colour #e0e0c0. (5) In greys: a value other than 0 if there is no third one; every value but "
    "0 in a map of labels; else what is brighter than half. Void is not animal. A mask that could "
    "mean several things, such as an inverted one, is refused by name."
)
"""The rule that `read_mask` follows, for people."""

MaskLabel = int | tuple[int, int, int]
"""A grey value or palette index, or an RGB colour."""

_VOC_VOID = (224, 224, 192)  # colour of index 255 in the palette of Pascal VOC, which others share
_MAX_CHROMA = 24  # channels that differ by this at most are grey with the noise of compression
_MAX_BLACK = 32  # of the largest channel, of black beside colours, with the same noise

_MAX_STRAY = 0.05
"""Share of the pixels off the background that may have values of no area: in a map of labels nearly
all pixels lie in areas of one value, while soft edges and noise of compression run through many."""

_MIN_DARK_AREA, _MIN_MIDDLE_AREA = 0.05, 0.02
"""Areas of one value near black, or between black and white, in shares of what is bright, from
which on a mask with exact values is a map of labels rather than black and white."""

_MAX_SMOOTH_MIDDLE, _MAX_ROUGH_MIDDLE, _MIN_FLAT = 0.25, 0.05, 0.2
"""A mask is not a photograph if at most this share is middle grey, or less where few pixels equal
their neighbours. (Weizmann's photographs have 16 to 98 %, a mask blurred by a tenth has 14 %.)"""


def parse_label(text: str) -> MaskLabel:
    """A label as people write it: `13` or `#c00080`. Raises `UserError`."""
    if re.fullmatch(r"\d{1,5}", text):
        return int(text)
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return tuple(bytes.fromhex(text[1:]))
    raise UserError(
        f"expected a grey value or palette index such as 13, or a colour such as '#c00080', for "
        f"--mask_label, got {text!r}"
    )


def read_mask(path: str | os.PathLike[str], label: MaskLabel | None = None) -> Image.Image:
    """The mask in a file, upright, as a picture of mode L: what is above 127 is the animal.

    Soft edges stay soft; otherwise pixels are 0 or 255. `RULE` says what is the animal; `label`, if
    any, is the only value or colour that is. Raises `BadPhotographError` if the file cannot be
    read, shows no animal, or is ambiguous.
    """
    image = open_upright(path)
    try:
        level = _animal(image) if label is None else _labelled(image, label)
        is_animal = level > 127
        if not is_animal.any():
            raise BadPhotographError("expected a mask with foreground, found none; make it again")
        if label is None and _is_inverted(is_animal):
            raise BadPhotographError(
                "expected an animal inside the picture, found foreground on all sides; invert the "
                "mask, or choose what is the animal with --mask_label (0 for black)"
            )
    except BadPhotographError as error:
        raise BadPhotographError(f"{error} (in {printable(path)})") from error
    return Image.fromarray(level)


def _animal(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    """How much each pixel is the animal, 0..255, by `RULE` without a label."""
    alpha = _alpha(image)
    if alpha.min() < 255:
        if alpha.min() == alpha.max():
            raise BadPhotographError(
                f"expected a mask that is transparent off the animal, found an opacity of "
                f"{alpha.min()} of 255 everywhere; remove the alpha channel"
            )
        return _grey_animal(alpha, what="opacities") * ~_palette_void(image)
    if image.mode == "P":
        return _palette_animal(image)
    values = _greys(image)
    return _colour_animal(image) if values is None else _grey_animal(values)


def _labelled(image: Image.Image, label: MaskLabel) -> UInt8[np.ndarray, "h w"]:
    if not isinstance(label, int):
        values, label = _packed(image), _pack(*label)
        shown = _hexadecimal
    else:
        values = np.asarray(image).astype(int) if image.mode == "P" else _greys(image)
        shown = str
    if values is None:
        raise BadPhotographError(
            f"expected greys or a palette for label {label}, found the colours "
            f"{_list(_packed(image), _hexadecimal)}; give a colour instead"
        )
    is_animal = values == label
    if not is_animal.any():
        raise BadPhotographError(
            f"expected a mask with foreground, label {shown(label)}, found {_list(values, shown)}"
        )
    return to_bytes(is_animal & (_alpha(image) > 127))


def _greys(image: Image.Image) -> Int[np.ndarray, "h w"] | None:
    """The values of a grey picture in 0..255 or 0..65535; None if it has colours."""
    if image.mode == "1":
        return np.asarray(image).astype(int)
    if has_wide_values(image):
        values = np.asarray(image)
        full_scale(values)  # refuses what cannot be greys
        return (values if (values == np.rint(values)).all() else to_bytes(values)).astype(int)
    if image.mode in ("L", "LA"):
        return np.asarray(image.getchannel(0)).astype(int)
    channels = np.asarray(image.convert("RGB")).astype(int)
    highest = channels.max(axis=-1)
    return highest if (highest - channels.min(axis=-1)).max() <= _MAX_CHROMA else None


def _grey_animal(values: Int[np.ndarray, "h w"], what: str = "greys") -> UInt8[np.ndarray, "h w"]:
    found = np.flatnonzero(np.bincount(values.ravel()))
    full = max(full_scale(found), 255)
    if len(found) == 1:
        if found[0] not in (0, 1, 255, full):
            raise _ambiguous(values, what)
        return to_bytes(values > 0)
    if len(found) == 2 and (found[0] == 0 or 2 * found[0] < full <= 2 * found[1]):
        return to_bytes(values == found[1])
    if _is_black_and_white(values, full):
        return np.rint(values * (255 / full)).astype(np.uint8)
    if _is_label_map(values) and found[0] == 0 and found[-1] != full:
        return _all_labels(values, to_bytes(values > 0), str)
    raise _ambiguous(values, what)


def _palette_animal(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    index = np.asarray(image).astype(int)
    greys = _greys(image.convert("RGB"))
    if greys is not None and (len(np.unique(greys)) == 2 or _is_black_and_white(greys, 255)):
        return _grey_animal(greys)
    if not _is_label_map(index):  # an export with few colours, whose indices have no order
        return _colour_animal(image) if greys is None else _grey_animal(greys)
    return _all_labels(index, to_bytes((index != 0) & (index != 255)), str)


def _colour_animal(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    packed = _packed(image)
    highest = np.asarray(image.convert("RGB")).max(axis=-1)
    if _is_label_map(packed):
        is_animal = (packed != 0) & (packed != _pack(*_VOC_VOID))
        if (packed == 0).any():
            return _all_labels(packed, to_bytes(is_animal), _hexadecimal)
    else:  # colours with the noise of compression
        is_animal = highest > _MAX_BLACK
        areas = is_animal & _is_flat(packed)
        if not is_animal.all() and areas.sum() > _MIN_FLAT * is_animal.sum():
            darkest = np.percentile(highest[areas], 5)
            return to_bytes(highest > darkest / 2)
    raise BadPhotographError(
        "expected areas of colour on black, or black and white, found "
        f"{_list(packed, _hexadecimal)}; make a mask of it, or choose a colour with "
        "--mask_label='#rrggbb'"
    )


def _all_labels(
    labels: Int[np.ndarray, "h w"], level: UInt8[np.ndarray, "h w"], shown
) -> UInt8[np.ndarray, "h w"]:
    """`level`, unless it unites several labels that fill the picture: then they are no animals."""
    is_animal = level > 127
    if len(np.unique(labels[is_animal])) > 1 and _border(is_animal).mean() > 0.6:
        raise BadPhotographError(
            f"expected one animal on a background, found labels on all sides "
            f"({_list(labels, shown)}); choose the animal's with --mask_label"
        )
    return level


def _is_black_and_white(values: Int[np.ndarray, "h w"], full: int) -> bool:
    """Whether it is bright on dark, with soft edges and noise, and nothing else."""
    num_bright = np.sum(2 * values >= full)
    if num_bright in (0, values.size):
        return False
    flat = _is_flat(values)
    is_dark = (values <= full // 8) & (values > values.min())
    is_middle = (values > full // 8) & (values < full * 7 // 8)
    if _is_label_map(values) and (
        np.sum(flat & is_dark) > _MIN_DARK_AREA * num_bright
        or np.sum(flat & is_middle) > _MIN_MIDDLE_AREA * num_bright
    ):
        return False
    middle = np.mean((4 * values > full) & (4 * values < 3 * full))
    limit = _MAX_SMOOTH_MIDDLE if flat.mean() > _MIN_FLAT else _MAX_ROUGH_MIDDLE
    return middle <= limit


def _is_label_map(values: Int[np.ndarray, "h w"]) -> bool:
    """Whether nearly all pixels off the background lie in areas of one value."""
    if values.max() > 65535:  # colours: count them by their position among those there are
        values = np.unique(values, return_inverse=True)[1].reshape(values.shape) + (
            values.min() > 0
        )
    area = np.bincount(values.ravel())
    flat_area = np.bincount(values[_is_flat(values)], minlength=len(area))
    off_background = area * (np.arange(len(area)) > 0)
    stray = off_background[flat_area < 0.2 * area].sum()
    return stray <= _MAX_STRAY * off_background.sum()


def _is_flat(values: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where a pixel equals those to its right, below, and below right."""
    flat = np.zeros(values.shape, bool)
    here = values[:-1, :-1]
    flat[:-1, :-1] = (
        (here == values[1:, :-1]) & (here == values[:-1, 1:]) & (here == values[1:, 1:])
    )
    return flat


def _is_inverted(is_animal: Bool[np.ndarray, "h w"]) -> bool:
    """Whether what is taken for the animal surrounds what is not."""
    covered, background = _border(is_animal).mean(), 1 - is_animal.mean()
    return (covered == 1 and background > 0.01) or (covered > 0.8 and background > 0.1)


def _border(pixels: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, " n"]:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _alpha(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    """The opacity, 255 where nothing is said of it."""
    if has_wide_values(image) or not image.has_transparency_data:
        return np.full(image.size[::-1], 255, np.uint8)
    return np.asarray(image.convert("RGBA").getchannel("A"))


def _palette_void(image: Image.Image) -> Bool[np.ndarray, "h w"]:
    """Where a palette mask has index 255 in the colour of VOC's void."""
    if image.mode != "P":
        return np.zeros(image.size[::-1], bool)
    return (np.asarray(image) == 255) & (_packed(image) == _pack(*_VOC_VOID))


def _packed(image: Image.Image) -> Int[np.ndarray, "h w"]:
    return _pack(*np.moveaxis(np.asarray(image.convert("RGB")).astype(int), -1, 0))


def _pack(red, green, blue):
    return (red << 16) + (green << 8) + blue


def _hexadecimal(packed: int) -> str:
    return f"#{packed:06x}"


def _list(values: Int[np.ndarray, "h w"], shown, most: int = 8) -> str:
    """The commonest values, in order."""
    kinds, counts = np.unique(values, return_counts=True)
    listed = ", ".join(shown(kind) for kind in np.sort(kinds[np.argsort(-counts)[:most]]))
    return f"{listed} and {len(kinds) - most} others" if len(kinds) > most else listed


def _ambiguous(values: Int[np.ndarray, "h w"], what: str) -> BadPhotographError:
    return BadPhotographError(
        f"expected black and white, or labels on 0, found the {what} {_list(values, str)}, which "
        "could mean several things; choose what is the animal with --mask_label, or make the mask "
        "black and white"
    )
