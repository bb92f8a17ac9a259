"""Rendered pictures as files, with the truth about them: what `pony_jax.data.render_rigged` writes.

    FOLDER/images/NAME.png    square crops, RGB; NAME starts with train_ or test_
    FOLDER/masks/NAME.png     255 = animal
    FOLDER/boxes/NAME.txt     the crop in a full photograph: `schema.BOX_FIELDS`
    FOLDER/truth/NAME.npz     the truth about that picture, an array a key
    FOLDER/template.npz       what all examples share (`load_anatomy` reads it from a data set)

`python -m pony_jax.extract --layout=rendered --images=FOLDER ...` makes a data set of them.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pony_jax.data.file_contents import printable
from pony_jax.data.mask_files import MaskLabel
from pony_jax.data.photographs import FoundPhotographs, Photograph, find_pairs
from pony_jax.data.picture_pairs import MissingPhotographsError
from pony_jax.data.synthetic_quadruped import ANATOMY_FILE
from pony_jax.errors import UserError

_SPLITS = ("train", "test")
_FOLDERS = ("images", "masks", "boxes", "truth")


class TruthError(UserError, ValueError):
    """Truth about a rendered picture that is missing, damaged, or unlike that of the others."""


def check_free(folder: str | os.PathLike[str]) -> None:
    """Raises `UserError` where `write_examples` would meet files of an earlier run."""
    path = Path(folder)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UserError(
            f"expected an empty or no folder at {printable(folder)}, found files; delete it or "
            "give another --out"
        )


def write_examples(
    folder: str | os.PathLike[str],
    shared: Mapping[str, np.ndarray],
    examples: Iterable[Mapping[str, Any]],
) -> int:
    """Writes what all examples share, and each with its files. Returns how many there were.

    An example has `id`, `image` and `mask` (PNG), `box` and `truth`. The template comes last: a
    folder without it is not whole.
    """
    path = Path(folder)
    for name in _FOLDERS:
        (path / name).mkdir(parents=True, exist_ok=True)
    count = 0
    for example in examples:
        name = example["id"]
        (path / "images" / f"{name}.png").write_bytes(example["image"])
        (path / "masks" / f"{name}.png").write_bytes(example["mask"])
        box = " ".join(f"{number:g}" for number in example["box"])
        (path / "boxes" / f"{name}.txt").write_text(f"{box}\n")
        save_arrays(path / "truth" / f"{name}.npz", example["truth"])
        count += 1
    save_arrays(path / ANATOMY_FILE, shared)
    return count


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an `.npz` file; equal arrays give equal bytes."""
    with path.open("wb") as file:
        np.savez(file, **arrays)


def find_photographs(
    root: str | os.PathLike[str], *, mask_label: MaskLabel | None = None
) -> FoundPhotographs:
    """The pictures under `root`, with their boxes and truth.

    Raises `MissingPhotographsError` where it is no such folder, or an unfinished one, `TruthError`
    where the name of a picture has no split, or it has no box or truth.
    """
    path = Path(root)
    if not (path / ANATOMY_FILE).is_file():
        raise MissingPhotographsError(
            f"expected {ANATOMY_FILE} in {printable(root)}, found none; give the --out folder of a "
            "finished `python -m pony_jax.data.render_rigged`"
        )
    pairs = find_pairs(path / "images", path / "masks", test_every=0, mask_label=mask_label)
    return FoundPhotographs([_with_truth(path, pair) for pair in pairs], pairs.errors)


def _with_truth(root: Path, photograph: Photograph) -> Photograph:
    split = photograph.id.partition("_")[0]
    if split not in _SPLITS:
        raise TruthError(
            f"expected names that start with train_ or test_, got {printable(photograph.id)}; "
            "render the pictures again"
        )
    files = {
        "box_path": root / "boxes" / f"{photograph.id}.txt",
        "truth_path": root / "truth" / f"{photograph.id}.npz",
    }
    for file in files.values():
        if not file.is_file():
            raise TruthError(f"expected {printable(file)}, found none; render the pictures again")
    return photograph._replace(split=split, **files)


def read_truth(path: Path) -> dict[str, np.ndarray]:
    """The truth about one picture. Raises `TruthError` where the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # of a damaged archive, whatever its parsing meets
        raise TruthError(
            f"expected arrays in {printable(path)}, found a damaged file; render again"
        ) from error


def truth_features(truth: Mapping[str, np.ndarray]) -> dict[str, tfds.features.Tensor]:
    """The TFDS features of `truth/` for arrays like these."""
    return {
        key: tfds.features.Tensor(
            shape=array.shape,
            dtype=array.dtype,
            encoding=tfds.features.Encoding.BYTES if array.shape else "none",
        )
        for key, array in truth.items()
    }
