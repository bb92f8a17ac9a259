"""The one writer of photographs: a TFDS builder whose examples the extraction step hands in."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pony_jax.data import schema

PROVENANCE_FILE = "extraction.json"
PROJECTION_FILE = "projection.npz"


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
    ):
        """`sizes` are the arguments of `schema.example_features`; `splits` maps a split's name to
        a function that makes its (key, example) pairs, and may add to `provenance` meanwhile."""
        self.name = name
        self._sizes = dict(sizes)
        self._splits = splits
        self._provenance = provenance
        self._projection = dict(projection)
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Square crops of animals with masks and self-supervised image features.",
            features=schema.example_features(**self._sizes),
            disable_shuffling=True,  # keeps the order of the photographs' names
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterable]:
        with (self.data_path / PROJECTION_FILE).open("wb") as file:
            np.savez(file, **self._projection)
        return {split: self._generate_examples(split) for split in self._splits}

    def _generate_examples(self, split: str) -> Iterable[tuple[str, dict[str, Any]]]:
        yield from self._splits[split]()
        (self.data_path / PROVENANCE_FILE).write_text(json.dumps(self._provenance, indent=2))
