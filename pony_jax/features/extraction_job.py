"""From photographs on disk to a data set on disk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from tqdm import tqdm

from pony_jax.data import photographs, schema
from pony_jax.data.file_contents import printable
from pony_jax.data.photograph_builder import PhotographBuilder, check_destination
from pony_jax.data.picture_facts import PictureFacts, measure
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.features.backbones import load_backbone
from pony_jax.features.errors import ExtractionError, NonFiniteFeaturesError
from pony_jax.features.estimate import check_room, estimate
from pony_jax.features.extraction import Extractor, FeatureSizes, fit_extractor
from pony_jax.features.foreground import fit_foreground
from pony_jax.features.report import write_report
from pony_jax.features.reused_projections import StoredProjections
from pony_jax.features.scenes import MaskedPicture

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
    unusable: Sequence[BadPhotographError] = (),
    say: Callable[[str], None] = print,
) -> Path:
    """Writes data set `dataset`, returns its folder.

    `projections`, if any, are used instead of fitting some to the photographs in at most about
    `pca_bytes` of memory; their foreground classifier only where no photograph is for training.

    `say` is told what the work will take. `report.html` beside the shards shows the data set.
    Photographs that turn out not to be usable are logged, and listed in `extraction.json` after
    `unusable`, those that were sorted out before. Raises `UserError` and `OSError` with one line
    that says what to do; a data set that is not whole is never left behind.
    """
    check_destination(dataset, data_dir)
    facts: dict[str, PictureFacts] = {}

    def look_at(photograph: photographs.Photograph, crop: photographs.Crop) -> None:
        facts[photograph.id] = measure(crop)

    looked_through = tqdm(found, desc="look through", unit="photograph")
    good, bad = photographs.split_good_from_bad(looked_through, image_size, look_at)
    for error in bad:
        logging.warning("skipped %s", error)
    skipped = [str(error) for error in (*unusable, *bad)]
    backbone = load_backbone(backbone_name, weights)
    some = _some(good, _FOREGROUND_PHOTOGRAPHS)
    num_fitted = 0 if projections is not None else len(_some(good, pca_photographs))
    expected = estimate(
        backbone,
        sizes,
        image_size,
        photographs.read_crop(good[0]).image,
        num_looks=2 * len(good) + num_fitted + 3 * len(some),
        num_examples=len(good),
    )
    say(f"{len(good)} photographs: {expected}")
    check_room(expected.size_bytes, data_dir)
    if projections is None:
        crops = _crops_to_fit(good, pca_photographs)
        extractor = fit_extractor(backbone, sizes, crops, pca_bytes)
        origin = {"pca_photographs": pca_photographs}
    else:
        extractor = projections.extractor(backbone, sizes)
        origin = {"projections_of": projections.name, "projections_sha256": projections.sha256}
    foreground = None if some or projections is None else projections.foreground()
    foreground = foreground or fit_foreground(backbone, _pictures(some), len(some))

    splits = sorted({photograph.split for photograph in good}, reverse=True)  # train, test
    progress = tqdm(total=len(good), desc="extract", unit="photograph")
    examples = {
        split: _examples(
            [p for p in good if p.split == split], extractor, image_size, progress, skipped
        )
        for split in splits
    }
    builder = PhotographBuilder(
        name=dataset,
        data_dir=data_dir,
        sizes={
            "image_size": image_size,
            "feature_size": extractor.sizes.feature_size,
            "token_grid": extractor.sizes.token_grid,
            "token_dim": extractor.sizes.token_dim,
        },
        splits=examples,
        provenance={
            "backbone": backbone.name,
            "weights_sha256": backbone.weights_sha256,
            **origin,
            "explained_variance": {
                name: [round(float(share), 4) for share in shares]
                for name, shares in extractor.explained_variance.items()
            },
            "skipped": skipped,
        },
        projection={**extractor.projection_arrays(), **foreground.arrays("foreground")},
    )
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    progress.close()
    folder = Path(builder.data_path)
    write_report(folder, facts)
    return folder


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


def _examples(
    chosen: Sequence[photographs.Photograph],
    extractor: Extractor,
    image_size: int,
    progress: tqdm,
    skipped: list[str],
) -> Callable[[], Iterable[tuple[str, dict[str, Any]]]]:
    """A function that makes the examples of a split, in the form of `schema`.

    Those whose features are not finite are logged and added to `skipped`; if there is no other, the
    function raises `ExtractionError`.
    """

    def make() -> Iterator[tuple[str, dict[str, Any]]]:
        num_made = 0
        for photograph in chosen:
            progress.update()
            try:
                example = _example(photograph, extractor, image_size)
            except NonFiniteFeaturesError as error:
                error = f"{printable(photograph.id)}: {error}"
                logging.warning("skipped %s", error)
                skipped.append(error)
                continue
            num_made += 1
            yield photograph.id, example
        if not num_made:
            raise ExtractionError(
                f"expected finite features of some photograph, got none among {len(chosen)} of a "
                "split; give other photographs or --weights"
            )

    return make


def _example(
    photograph: photographs.Photograph, extractor: Extractor, image_size: int
) -> dict[str, Any]:
    crop = photographs.read_crop(photograph)
    mirrored = [_mirror(picture) for picture in (crop.image, crop.mask)]
    is_animal = photographs.animal_at_size(crop, image_size)
    return {
        "id": photograph.id,
        "image": schema.encode_jpeg(np.asarray(crop.image.resize((image_size, image_size)))),
        "mask": schema.encode_png(np.where(is_animal, 255, 0)[..., None].astype("u1")),
        "box": crop.box,
        **extractor(crop.image, crop.mask),
        "flip": extractor(*mirrored),
    }


def _mirror(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
