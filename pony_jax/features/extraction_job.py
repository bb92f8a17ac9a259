"""From photographs on disk to a data set on disk."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from tqdm import tqdm

from pony_jax.data import photographs
from pony_jax.data.photograph_builder import check_destination
from pony_jax.data.picture_facts import PictureFacts, measure
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.data.shard_files import ShardsBuilder
from pony_jax.data.synthetic_quadruped import ANATOMY_FILE
from pony_jax.features.backbones import Backbone, load_backbone
from pony_jax.features.errors import ExtractionError
from pony_jax.features.estimate import check_room, estimate
from pony_jax.features.extraction import Extractor, FeatureSizes, fit_extractor
from pony_jax.features.foreground import fit_foreground
from pony_jax.features.report import write_report
from pony_jax.features.reused_projections import StoredProjections
from pony_jax.features.scenes import MaskedPicture
from pony_jax.features.shard_job import ShardJob, inputs_sha256, open_unfinished, save_fitted

UNFINISHED_FOLDER = "unfinished"
"""Beside the versions of a data set; holds what an interrupted extraction has done so far."""

_VARIANCE = "explained_variance/"
_FOREGROUND_PHOTOGRAPHS = 100  # that the foreground classifier is fitted to, at most


def extract(
    found: Sequence[photographs.Photograph],
    *,
    dataset: str,
    data_dir: Path,
    backbone_name: str,
    weights: Path | None,
    image_size: int,
    sizes: FeatureSizes,
    pca_photographs: int,
    pca_bytes: int = 512 * 2**20,
    projections: StoredProjections | None = None,
    num_workers: int = 1,
    unusable: Sequence[BadPhotographError] = (),
    say: Callable[[str], None] = print,
) -> Path:
    """Writes data set `dataset`, returns its folder.

    `projections`, if any, are used instead of fitting some to the photographs in at most about
    `pca_bytes` of memory; their foreground classifier only where no photograph is for training.

    `num_workers` processes write the shards, whose bytes do not depend on their number. After an
    interruption, the same call goes on behind the last whole shard. `say` is told what the work
    will take. `report.html` beside the shards shows the data set.

    Photographs that turn out not to be usable are logged, and listed in `extraction.json` after
    `unusable`, those that were sorted out before. Raises `UserError` and `OSError` with one line
    that says what to do; what is not whole never looks like a data set.
    """
    check_destination(dataset, data_dir)
    facts: dict[str, PictureFacts] = {}

    def look_at(photograph: photographs.Photograph, crop: photographs.Crop) -> None:
        facts[photograph.id] = measure(crop)

    looked_through = tqdm(found, desc="look through", unit="photograph")
    good, bad = photographs.split_good_from_bad(looked_through, image_size, look_at)
    for error in bad:
        logging.warning("skipped %s", error)
    backbone = load_backbone(backbone_name, weights)
    some = _some(good, _FOREGROUND_PHOTOGRAPHS)
    expected = estimate(
        backbone,
        sizes,
        image_size,
        photographs.read_crop(good[0]).image,
        num_looks=2 * len(good) + len(_some(good, pca_photographs)) + 3 * len(some),
        num_examples=len(good),
    )
    say(f"{len(good)} photographs: {expected}")
    check_room(expected.size_bytes, data_dir)

    unfinished = data_dir / dataset / UNFINISHED_FOLDER
    inputs = inputs_sha256(
        {
            "backbone": backbone.name,
            "weights": backbone.weights_sha256,
            "image_size": image_size,
            "sizes": dataclasses.asdict(sizes),
            "pca": [pca_photographs, pca_bytes],
            "projections": projections and projections.sha256,
        },
        good,
    )
    fitted = open_unfinished(unfinished, inputs)
    if fitted is None:
        fitted = _fit(backbone, sizes, good, pca_photographs, pca_bytes, projections)
        save_fitted(unfinished, inputs, fitted)
    else:
        say(f"going on with the unfinished work in {unfinished}")
    extractor = Extractor.from_arrays(backbone, sizes, fitted)
    job = ShardJob(
        folder=unfinished,
        dataset=dataset,
        backbone=backbone_name,
        weights=weights,
        image_size=image_size,
        sizes=extractor.sizes,
        splits={
            split: tuple(photograph for photograph in good if photograph.split == split)
            for split in sorted({photograph.split for photograph in good}, reverse=True)
        },
    )
    with tqdm(total=len(good), desc="extract", unit="photograph") as progress:
        shards = job.run(extractor, num_workers, progress.update)
    not_finite = [line for each in shards.values() for shard in each for line in shard.skipped]
    for line in not_finite:
        logging.warning("skipped %s", line)
    for split, of_split in shards.items():
        if not sum(shard.num_examples for shard in of_split):
            raise ExtractionError(
                f"expected finite features of some photograph, got none among "
                f"{len(job.splits[split])} of split {split}; give other photographs or --weights"
            )
    builder = ShardsBuilder(
        folder=unfinished,
        shards=shards,
        name=dataset,
        data_dir=data_dir,
        sizes={
            "image_size": image_size,
            "feature_size": extractor.sizes.feature_size,
            "token_grid": extractor.sizes.token_grid,
            "token_dim": extractor.sizes.token_dim,
        },
        provenance={
            "backbone": backbone.name,
            "weights_sha256": backbone.weights_sha256,
            **(
                {"pca_photographs": pca_photographs}
                if projections is None
                else {"projections_of": projections.name, "projections_sha256": projections.sha256}
            ),
            "explained_variance": {
                name.removeprefix(_VARIANCE): [round(float(share), 4) for share in shares]
                for name, shares in fitted.items()
                if name.startswith(_VARIANCE)
            },
            "skipped": [*map(str, (*unusable, *bad)), *not_finite],
        },
        truth=job.truth_features(),
        keypoint_names=job.keypoint_names(),
        copied_files=_shared_truth(good),
        projection={k: v for k, v in fitted.items() if not k.startswith(_VARIANCE)},
    )
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    shutil.rmtree(unfinished)
    folder = Path(builder.data_path)
    write_report(folder, facts)
    return folder


def _shared_truth(good: Sequence[photographs.Photograph]) -> list[Path]:
    """The file of what all rendered pictures share; none, of photographs."""
    truth_path = good[0].truth_path
    return [] if truth_path is None else [truth_path.parent.parent / ANATOMY_FILE]


def _fit(
    backbone: Backbone,
    sizes: FeatureSizes,
    good: Sequence[photographs.Photograph],
    pca_photographs: int,
    pca_bytes: int,
    projections: StoredProjections | None,
) -> dict[str, np.ndarray]:
    """Arrays of the projections, of the foreground classifier, and of the explained variance."""
    if projections is None:
        extractor = fit_extractor(backbone, sizes, _crops_to_fit(good, pca_photographs), pca_bytes)
    else:
        extractor = projections.extractor(backbone, sizes)
    some = _some(good, _FOREGROUND_PHOTOGRAPHS)
    foreground = None if some or projections is None else projections.foreground()
    foreground = foreground or fit_foreground(backbone, _pictures(some), len(some))
    return {
        **extractor.projection_arrays(),
        **foreground.arrays("foreground"),
        **{f"{_VARIANCE}{k}": shares for k, shares in extractor.explained_variance.items()},
    }


def _crops_to_fit(
    good: Sequence[photographs.Photograph], max_photographs: int
) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Crops of training photographs, spread evenly over all of them."""
    for photograph in tqdm(_some(good, max_photographs), desc="fit PCA", unit="photograph"):
        crop = photographs.read_crop(photograph)
        yield crop.image, crop.mask


def _pictures(some: Sequence[photographs.Photograph]) -> Iterator[MaskedPicture]:
    for photograph in tqdm(some, desc="fit foreground", unit="photograph"):
        yield MaskedPicture(*photographs.read_whole(photograph))


def _some(
    good: Sequence[photographs.Photograph], max_photographs: int
) -> list[photographs.Photograph]:
    """Training photographs, spread evenly over all of them."""
    training = [photograph for photograph in good if photograph.split == "train"]
    num_taken = min(max_photographs, len(training))
    chosen = np.linspace(0, len(training) - 1, num_taken).astype(int) if num_taken else ()
    return [training[position] for position in chosen]
