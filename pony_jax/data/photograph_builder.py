"""The one writer of photographs: a TFDS builder whose examples the extraction step hands in."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pony_jax.data import schema
from pony_jax.data.file_contents import printable
from pony_jax.errors import UserError

PROVENANCE_FILE = "extraction.json"
PROJECTION_FILE = "projection.npz"


class DataSetExistsError(UserError, FileExistsError):
    """A data set that is there already; none is ever overwritten."""


def check_destination(dataset: str, data_dir: Path) -> None:
    """Raises `UserError` if data set `dataset` cannot be written, before there is work to lose.

    The name is one that both TFDS and file systems take.
    """
    if not re.fullmatch(r"[a-zA-Z]\w{0,99}", dataset, re.ASCII):
        raise UserError(
            "expected a --dataset of at most 100 letters, digits and underscores, a letter first, "
            f"got {printable(dataset)!r}"
        )
    folder = data_dir / dataset / str(PhotographBuilder.VERSION)
    if os.path.lexists(folder):
        raise DataSetExistsError(
            f"expected no data set at {printable(folder)}, found one; delete it or choose another "
            "--dataset or --data_dir"
        )
    check_writable(folder.parent, "--data_dir")


def check_writable(folder: Path, flag: str) -> None:
    """Raises `UserError` if `folder` cannot be written, or made where it is missing, by trying."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        for path in reversed(missing):
            path.mkdir()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{flag}: expected a folder that can be written, got {printable(folder)} "
            f"({error.strerror})"
        ) from error
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # of one that could not be made
                path.rmdir()


class PhotographBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes `data_dir/NAME/VERSION`: all of it or, after an interruption, nothing.

    Beside the shards lie `extraction.json` (backbone, hash of its weights, sizes, what was skipped)
    and `projection.npz` (the PCA: means, bases, ranges).
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        name: str,
        data_dir: str | os.PathLike[str],
        sizes: Mapping[str, int],
        splits: Mapping[str, Callable[[], Iterable[tuple[str, dict[str, Any]]]]],
        provenance: Mapping[str, Any],
        projection: Mapping[str, np.ndarray],
        truth: Mapping[str, tfds.features.FeatureConnector] | None = None,
        keypoint_names: Sequence[str] = (),
        copied_files: Sequence[Path] = (),
    ):
        """`sizes`, `truth` and `keypoint_names` are the arguments of `schema.example_features`;
        `splits` maps a split's name to a function that makes its (key, example) pairs, and may add
        to `provenance` meanwhile; `copied_files` are put beside the shards."""
        self.name = name
        self._sizes = dict(sizes)
        self._splits = splits
        self._provenance = provenance
        self._projection = dict(projection)
        self._truth, self._copied_files = truth, copied_files
        self._keypoint_names = keypoint_names
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Square crops of animals with masks and self-supervised image features.",
            features=schema.example_features(
                **self._sizes, truth=self._truth, keypoint_names=self._keypoint_names
            ),
            disable_shuffling=True,  # keeps the order of the photographs' names
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterable]:
        with (self.data_path / PROJECTION_FILE).open("wb") as file:
            np.savez(file, **self._projection)
        for file in self._copied_files:
            shutil.copy(file, self.data_path / file.name)
        return {split: self._generate_examples(split) for split in self._splits}

    def _generate_examples(self, split: str) -> Iterable[tuple[str, dict[str, Any]]]:
        yield from self._splits[split]()
        (self.data_path / PROVENANCE_FILE).write_text(json.dumps(self._provenance, indent=2))
