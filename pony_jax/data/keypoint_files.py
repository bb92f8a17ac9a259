"""Keypoints that people bring for their own photographs: DeepLabCut's CSV and BADJA's JSON files.

DeepLabCut (`CollectedData_SCORER.csv`): rows `scorer`, `bodyparts` and `coords` on top, then a row
a picture, its path in the first column or in several; what is empty was not marked.

BADJA: a list of pictures with `image_path`, `joints` (row, column of each of SMAL's joints) and
`visibility`; see benjiebob/BADJA@e5d7f27:code/joint_catalog.py for which joints are marked.

A row belongs to the photograph whose name its path ends with, or that ends with its path.
"""

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pony_jax.data.file_contents import printable
from pony_jax.data.keypoints import Keypoints, KeypointsError
from pony_jax.data.photographs import FoundPhotographs, Photograph
from pony_jax.data.picture_files import BadPhotographError

_SMAL_JOINTS = {
    **{8 + i: f"upper_right_{i + 1}" for i in range(3)},
    **{12 + i: f"upper_left_{i + 1}" for i in range(3)},
    15: "neck_lower",
    **{18 + i: f"lower_right_{i + 1}" for i in range(3)},
    **{22 + i: f"lower_left_{i + 1}" for i in range(3)},
    **{25: "tail_0", 28: "tail_3", 31: "tail_6"},
    **{32: "jaw", 33: "nose", 35: "right_ear", 36: "left_ear"},
}
_COORDINATES = ("x", "y")


def with_keypoints(found: FoundPhotographs, file: Path) -> FoundPhotographs:
    """The photographs with their keypoints; those of rows without photograph are errors.

    Raises `KeypointsError` where the file cannot be read, several rows belong to one photograph, or
    none to any.
    """
    rows = read_keypoints(file)
    by_last: dict[str, list[tuple[str, ...]]] = {}
    for parts in rows:
        by_last.setdefault(parts[-1], []).append(parts)
    used: set[tuple[str, ...]] = set()

    def attach(photograph: Photograph) -> Photograph:
        name = PurePosixPath(photograph.id).parts
        matching = [parts for parts in by_last.get(name[-1], ()) if _end_alike(parts, name)]
        if len(matching) > 1:
            raise KeypointsError(
                f"expected one row for {printable(photograph.id)} in {printable(file)}, found "
                f"{len(matching)}, such as {'/'.join(matching[1])}; give the folder above theirs "
                "with --images"
            )
        used.update(matching)
        return photograph._replace(keypoints=rows[matching[0]]) if matching else photograph

    photographs = [attach(photograph) for photograph in found]
    unused = [parts for parts in rows if parts not in used]
    if not used:
        raise KeypointsError(
            f"expected pictures of {printable(file)} among the photographs, found none of its "
            f"{len(rows)}, the first {'/'.join(unused[0]) if unused else '(no row)'}; give their "
            "folder with --images"
        )
    lost = [
        BadPhotographError(
            f"{printable('/'.join(parts))}: expected a photograph for its keypoints, found none"
        )
        for parts in unused
    ]
    return FoundPhotographs(photographs, [*found.errors, *lost])


def read_keypoints(file: Path) -> dict[tuple[str, ...], Keypoints]:
    """The keypoints in a file, by the parts of each picture's path, without its ending.

    Raises `KeypointsError`.
    """
    readers = {".csv": _read_deeplabcut, ".json": _read_badja}
    if file.suffix.lower() not in readers or not file.is_file():
        raise KeypointsError(
            f"expected a CSV file of DeepLabCut or a JSON file of BADJA, got {printable(file)}"
            + ("" if file.is_file() else ", which is no file")
        )
    try:
        rows = list(readers[file.suffix.lower()](file))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        if isinstance(error, KeypointsError):
            raise
        raise KeypointsError(
            f"expected keypoints in {printable(file)}, found a damaged file "
            f"({type(error).__name__}: {error}); export it again"
        ) from error
    return {_parts(path): keypoints for path, keypoints in rows}


def _read_deeplabcut(file: Path) -> Iterable[tuple[str, Keypoints]]:
    with file.open(newline="", encoding="utf-8-sig") as opened:
        header, *rows = [row for row in csv.reader(opened) if row]
    table = {header[0]: header}
    while rows and rows[0][0] in ("individuals", "bodyparts", "coords"):
        table[rows[0][0]] = rows[0]
        rows = rows[1:]
    if "individuals" in table or not table.keys() >= {"scorer", "bodyparts", "coords"}:
        raise KeypointsError(
            f"expected the rows scorer, bodyparts and coords in {printable(file)}, found "
            f"{', '.join(table)}; export the labels of one animal from DeepLabCut"
        )
    coordinates = table["coords"]
    if "likelihood" in coordinates:
        raise KeypointsError(
            f"expected keypoints that people marked in {printable(file)}, found a network's with "
            "likelihoods; give CollectedData_SCORER.csv"
        )
    first = coordinates.index("x")
    names = tuple(table["bodyparts"][first::2])
    if tuple(coordinates[first:]) != _COORDINATES * len(names):
        raise KeypointsError(f"expected x and y in turn in the row coords of {printable(file)}")
    for row in rows:
        numbers = [float(cell) if cell.strip() else math.nan for cell in row[first:]]
        px = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        visible = tuple(math.isfinite(x) and math.isfinite(y) for x, y in px)
        # What was not marked has no place; NaN would not equal itself.
        px = tuple(xy if seen else (0.0, 0.0) for xy, seen in zip(px, visible, strict=True))
        yield "/".join(cell for cell in row[:first] if cell), Keypoints(names, px, visible)


def _read_badja(file: Path) -> Iterable[tuple[str, Keypoints]]:
    for picture in json.loads(file.read_text()):
        joints, visibility = picture["joints"], picture["visibility"]
        yield (
            picture["image_path"],
            Keypoints(
                tuple(_SMAL_JOINTS.values()),
                tuple((float(joints[i][1]), float(joints[i][0])) for i in _SMAL_JOINTS),
                tuple(bool(visibility[i]) for i in _SMAL_JOINTS),
            ),
        )


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.replace("\\", "/")).with_suffix("").parts


def _end_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]
