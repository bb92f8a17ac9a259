"""Opens photographs and masks that other people's cameras and programs wrote.

Only the formats in `FORMATS` are ever decoded, whatever a file is called, and whatever such a file
does ends in a picture or in a `BadPhotographError` of one line. A picture comes upright, as viewers
show it: turned by its EXIF orientation.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageCms, ImageOps

from pony_jax.data.file_contents import describe_contents, printable
from pony_jax.errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""Pillow's names of the formats that are read. JPEG includes the multi-picture files of phones."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".png", ".apng", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
)
"""Endings of picture files, in lower case."""

_MAX_ROUNDED_WHITE = 1.001
"""What fractions may reach: resampling and sums in float32 pass 1 by a little, which is clipped."""

_SUBFILE_TYPE = 254  # tag of a TIFF page
_SRGB = ImageCms.createProfile("sRGB")


class BadPhotographError(UserError, ValueError):
    """A photograph that cannot be used: says in one line which, what was expected and found."""


def open_photograph(
    source: str | os.PathLike[str] | Image.Image | Shaped[np.ndarray, "..."],
) -> Image.Image:
    """One photograph, upright, as an RGB picture of 8 bits a channel in sRGB colours.

    Args:
      source: the path of a file, a picture of Pillow's, or an array [h, w], [h, w, 1] (grey),
        [h, w, 3] (RGB) or [h, w, 4] (RGB and alpha), row 0 at the top.

    What is transparent becomes black, like what lies beyond a photograph. More than 8 bits, and
    fractions, are scaled from the range that holds their largest value: 0..1 (fractions only),
    0..255 or 0..65535. An embedded colour profile is applied; one that is damaged or made for
    another kind of picture is ignored, as viewers do. Raises `BadPhotographError`, of one line,
    for everything that cannot be opened or has several frames or pages.
    """
    if isinstance(source, str | os.PathLike):
        upright = open_upright(source)
        with _naming(source):
            return _as_rgb(upright)
    if isinstance(source, Image.Image):
        with _naming("the picture"):
            try:
                upright = _upright(source)  # may be what decodes it
            except Exception as error:
                raise BadPhotographError(f"cannot be decoded: {_one_line(error)}") from error
            return _as_rgb(upright)
    if isinstance(source, str | bytes) or not (
        hasattr(source, "__array__") or isinstance(source, list | tuple)
    ):
        raise BadPhotographError(
            f"expected the path of a file, a picture of Pillow's or an array, got a "
            f"{type(source).__name__}; open it with PIL.Image.open"
        )
    with _naming("the array"):
        return _as_rgb(_from_array(np.asarray(source)))


def open_upright(path: str | os.PathLike[str]) -> Image.Image:
    """The picture in a file, turned upright, in the mode that it is stored in.

    Raises `BadPhotographError` if it cannot be read or holds several pictures. Of a multi-picture
    JPEG the first is the photograph, and previews in a TIFF are not counted.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; what matters is whether it opens
            with Image.open(path, formats=FORMATS) as image:
                num_pictures = _num_pictures(image)
                upright = _upright(image)
    except Exception as error:  # Pillow's readers raise whatever their parsing meets
        found = describe_contents(path) or f"one that fails with: {_one_line(error)}"
        raise BadPhotographError(
            f"expected a readable image ({', '.join(FORMATS)}) at {printable(path)}, found "
            f"{found}; replace, convert or remove it"
        ) from error
    if num_pictures > 1:
        raise BadPhotographError(
            f"expected one picture in {printable(path)}, found {num_pictures} frames or pages; "
            "save the one that is meant as a file of its own"
        )
    return upright


def to_bytes(values: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Numbers as 0..255, by the range rule of `open_photograph`; of truth values, true is 255.

    Raises `BadPhotographError` on values that are no numbers, negative, or above 65535.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    scaled = np.rint(values * (255 / full_scale(values)))
    return np.minimum(scaled, 255).astype(np.uint8)


def full_scale(values: Shaped[np.ndarray, "..."]) -> int:
    """The value that means white: 1 (fractions only), 255 or 65535, the first that holds them all.

    Raises `BadPhotographError` like `to_bytes`.
    """
    if values.dtype.kind not in "uif":
        raise BadPhotographError(f"expected numbers, found values of type {values.dtype}")
    low, high = values.min(), values.max()
    if not (0 <= low and high <= 65535):  # false for NaN as well
        raise BadPhotographError(
            f"expected values in 0..1, 0..255 or 0..65535, found {low} to {high}; scale them"
        )
    if values.dtype.kind == "f" and high <= _MAX_ROUNDED_WHITE:
        return 1
    if values.dtype.kind == "f" and high < 2:
        raise BadPhotographError(
            f"expected fractions in 0..1, or values in 0..255 or 0..65535, found {low} to {high}, "
            "which could be either; clip them to 0..1"
        )
    return next(full for full in (255, 65535) if high <= full)


def has_wide_values(image: Image.Image) -> bool:
    """Whether a picture of Pillow's has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


@contextmanager
def _naming(source: object) -> Iterator[None]:
    """Puts before a message what could not be used."""
    try:
        yield
    except BadPhotographError as error:
        raise BadPhotographError(f"{printable(source)}: {error}") from error


def _num_pictures(image: Image.Image) -> int:
    """How many pictures a file holds, without those that go with another one."""
    num_frames = getattr(image, "n_frames", 1)
    if image.format == "MPO":  # the photograph, and its depth, gain map or preview
        return 1
    if image.format != "TIFF":
        return num_frames
    count = 0
    for page in range(num_frames):
        image.seek(page)
        # Bits 0 and 2 of the subfile type: a smaller copy, and the transparency, of another page.
        count += page == 0 or not image.tag_v2.get(_SUBFILE_TYPE, 0) & 0b101
    image.seek(0)
    return count


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "La":  # of which Pillow knows no other conversion
        image = image.convert("LA")
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the EXIF data are damaged, not the picture: viewers show it as it is
        return image.copy()


def _as_rgb(image: Image.Image) -> Image.Image:
    """`image` of any of Pillow's modes as RGB."""
    profile = image.info.get("icc_profile")
    if has_wide_values(image):
        image = Image.fromarray(to_bytes(np.asarray(image)))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[1] == 0:
            raise BadPhotographError(
                "expected a picture, found one that is transparent everywhere; save it without "
                "transparency"
            )
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode == "LAB":
        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), _SRGB, outputMode="RGB"
        )
    return (_to_srgb(image, profile) if profile else None) or image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Applies a colour profile; None if it says nothing, or nothing about such a picture."""
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(embedded).startswith("sRGB"):
            return None
        return ImageCms.profileToProfile(image, embedded, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _from_array(values: Shaped[np.ndarray, "..."]) -> Image.Image:
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if 0 in values.shape or not (
        values.ndim == 2 or (values.ndim == 3 and values.shape[-1] in (3, 4))
    ):
        raise BadPhotographError(
            f"expected shape [h, w], [h, w, 1], [h, w, 3] or [h, w, 4], found {list(values.shape)}"
        )
    return Image.fromarray(np.ascontiguousarray(to_bytes(values)))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
