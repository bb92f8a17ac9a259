"""Reads masks as labelling tools, editors and data sets write them: which pixels are the animal?"""

import functools
import os
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

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

BRIGHTER_THAN_HALF = "brighter than half"

MaskLabel = int | tuple[int, int, int] | Literal["brighter than half"]
"""A grey value or palette index, an RGB colour, or, of greys that are shares, from which on."""

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
        return _grey_animal(alpha.astype(np.int32), "opacities") * ~_palette_void(image)
    if image.mode == "P":
        return _palette_animal(image)
    values = _greys(image)
    return _colour_animal(image) if values is None else _grey_animal(values)


def _labelled(image: Image.Image, label: MaskLabel) -> UInt8[np.ndarray, "h w"]:
    if label == BRIGHTER_THAN_HALF:
        return to_bytes(np.asarray(image.convert("L")) > 127)
    if not isinstance(label, int):
        values, label = _packed(image), _pack(*label)
        show = _hexadecimal
    else:
        values = np.asarray(image) if image.mode == "P" else _greys(image)
        show = str
    if values is None:
        colours = _list(_count(_packed(image)), _hexadecimal)
        raise BadPhotographError(
            f"expected greys or a palette for label {label}, found the colours {colours}; give a "
            "colour instead"
        )
    is_animal = values == label
    if not is_animal.any():
        raise BadPhotographError(
            f"expected a mask with foreground, label {show(label)}, found "
            f"{_list(_count(values), show)}"
        )
    return to_bytes(is_animal & (_alpha(image) > 127))


def _greys(image: Image.Image) -> Int[np.ndarray, "h w"] | None:
    """The values of a grey picture in 0..255 or 0..65535; None if it has colours."""
    if image.mode == "1":
        return np.asarray(image).astype(np.int32)
    if has_wide_values(image):
        values = np.asarray(image)
        full_scale(values)  # refuses what cannot be greys
        return (values if (values == np.rint(values)).all() else to_bytes(values)).astype(np.int32)
    if image.mode in ("L", "LA"):
        return np.asarray(image.getchannel(0)).astype(np.int32)
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    return None if (highest - lowest).max() > _MAX_CHROMA else highest.astype(np.int32)


def _grey_animal(values: Int[np.ndarray, "h w"], what: str = "greys") -> UInt8[np.ndarray, "h w"]:
    areas = _count(values)
    lowest, highest = areas.value[0], areas.value[-1]
    full = max(full_scale(areas.value), 255)
    if len(areas.value) == 1 and highest in (0, 1, 255, full):
        return to_bytes(values > 0)
    if len(areas.value) == 2 and (lowest == 0 or 2 * lowest < full <= 2 * highest):
        return to_bytes(values == highest)
    if _is_black_and_white(areas, full):
        return to_bytes(values.astype(np.uint8 if full == 255 else np.uint16))
    if _is_label_map(areas) and lowest == 0 and highest != full:
        return _unless_everywhere(to_bytes(values > 0), areas, (0,), str)
    raise BadPhotographError(
        f"expected black and white, or labels on 0, found the {what} {_list(areas, str)}, which "
        "could mean several things; choose what is the animal with --mask_label, or make the mask "
        "black and white"
    )


