"""The projections of another data set, so that features of both mean the same."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from pony_jax.data.file_contents import printable
from pony_jax.data.photograph_builder import PROJECTION_FILE, PROVENANCE_FILE
from pony_jax.data.shards import MissingDataError, dataset_directory
from pony_jax.features.backbones import Backbone
from pony_jax.features.errors import ExtractionError
from pony_jax.features.extraction import Extractor, FeatureSizes
from pony_jax.features.foreground import ForegroundClassifier


class StoredProjections(NamedTuple):
    """What a data set says of how its features were made.

    Attributes:
      folder: of the data set's newest version.
      backbone: its name, which says its options too.
      sha256: of the file of the projections, in hexadecimal.
      arrays: of the projections and of the foreground classifier, by their names in the file.
    """

    folder: Path
    backbone: str
    weights_sha256: str
    sizes: FeatureSizes
    sha256: str
    arrays: Mapping[str, np.ndarray]

    @property
    def name(self) -> str:
        """The data set's name and version."""
        return "/".join(self.folder.absolute().parts[-2:])

    def foreground(self) -> ForegroundClassifier | None:
        """The data set's classifier, if it has one."""
        return ForegroundClassifier.from_arrays(self.arrays, "foreground")

    def extractor(self, backbone: Backbone, sizes: FeatureSizes) -> Extractor:
        """An extractor that makes features like the data set's.

        `sizes.feature_size` may be another one; a `token_dim` of 0 is that of projections without
        PCA of tokens. Raises `ExtractionError` if the backbone, its weights or other sizes differ.
        """
        name = f"the projections of {printable(self.folder)}"
        if not sizes.token_dim and not any(key.startswith("patch_key/") for key in self.arrays):
            sizes = dataclasses.replace(sizes, token_dim=self.sizes.token_dim)
        for what, here, there in [
            ("the backbone", backbone.name, self.backbone),
            ("weights with the SHA-256", backbone.weights_sha256, self.weights_sha256),
            ("a --token_grid of", sizes.token_grid, self.sizes.token_grid),
            ("a --token_dim of", sizes.token_dim, self.sizes.token_dim),
        ]:
            if here != there:
                raise ExtractionError(
                    f"expected {what} {there}, since {name} were fitted to it, got {here}; leave "
                    "it to --projections, or fit projections anew without it"
                )
        try:
            return Extractor.from_arrays(backbone, sizes, self.arrays)
        except ExtractionError as error:
            raise ExtractionError(f"{error}, in {name}; extract that data set again") from error


def read_projections(dataset: str | os.PathLike[str], data_dir: Path) -> StoredProjections:
    """Those of a data set, given by its folder (or that of a version) or its name in `data_dir`.

    Raises `ExtractionError` if it has none or they are damaged, `MissingDataError` if there is no
    such data set.
    """
    folder = _find_folder(Path(dataset), data_dir)
    try:
        provenance = json.loads((folder / PROVENANCE_FILE).read_text())
        with np.load(folder / PROJECTION_FILE, allow_pickle=False) as stored:
            arrays = dict(stored)
        return StoredProjections(
            folder=folder,
            backbone=provenance["backbone"],
            weights_sha256=provenance["weights_sha256"],
            sizes=_sizes(tfds.builder_from_directory(folder).info.features),
            sha256=hashlib.sha256((folder / PROJECTION_FILE).read_bytes()).hexdigest(),
            arrays=arrays,
        )
    except FileNotFoundError as error:
        raise ExtractionError(
            f"--projections: expected {PROVENANCE_FILE} and {PROJECTION_FILE} in "
            f"{printable(folder)}, found no {Path(error.filename or folder).name}; give a data set "
            "that was made by python -m pony_jax.extract"
        ) from error
    except Exception as error:  # each of the files can be damaged in many ways
        raise ExtractionError(
            f"--projections: expected the features of {printable(folder)} to be described by its "
            f"files, one is damaged ({printable(error)}); extract that data set again"
        ) from error


def _find_folder(dataset: Path, data_dir: Path) -> Path:
    if (dataset / PROVENANCE_FILE).is_file():
        return dataset
    for parent in (dataset.parent, data_dir) if len(dataset.parts) > 1 else (data_dir, Path()):
        try:
            return dataset_directory(dataset.name, parent)
        except MissingDataError:
            continue
    raise MissingDataError(
        f"--projections: expected a data set, found none called {printable(dataset)}, neither a "
        f"folder of that path nor one in {printable(data_dir)}; give the folder of another data set"
    )


def _sizes(features: Mapping[str, Any]) -> FeatureSizes:
    feature_size, _, feature_dim = features["feature"].shape
    token_grid, _, token_dim = features["patch_key"].shape
    return FeatureSizes(feature_size, feature_dim, token_grid, token_dim)
