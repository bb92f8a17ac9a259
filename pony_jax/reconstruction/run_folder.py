"""What a run's folder holds, as `Learned`."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pony_jax.data.photograph_builder import PROJECTION_FILE, PROVENANCE_FILE
from pony_jax.data.shards import dataset_directory
from pony_jax.features.converted_vit import NAME
from pony_jax.reconstruction.learned import Learned, ModelError
from pony_jax.training.checkpoints import BACKBONE_FILE
from pony_jax.training.errors import RunError
from pony_jax.training.restored import restore_run


def read_run(workdir: Path) -> Learned:
    """The newest state of a run, with the projections that training copied into its folder.

    Of runs that were trained before it did, those beside the data set are read; the folder of a
    converted checkpoint holds its backbone instead.

    Raises:
      ModelError: if the folder holds no run, or a run on features that are not a backbone's.
    """
    try:
        run = restore_run(workdir)
    except RunError as error:
        raise ModelError(str(error)) from error
    backbone, weights_sha256, features = _features(workdir, run.config.data)
    summary = workdir / "summary.json"
    return Learned(
        name=run.config.data.name.split("/")[0],
        config=run.config,
        params=run.params,
        num_updates=run.num_updates,
        token_shape=run.model.token_shape,
        capacities=run.capacities,
        backbone=backbone,
        backbone_sha256=weights_sha256,
        features=features,
        card={"scores": _read_json(summary)["scores"]} if summary.is_file() else {},
    )


def _features(workdir: Path, data: Any) -> tuple[str, str, dict[str, np.ndarray]]:
    """`backbone`, `backbone_sha256` and `features` of `Learned`."""
    converted = workdir / BACKBONE_FILE
    if converted.is_file():
        arrays = _read_arrays(converted, "the backbone of a checkpoint", "convert it again")
        return NAME, "", {f"backbone/{path}": array for path, array in arrays.items()}
    folder = _features_folder(workdir, data)
    provenance = _read_json(folder / PROVENANCE_FILE)
    arrays = _read_arrays(
        folder / PROJECTION_FILE, "the projections of a data set", "extract the data set again"
    )
    return provenance["backbone"], provenance["weights_sha256"], arrays


def _features_folder(workdir: Path, data: Any) -> Path:
    """Where the projections lie."""
    if (workdir / PROVENANCE_FILE).is_file():
        return workdir
    try:
        beside_data = dataset_directory(data.name, Path(os.path.expanduser(data.data_dir)))
    except FileNotFoundError:
        beside_data = None
    if beside_data is not None and (beside_data / PROVENANCE_FILE).is_file():
        return beside_data
    raise ModelError(
        f"{workdir}: expected {PROVENANCE_FILE} and {PROJECTION_FILE} of the data set {data.name} "
        "in the run's folder, or beside the data set, found neither; a model reads photographs if "
        "its data set was made from photographs by python -m pony_jax.extract"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: expected JSON, got {error}; extract the data set again"
        ) from error


def _read_arrays(path: Path, what: str, remedy: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except Exception as error:  # a damaged archive fails in whatever way its bytes happen to
        raise ModelError(
            f"{path}: expected {what}, got something else ({error}); {remedy}"
        ) from error
