"""Shards of a data set that appear whole or not at all, and the data set that is made of them."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from pony_jax.data.photograph_builder import PhotographBuilder

_SUFFIX = "array_record"


class ShardName(NamedTuple):
    """One of the files of a split."""

    dataset: str
    split: str
    number: int
    count: int  # of shards of the split

    def __str__(self) -> str:
        return f"{self.dataset}-{self.split}.{_SUFFIX}-{self.number:05d}-of-{self.count:05d}"


class Shard(NamedTuple):
    """A finished shard."""

    name: ShardName
    num_examples: int
    num_bytes: int  # of the records
    skipped: tuple[str, ...]  # a line for each example that could not be made


def find_shard(folder: Path, name: ShardName) -> Shard | None:
    """The shard in `folder`, None if it is not finished."""
    try:
        facts = json.loads(_facts_path(folder, name).read_text())
    except FileNotFoundError:
        return None
    return Shard(name, facts["num_examples"], facts["num_bytes"], tuple(facts["skipped"]))


def write_shard(
    folder: Path,
    name: ShardName,
    features: tfds.features.FeaturesDict,
    examples: Iterable[Mapping[str, Any] | str],
) -> Shard:
    """Writes a shard of examples, whose bytes depend on nothing but them.

    Instead of an example there may be text, a line that says why it is skipped. An interruption
    leaves a file that nothing reads, called `NAME.PROCESS.partial`.
    """
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    # A process that outlives an interruption may still be writing the same shard: the same bytes.
    partial = folder / f"{name}.{os.getpid()}.partial"
    writer = ArrayRecordWriter(str(partial), "group_size:1")  # as TFDS writes them
    num_examples, num_bytes, skipped = 0, 0, []
    for example in examples:
        if isinstance(example, str):
            skipped.append(example)
            continue
        record = serializer.get_tf_example(features.encode_example(example))
        # Without `deterministic` the order of the keys differs from process to process.
        serialized = record.SerializeToString(deterministic=True)
        writer.write(serialized)
        num_examples += 1
        num_bytes += len(serialized)
    writer.close()
    _replace(partial, folder / str(name))
    facts = {"num_examples": num_examples, "num_bytes": num_bytes, "skipped": skipped}
    partial.write_text(json.dumps(facts))
    _replace(partial, _facts_path(folder, name))  # comes last: it says that the shard is whole
    return Shard(name, num_examples, num_bytes, tuple(skipped))


class ShardsBuilder(PhotographBuilder, skip_registration=True):
    """Makes a data set of finished shards: all of it or, after an interruption, nothing."""

    def __init__(self, *, folder: Path, shards: Mapping[str, Sequence[Shard]], **description: Any):
        """`shards` of each split lie in `folder`; `description` as of `PhotographBuilder`."""
        self._folder = folder
        self._shards = shards
        super().__init__(splits=dict.fromkeys(shards, tuple), **description)

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        for examples in self._split_generators(dl_manager).values():
            for _ in examples:  # none; writes what lies beside the shards
                pass
        infos = []
        for split, shards in self._shards.items():
            for shard in shards:
                _link(self._folder / str(shard.name), Path(self.data_path) / str(shard.name))
            infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[shard.num_examples for shard in shards],
                    num_bytes=sum(shard.num_bytes for shard in shards),
                    filename_template=tfds.core.ShardedFileTemplate(
                        dataset_name=self.name,
                        data_dir=self.data_path,
                        split=split,
                        filetype_suffix=_SUFFIX,
                    ),
                )
            )
        self.info.set_splits(tfds.core.splits.SplitDict(infos))


def shard_ranges(num_examples: int) -> Iterator[range]:
    """Which examples of a split are in which shard: 32 each, or more where there would be over 256
    shards."""
    size = max(32, -(-num_examples // 256))
    for start in range(0, num_examples, size):
        yield range(start, min(start + size, num_examples))


def _facts_path(folder: Path, name: ShardName) -> Path:
    return folder / f"{name}.json"


def _replace(partial: Path, path: Path) -> None:
    """Renames a file when all of it is on the disk, so that not even a crash leaves half of it."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _link(path: Path, to: Path) -> None:
    """The same file under a second name, or a copy where the disk has no links."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)
