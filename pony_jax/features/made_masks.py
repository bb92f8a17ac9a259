"""Masks for photographs that have none: made, kept as files, sorted out, and shown to people.

    FOLDER/masks/NAME.png     the largest animal of a photograph; all black where none was found
    FOLDER/masks.html         all of them to look through
    FOLDER/struck_out.txt     names that people want left out, one a line; never overwritten

Every mask says in its file what made it of which photograph, and how many animals were found, so
that a photograph is looked at once, whatever is filtered or struck out afterwards.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from pony_jax.data.file_contents import printable
from pony_jax.data.photographs import FoundPhotographs, Photograph, read_crop, split_of
from pony_jax.data.picture_facts import PictureFacts, measure
from pony_jax.data.picture_files import BadPhotographError, open_photograph
from pony_jax.data.picture_pairs import MissingPhotographsError, find_picture_files, no_picture
from pony_jax.features.errors import ExtractionError
from pony_jax.features.masks_page import MaskTile, render_masks_page

AUTO = "auto"
PAGE_FILE, STRUCK_OUT_FILE = "masks.html", "struck_out.txt"

_MIN_SIDE_PX = 64
_BLURRED_SHARE = 0.1

FILTERS = {
    "size": f"the square around the animal is smaller than {_MIN_SIDE_PX} pixels",
    "truncation": "the animal touches an edge of the photograph",
    "one_animal": "there are several animals",
    "sharpness": f"it is less than {_BLURRED_SHARE:g} times as sharp as the median",
}
"""Reasons to leave out a photograph, by name."""

_NO_ANIMAL, _STRUCK_OUT, _BAD = "no animal found", "struck out", "cannot be read"


class MaskMaker(Protocol):
    """Finds animals in pictures."""

    name: str

    def __call__(self, picture: Image.Image) -> list[Image.Image]:
        """Masks (L, 255 = animal) of the animals in an RGB picture, of its size, largest first."""
        ...


class _Masked(NamedTuple):
    """A photograph with its made mask, and what is known of both."""

    photograph: Photograph
    num_animals: int
    facts: PictureFacts | None  # None without animal


class LeftOutError(BadPhotographError):
    """A photograph that is left out because of its mask; `reason` is one of a few."""

    def __init__(self, name: str, reason: str):
        """`name` is that of the photograph."""
        super().__init__(f"{printable(name)}: left out, {reason}")
        self.reason = reason


def make_masks(images: str | os.PathLike[str], folder: Path, maker: MaskMaker) -> None:
    """Makes the masks under `folder` that are not there yet, or were made otherwise.

    Photographs that cannot be read get none. After an interruption it goes on where it was.
    """
    for name, path in tqdm(_single_pictures(images)[0].items(), desc="masks", unit="photograph"):
        mask_path = _mask_path(folder, name)
        made_of = {"maker": maker.name, "photograph": _fingerprint(path)}
        if mask_path.is_file() and made_of.items() <= _read_facts(mask_path).items():
            continue
        try:
            picture = open_photograph(path)
        except BadPhotographError:  # `find_masked` names it
            continue
        masks = maker(picture)
        stored = PngInfo()
        for key, text in {**made_of, "animals": str(len(masks))}.items():
            stored.add_text(key, text)
        mask_path.parent.mkdir(parents=True, exist_ok=True)
        partial = mask_path.with_suffix(".partial")
        mask = masks[0] if masks else Image.new("L", picture.size)
        mask.save(partial, format="PNG", pnginfo=stored)
        partial.replace(mask_path)


def find_masked(
    images: str | os.PathLike[str],
    folder: Path,
    *,
    test_every: int = 10,
    filters: Sequence[str] = tuple(FILTERS),
) -> FoundPhotographs:
    """The photographs whose made masks pass the filters; writes the page about all of them.

    Every other photograph is in `errors` with the reason. Raises `ExtractionError` for an unknown
    filter, `MissingPhotographsError` where none is left.
    """
    if unknown := sorted(set(filters) - set(FILTERS) - {""}):
        raise ExtractionError(
            f"expected --mask_filters of {', '.join(FILTERS)}, got {', '.join(unknown)}"
        )
    pictures, errors = _single_pictures(images)
    struck_out = _read_struck_out(folder, pictures)
    masked: list[_Masked] = []
    for name, path in pictures.items():
        try:
            masked.append(_look_at(name, path, _mask_path(folder, name)))
        except BadPhotographError as error:
            errors.append(error)
    sharpness = [each.facts.sharpness for each in masked if each.facts]
    min_sharpness = _BLURRED_SHARE * float(np.median(sharpness)) if sharpness else 0.0
    kept, tiles = [], []
    for each in masked:
        reason = _reason(each, filters, min_sharpness, each.photograph.id in struck_out)
        if reason is None:
            kept.append(each.photograph)
        else:
            errors.append(LeftOutError(each.photograph.id, reason))
        tiles.append(MaskTile(each.photograph, reason, each.facts is not None))
    (folder / PAGE_FILE).write_text(render_masks_page(tiles, STRUCK_OUT_FILE), encoding="utf-8")
    found = FoundPhotographs(
        [
            photograph._replace(split=split_of(position, test_every))
            for position, photograph in enumerate(kept)
        ],
        errors,
    )
    if not kept:
        raise MissingPhotographsError(
            f"expected photographs with an animal in {printable(images)}, found none that is left: "
            f"{summarise(found)}; see {folder / PAGE_FILE}, and --mask_filters"
        )
    return found


def summarise(found: FoundPhotographs) -> str:
    """How many photographs are kept, and how many left out for each reason."""
    reasons = Counter(getattr(error, "reason", _BAD) for error in found.errors)
    left_out = [f"{count} left out ({reason})" for reason, count in reasons.items()]
    return ", ".join([f"{len(found)} kept", *left_out])


def _look_at(name: str, path: Path, mask_path: Path) -> _Masked:
    if not mask_path.is_file():
        open_photograph(path)  # says why it has no mask
        raise BadPhotographError(f"{printable(name)}: expected a mask, found none; make it again")
    photograph = Photograph(name, "train", path, mask_path)
    with Image.open(mask_path) as mask:
        is_empty = mask.getbbox() is None
    num_animals = int(_read_facts(mask_path).get("animals", 1))  # one, of a mask by hand
    return _Masked(photograph, num_animals, None if is_empty else measure(read_crop(photograph)))


def _reason(
    masked: _Masked, filters: Sequence[str], min_sharpness: float, is_struck_out: bool
) -> str | None:
    """Why a photograph is left out; None if it is not."""
    if is_struck_out:
        return _STRUCK_OUT
    facts = masked.facts
    if facts is None:
        return _NO_ANIMAL
    fails = {
        "size": facts.crop_side < _MIN_SIDE_PX,
        "truncation": facts.truncated,
        "one_animal": masked.num_animals > 1,
        "sharpness": facts.sharpness < min_sharpness,
    }
    return next((FILTERS[name] for name in FILTERS if name in filters and fails[name]), None)


def _single_pictures(
    images: str | os.PathLike[str],
) -> tuple[dict[str, Path], list[BadPhotographError]]:
    """The photographs by name, and an error for each file that is none or has another's name."""
    files = find_picture_files(images)
    errors = [*files.errors, *map(no_picture, files.others)]
    for name, paths in files.pictures.items():
        for path in paths[1:]:
            line = (
                f"{printable(path)}: expected one picture called {printable(name)}, found several"
            )
            errors.append(BadPhotographError(f"{line}; rename it"))
    return {name: files.pictures[name][0] for name in sorted(files.pictures)}, errors


def _read_struck_out(folder: Path, pictures: dict[str, Path]) -> set[str]:
    """Raises `ExtractionError` for names that are none of a photograph."""
    file = folder / STRUCK_OUT_FILE
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        return set()
    names = {line.strip() for line in file.read_text(encoding="utf-8").splitlines()} - {""}
    if unknown := sorted(names - set(pictures)):
        raise ExtractionError(
            f"expected names of photographs in {printable(file)}, got {printable(unknown[0])}; "
            "copy them from the page beside it"
        )
    return names


def _mask_path(folder: Path, name: str) -> Path:
    return folder / "masks" / f"{name}.png"


def _read_facts(mask_path: Path) -> dict[str, str]:
    with Image.open(mask_path) as mask:
        return {key: text for key, text in mask.info.items() if isinstance(text, str)}


def _fingerprint(path: Path) -> str:
    """Another one for a photograph of another size or time of change."""
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"
