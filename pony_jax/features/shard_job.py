"""The shards of an extraction: written one by one, in one process or several, and found again.

What a shard holds is a function of its photographs, the backbone and the projections alone, so it
does not matter which process writes it, or in which attempt.
"""

import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from pony_jax.data import keypoints, photographs, rendered_folder, schema
from pony_jax.data.file_contents import printable
from pony_jax.data.shard_files import Shard, ShardName, find_shard, shard_ranges, write_shard
from pony_jax.features.backbones import load_backbone
from pony_jax.features.errors import LostProcessError, NonFiniteFeaturesError
from pony_jax.features.extraction import Extractor, FeatureSizes

_INPUTS_FILE, _FITTED_FILE = "inputs.sha256", "fitted.npz"


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """Everything that a process has to know to write shards into `folder`.

    Attributes:
      folder: of unfinished work, which holds what was fitted and the shards so far.
      backbone, weights: as of `load_backbone`.
      sizes: with the true number of channels of a token.
      splits: photographs of each split.
    """

    folder: Path
    dataset: str
    backbone: str
    weights: Path | None
    image_size: int
    sizes: FeatureSizes
    splits: Mapping[str, tuple[photographs.Photograph, ...]]

    def shard_names(self) -> dict[str, list[ShardName]]:
        """Those of each split, in order."""
        names = {}
        for split, chosen in self.splits.items():
            count = len(list(shard_ranges(len(chosen))))
            names[split] = [ShardName(self.dataset, split, n, count) for n in range(count)]
        return names

    def truth_features(self) -> dict[str, tfds.features.FeatureConnector] | None:
        """Of rendered pictures, those of `truth/`; None of photographs."""
        path = next(iter(self.splits.values()))[0].truth_path
        return path and rendered_folder.truth_features(rendered_folder.read_truth(path))

    def keypoint_names(self) -> tuple[str, ...]:
        """Of all photographs; empty where nobody marked keypoints."""
        return keypoints.keypoint_names(
            photograph.keypoints for chosen in self.splits.values() for photograph in chosen
        )

    def run(
        self, extractor: Extractor, num_workers: int, progress: Callable[[int], None]
    ) -> dict[str, list[Shard]]:
        """Writes the shards that are missing; returns all of each split, in order.

        Args:
          extractor: of this process, which writes the shards if there is one worker only.
          progress: told about photographs as they are done, those of earlier attempts first.

        Raises:
          LostProcessError: if one of several workers came to an end before its work did.
        """
        names = self.shard_names()
        missing = []
        for name in (name for of_split in names.values() for name in of_split):
            if find_shard(self.folder, name) is None:
                missing.append(name)
            else:
                progress(len(self._photographs(name)))
        if num_workers > 1 and len(missing) > 1:
            self._write_in_processes(missing, num_workers, progress)
        else:
            for name in missing:
                self.write(name, extractor, progress)
        return {
            split: [find_shard(self.folder, name) for name in of_split]
            for split, of_split in names.items()
        }

    def write(
        self, name: ShardName, extractor: Extractor, progress: Callable[[int], None]
    ) -> Shard:
        """Writes one shard."""
        keypoint_names = self.keypoint_names()
        features = schema.example_features(
            image_size=self.image_size,
            feature_size=self.sizes.feature_size,
            token_grid=self.sizes.token_grid,
            token_dim=self.sizes.token_dim,
            truth=self.truth_features(),
            keypoint_names=keypoint_names,
        )

        def examples() -> Iterator[dict[str, Any] | str]:
            for photograph in self._photographs(name):
                try:
                    yield _example(photograph, extractor, self.image_size, keypoint_names)
                except NonFiniteFeaturesError as error:
                    yield f"{printable(photograph.id)}: {error}"
                progress(1)

        return write_shard(self.folder, name, features, examples())

    def _write_in_processes(
        self, names: Sequence[ShardName], num_workers: int, progress: Callable[[int], None]
    ) -> None:
        # Forking would copy the state of XLA's threads, but not the threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(num_workers, len(names)), context, initializer=_begin_worker
        ) as pool:
            writing = {pool.submit(_write_in_worker, self, name): name for name in names}
            try:
                for done in as_completed(writing):
                    done.result()
                    progress(len(self._photographs(writing[done])))
            except BrokenProcessPool as error:
                raise LostProcessError(
                    f"expected {num_workers} processes to finish their work, lost one of them, as "
                    "happens where memory runs out; give the same command again with a smaller "
                    "--num_workers, and it goes on behind the shards that are done"
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _photographs(self, name: ShardName) -> tuple[photographs.Photograph, ...]:
        chosen = self.splits[name.split]
        where = list(shard_ranges(len(chosen)))[name.number]
        return chosen[where.start : where.stop]


def _begin_worker() -> None:
    """Makes this process end with its parent, even one that is killed, and at Ctrl+C at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _write_in_worker(job: ShardJob, name: ShardName) -> None:
    job.write(name, _worker_extractor(job.folder, job.backbone, job.weights, job.sizes), _ignore)


@functools.cache
def _worker_extractor(
    folder: Path, backbone: str, weights: Path | None, sizes: FeatureSizes
) -> Extractor:
    """The extractor of this process, made when it writes its first shard."""
    return Extractor.from_arrays(load_backbone(backbone, weights), sizes, load_fitted(folder))


def _ignore(num_photographs: int) -> None:
    """Takes no note of progress, which the parent process sees by itself."""


def inputs_sha256(settings: Mapping[str, Any], found: list[photographs.Photograph]) -> str:
    """A hash of what determines the shards: settings that JSON can hold, and the photographs.

    A file counts as another one if its path, size or time of change differ.
    """
    files = [
        [photograph.id, photograph.split, photograph.mask_label]
        + [photograph.keypoints, photograph.segmentation]
        + [
            [str(path), path.stat().st_size, path.stat().st_mtime_ns]
            for path in photograph
            if isinstance(path, Path)
        ]
        for photograph in found
    ]
    text = json.dumps([settings, files], sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def open_unfinished(folder: Path, inputs: str) -> dict[str, np.ndarray] | None:
    """What an interrupted attempt with the same inputs has fitted; None if there was none.

    Unfinished work on other inputs is deleted.
    """
    try:
        if (folder / _INPUTS_FILE).read_text() == inputs:
            return load_fitted(folder)
    except FileNotFoundError:
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def save_fitted(folder: Path, inputs: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Starts a folder of unfinished work: after this an attempt can go on from here."""
    folder.mkdir(parents=True)
    with (folder / _FITTED_FILE).open("wb") as file:
        np.savez(file, **arrays)
    partial = folder / f"{_INPUTS_FILE}.partial"
    partial.write_text(inputs)
    partial.replace(folder / _INPUTS_FILE)  # last: it says that the other file is whole


def load_fitted(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of `save_fitted`."""
    with np.load(folder / _FITTED_FILE, allow_pickle=False) as stored:
        return dict(stored)


def _example(
    photograph: photographs.Photograph,
    extractor: Extractor,
    image_size: int,
    keypoint_names: Sequence[str],
) -> dict[str, Any]:
    crop = photographs.read_crop(photograph)
    truth_path = photograph.truth_path
    truth = {} if truth_path is None else {"truth": rendered_folder.read_truth(truth_path)}
    marked = keypoints.in_crop(photograph.keypoints, keypoint_names, crop.box, image_size)
    mirrored = [_mirror(picture) for picture in (crop.image, crop.mask)]
    is_animal = photographs.animal_at_size(crop, image_size)
    return {
        "id": photograph.id,
        "image": schema.encode_jpeg(np.asarray(crop.image.resize((image_size, image_size)))),
        "mask": schema.encode_png(np.where(is_animal, 255, 0)[..., None].astype("u1")),
        "box": crop.box,
        **extractor(crop.image, crop.mask),
        "flip": extractor(*mirrored),
        **truth,
        **({"keypoints": marked} if keypoint_names else {}),
    }


def _mirror(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
