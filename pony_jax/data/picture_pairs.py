"""Finds the picture files under a folder, and the mask that belongs to each picture."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pony_jax.data.file_contents import describe_contents, printable
from pony_jax.data.picture_files import FORMATS, SUFFIXES, BadPhotographError
from pony_jax.errors import UserError

_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"}


class MissingPhotographsError(UserError, FileNotFoundError):
    """A folder that is not there, or holds no photographs with masks."""


class FoundFiles(NamedTuple):
    """What lies under a folder."""

    pictures: dict[str, list[Path]]  # by name: the path under the folder without its ending
    others: list[Path]  # files that do not end like pictures
    errors: list[BadPhotographError]  # links, folders and names that cannot be used


class Pairs(NamedTuple):
    """Pictures with their masks."""

    by_name: dict[str, tuple[Path, Path]]  # picture and mask, sorted by name
    errors: list[BadPhotographError]  # one for every file without partner


def find_picture_files(
    folder: str | os.PathLike[str], leave_out: Iterable[str | os.PathLike[str]] = ()
) -> FoundFiles:
    """Every picture file under `folder`, at any depth, by its name.

    Links are followed, but not back into a folder that they are in. Names that start with a dot,
    and what Windows, macOS and network drives put into folders, are left out, as are the folders
    `leave_out`. Raises `MissingPhotographsError` if there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise MissingPhotographsError(
            f"expected a folder of images at {printable(folder)}, found "
            f"{describe_contents(root) or 'a file'}; check the path"
        )
    found = FoundFiles(defaultdict(list), [], [])
    _search(root, root, (), {os.path.realpath(path) for path in leave_out}, found)
    return found


def match_by_name(pictures: Mapping[str, list[Path]], masks: Mapping[str, list[Path]]) -> Pairs:
    """Pairs pictures and masks of one name; those of different names are never mixed up.

    Names that are equal come first. Of what is then left, names that differ only in upper and lower
    case, in the Unicode form of their letters, or in spaces at either end belong together if that
    leaves no choice. All others are errors.
    """
    pairs: dict[str, tuple[Path, Path]] = {}
    errors = []
    left: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, names in enumerate((pictures, masks)):
        for name in names:
            if not (name in pictures and name in masks):
                left[loose_name(name)][side].append(name)
    matches = [(name, name) for name in pictures if name in masks]
    for picture_names, mask_names in left.values():
        if len(picture_names) == len(mask_names) == 1:
            matches.append((picture_names[0], mask_names[0]))
            continue
        for name in picture_names:
            errors.append(_without_partner(pictures[name], "mask", mask_names, masks))
        for name in mask_names:
            errors.append(_without_partner(masks[name], "picture", picture_names, pictures))
    for picture_name, mask_name in matches:
        candidates = pictures[picture_name], masks[mask_name]
        if any(len(paths) > 1 for paths in candidates):
            errors.append(
                BadPhotographError(
                    f"{_names(candidates[0], full=True)}: expected one picture and one mask of "
                    f"this name, found {_names(candidates[0])} and {_names(candidates[1])}; remove "
                    "or rename all but one"
                )
            )
        else:
            pairs[picture_name] = (candidates[0][0], candidates[1][0])
    return Pairs(dict(sorted(pairs.items())), sorted(errors, key=str))


def _search(
    folder: Path, root: Path, inside: tuple[str, ...], leave_out: set[str], found: FoundFiles
) -> None:
    """Adds what is in `folder`; `inside` are the real paths of the folders that it lies in."""
    here = os.path.realpath(folder)
    if here in leave_out:
        return
    if here in inside:
        found.errors.append(_error(folder, "a link to a folder that it is in; remove it"))
        return
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        found.errors.append(_error(folder, f"a folder that cannot be read ({error.strerror})"))
        return
    for path in paths:
        if path.name.startswith(".") or path.name.casefold() in _SYSTEM_FILES:
            continue
        if path.is_dir():
            _search(path, root, (*inside, here), leave_out, found)
        elif not path.is_file():
            found.errors.append(_error(path, f"{describe_contents(path)}; remove it"))
        elif path.suffix.strip().lower() not in SUFFIXES:
            found.others.append(path)
        elif not _is_text(path.name):
            found.errors.append(_error(path, "a name that is not UTF-8; rename it"))
        else:
            found.pictures[path.relative_to(root).with_suffix("").as_posix()].append(path)


def no_picture(path: Path) -> BadPhotographError:
    """The error for a file that does not end like a picture."""
    return _error(path, f"the ending {path.suffix!r}; convert or remove it")


def _error(path: Path, found: str) -> BadPhotographError:
    return BadPhotographError(
        f"{printable(path)}: expected a picture ({', '.join(FORMATS)}), found {found}"
    )


def _without_partner(
    paths: list[Path], partner: str, candidates: list[str], files: Mapping[str, list[Path]]
) -> BadPhotographError:
    if candidates:
        several = _names([path for name in candidates for path in files[name]])
        problem = f"found several ({several}); give each the name of its partner"
    else:
        problem = "found none; make or rename it, or remove this file"
    return BadPhotographError(
        f"{_names(paths, full=True)}: expected a {partner} of the same name, {problem}"
    )


def _names(paths: Iterable[Path], full: bool = False) -> str:
    return " and ".join(printable(path if full else path.name) for path in paths)


def loose_name(name: str) -> str:
    """Equal for names that are equal but for case, Unicode form and spaces at the ends."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return "/".join(part.strip() for part in unicodedata.normalize("NFC", folded).split("/"))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