def _palette_animal(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    index = np.asarray(image)
    areas = _count(index)
    stored = np.array(image.getpalette("RGB"), np.int32).reshape(-1, 3)
    colours = np.zeros((256, 3), np.int32)  # a palette may be shorter than its indices
    colours[: len(stored)] = stored
    is_grey = np.ptp(colours[areas.value], axis=-1).max() <= _MAX_CHROMA
    if is_grey:
        greys = colours.max(axis=-1)[index]
        grey_areas = _count(greys)
        if len(grey_areas.value) == 2 or _is_black_and_white(grey_areas, 255):
            return _grey_animal(greys)
    if not _is_label_map(areas):  # an export with few colours, whose indices have no order
        return _grey_animal(greys) if is_grey else _colour_animal(image)
    return _unless_everywhere(to_bytes((index != 0) & (index != 255)), areas, (0, 255), str)


def _colour_animal(image: Image.Image) -> UInt8[np.ndarray, "h w"]:
    packed = _packed(image)
    areas = _count(packed)
    if _is_label_map(areas):
        void = _pack(*_VOC_VOID)
        if areas.value[0] == 0:
            level = to_bytes((packed != 0) & (packed != void))
            return _unless_everywhere(level, areas, (0, void), _hexadecimal)
    else:  # colours with the noise of compression
        highest = functools.reduce(np.maximum, (packed >> 16, packed >> 8 & 255, packed & 255))
        is_animal = highest > _MAX_BLACK
        flat_animal = is_animal & _is_flat(packed)
        if not is_animal.all() and flat_animal.sum() > _MIN_FLAT * is_animal.sum():
            darkest = np.percentile(highest[flat_animal], 5)
            return to_bytes(highest > darkest / 2)
    raise BadPhotographError(
        f"expected areas of colour on black, or black and white, found {_list(areas, _hexadecimal)}"
        "; make a mask of it, or choose a colour with --mask_label='#rrggbb'"
    )


def _unless_everywhere(
    level: UInt8[np.ndarray, "h w"],
    areas: "_Areas",
    no_labels: tuple[int, ...],
    show: Callable[[int], str],
) -> UInt8[np.ndarray, "h w"]:
    """`level`, unless it unites several labels that fill the picture: then they are no animals."""
    num_labels = np.isin(areas.value, no_labels, invert=True).sum()
    if num_labels > 1 and _border(level > 127).mean() > 0.6:
        raise BadPhotographError(
            f"expected one animal on a background, found labels on all sides "
            f"({_list(areas, show)}); choose the animal's with --mask_label"
        )
    return level


class _Areas(NamedTuple):
    """For each value in a picture, in order, how many pixels have it."""

    value: Int[np.ndarray, " n"]
    size: Int[np.ndarray, " n"]
    flat: Int[np.ndarray, " n"]  # of these, those whose neighbours have it too


def _count(values: Int[np.ndarray, "h w"]) -> _Areas:
    position = np.zeros(int(values.max()) + 1, np.int32)
    position[values.ravel()] = 1
    found = np.flatnonzero(position)
    position[found] = np.arange(len(found))
    number = position[values]
    flat = np.bincount(number[_is_flat(values)], minlength=len(found))
    return _Areas(found, np.bincount(number.ravel()), flat)


def _is_flat(values: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where a pixel equals those to its right, below, and below right."""
    flat = np.zeros(values.shape, bool)
    here = values[:-1, :-1]
    flat[:-1, :-1] = (
        (here == values[1:, :-1]) & (here == values[:-1, 1:]) & (here == values[1:, 1:])
    )
    return flat


def _is_label_map(areas: _Areas) -> bool:
    """Whether nearly all pixels off the background lie in areas of one value."""
    off_background = areas.size * (areas.value > 0)
    stray = off_background[areas.flat < 0.2 * areas.size].sum()
    return stray <= _MAX_STRAY * off_background.sum()


def _is_black_and_white(areas: _Areas, full: int) -> bool:
    """Whether it is bright on dark, with soft edges and noise, and nothing else."""
    value, num_pixels = areas.value, areas.size.sum()
    num_bright = areas.size[2 * value >= full].sum()
    if num_bright in (0, num_pixels):
        return False
    is_dark = (value <= full // 8) & (value > value[0])
    is_between = (value > full // 8) & (value < full * 7 // 8)
    if _is_label_map(areas) and (
        areas.flat[is_dark].sum() > _MIN_DARK_AREA * num_bright
        or areas.flat[is_between].sum() > _MIN_MIDDLE_AREA * num_bright
    ):
        return False
    is_middle = (4 * value > full) & (4 * value < 3 * full)
    is_smooth = areas.flat.sum() > _MIN_FLAT * num_pixels
    limit = _MAX_SMOOTH_MIDDLE if is_smooth else _MAX_ROUGH_MIDDLE
    return areas.size[is_middle].sum() <= limit * num_pixels


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
    """RGB in one number a pixel."""
    channels = np.asarray(image.convert("RGB")).astype(np.int32)
    return _pack(channels[..., 0], channels[..., 1], channels[..., 2])


def _pack(red, green, blue):
    return (red << 16) + (green << 8) + blue


def _hexadecimal(packed: int) -> str:
    return f"#{packed:06x}"


def _list(areas: _Areas, show: Callable[[int], str], most: int = 8) -> str:
    """The commonest values, in order."""
    commonest = np.argsort(-areas.size, kind="stable")[:most]
    listed = ", ".join(show(value) for value in np.sort(areas.value[commonest]))
    others = len(areas.value) - most
    return f"{listed} and {others} others" if others > 0 else listed
