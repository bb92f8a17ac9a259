"""Opens a data set's files, and says which of them is at fault if they cannot be read."""

import itertools
import os
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pony_jax.errors import UserError

_STORED_KEYS = ("id", "image", "mask", "box", "feature", "patch_key", "patch_out", "flip")
"""What every data set has to hold; see `pony_jax.data.schema`."""


class DataError(UserError, ValueError):
    """A data set that cannot be used; the message says what was found and what to do."""


class MissingDataError(DataError, FileNotFoundError):
    """A data set, or a split of it, that is not there."""


def dataset_directory(dataset_name: str, data_dir: str | os.PathLike[str]) -> Path:
    """`data_dir/dataset_name/VERSION`, the newest version. Raises `MissingDataError`."""
    folder = Path(data_dir) / dataset_name
    versions = tfds.core.utils.version.list_all_versions(folder)
    if not versions:
        raise MissingDataError(
            f"expected data set {dataset_name!r} in {folder}/VERSION, found none; build it with "
            "`python -m pony_jax.extract --dataset=NAME` or its builder in pony_jax.data, or point "
            "data_dir to where it is"
        )
    return folder / str(versions[-1])


class Records:
    """The records of a split in their order, images and masks still encoded."""

    def __init__(self, source: Any, shards: list[tuple[Path, int]]):
        """`source` gives a record by its position; `shards` are files with numbers of records."""
        self._source = source
        self._shards = shards

    def __len__(self) -> int:
        return sum(count for _, count in self._shards)

    def read(self, position: int) -> dict[str, Any]:
        """One record as it is stored.

        Raises `DataError` that names the shard if the record or all of the shard is damaged.
        """
        try:
            return self._source[position]
        except Exception as error:  # the reader of shards checks a hash of every record
            raise DataError(
                f"expected a whole shard at {self._shard_of(position)}, it is missing or damaged "
                f"({_first_line(error)}); copy it again, or delete its folder and build the data "
                "set again"
            ) from error

    def _shard_of(self, position: int) -> Path:
        ends = itertools.accumulate(count for _, count in self._shards)
        return next(
            file for (file, _), end in zip(self._shards, ends, strict=True) if position < end
        )


def open_split(dataset_name: str, split: str, data_dir: str | os.PathLike[str]) -> Records:
    """Random access to the records of a split.

    Reads `data_dir/dataset_name/VERSION`, the newest version there. Raises `MissingDataError` if
    there is no such data set or split, `DataError` if what describes it is damaged or it is of
    another kind.
    """
    newest = dataset_directory(dataset_name, data_dir)
    try:
        builder = tfds.builder_from_directory(newest)
        splits, features = builder.info.splits, builder.info.features
    except Exception as error:  # TFDS fails in as many ways as these two files can be damaged
        raise DataError(
            f"expected dataset_info.json and features.json of a TFDS data set in {newest}, one is "
            f"missing or damaged ({_first_line(error)}); copy the folder again, or delete it and "
            "build the data set again"
        ) from error
    if split not in splits:
        raise MissingDataError(
            f"expected split {split!r} of data set {dataset_name!r} in {newest}, "
            f"found {sorted(splits)}; choose one of these"
        )
    if missing := [key for key in _STORED_KEYS if key not in features]:
        raise DataError(
            f"expected the keys {', '.join(_STORED_KEYS)} in the data set in {newest}, "
            f"found none for {', '.join(missing)}; build it with python -m pony_jax.extract"
        )
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"expected shards in ArrayRecord format in {newest}, found "
            f"{builder.info.file_format.value}; build it with file_format='array_record'"
        )
    as_bytes = {key: tfds.decode.SkipDecoding() for key in ("image", "mask")}
    files = [newest / name for name in sorted(splits[split].filenames)]
    return Records(
        builder.as_data_source(split, decoders=as_bytes),
        list(zip(files, splits[split].shard_lengths, strict=True)),
    )


def _first_line(error: Exception) -> str:
    """What a library says of an error, without what it appends in further lines."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
