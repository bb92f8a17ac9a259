"""Caltech-UCSD Birds-200-2011: photographs of 200 species with masks and 15 parts.

    ROOT/images.txt, train_test_split.txt     number and path; number and 1 for training
    ROOT/images/SPECIES/NAME.jpg
    ROOT/parts/parts.txt, part_locs.txt       number and name; picture, part, x, y, visible
    ROOT/segmentations/SPECIES/NAME.png       share of people who saw the bird there

The segmentations are a download of their own, to be unpacked into ROOT.
"""

import os
from collections import defaultdict
from pathlib import Path

from pony_jax.data.file_contents import printable
from pony_jax.data.keypoints import Keypoints
from pony_jax.data.mask_files import BRIGHTER_THAN_HALF
from pony_jax.data.photographs import FoundPhotographs, Photograph
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.data.picture_pairs import MissingPhotographsError
from pony_jax.errors import UserError


def find_photographs(root: str | os.PathLike[str]) -> FoundPhotographs:
    """All birds, called SPECIES/NAME, in the splits of the data set.

    Raises `MissingPhotographsError` where a file or folder is missing, `UserError` where a list is
    damaged.
    """
    root = Path(root)
    if not (root / "segmentations").is_dir():
        raise MissingPhotographsError(
            f"expected {printable(root / 'segmentations')}, found none; unpack segmentations.tgz "
            "into the folder CUB_200_2011, and pass that with --images"
        )
    paths = {number: path for number, path in _lines(root / "images.txt", 2)}
    is_train = {number: flag for number, flag in _lines(root / "train_test_split.txt", 2)}
    part_names = {number: name for number, name in _lines(root / "parts" / "parts.txt", 2)}
    parts: dict[str, list[tuple[str, float, float, bool]]] = defaultdict(list)
    for picture, part, x, y, visible in _lines(root / "parts" / "part_locs.txt", 5):
        parts[picture].append((part_names[part], float(x), float(y), visible == "1"))
    found, errors = [], []
    for number, path in paths.items():
        name = Path(path).with_suffix("").as_posix()
        mask_path = root / "segmentations" / f"{name}.png"
        if not mask_path.is_file():
            errors.append(
                BadPhotographError(f"{name}: expected {printable(mask_path)}, found none")
            )
            continue
        marked = parts[number]
        found.append(
            Photograph(
                name,
                "train" if is_train[number] == "1" else "test",
                root / "images" / path,
                mask_path,
                mask_label=BRIGHTER_THAN_HALF,
                keypoints=Keypoints(
                    tuple(part[0] for part in marked),
                    tuple(part[1:3] for part in marked),
                    tuple(part[3] for part in marked),
                ),
            )
        )
    return FoundPhotographs(sorted(found, key=lambda each: each.id), errors)


def _lines(file: Path, num_fields: int) -> list[list[str]]:
    """The fields of each line, the last of which may have spaces if there are two."""
    if not file.is_file():
        raise MissingPhotographsError(
            f"expected {printable(file)}, found none; pass the unpacked CUB_200_2011 with --images"
        )
    lines = [line.split(maxsplit=num_fields - 1) for line in file.read_text().splitlines() if line]
    for number, fields in enumerate(lines, start=1):
        if len(fields) != num_fields:
            raise UserError(
                f"expected {num_fields} fields in line {number} of {printable(file)}, found "
                f"{len(fields)}; download it again"
            )
    return lines
