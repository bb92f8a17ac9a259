"""Makes a data set from photographs and masks: crops, features, shards.

    python -m pony_jax.extract --images=DIR --masks=DIR --dataset=NAME --data_dir=DIR
    python -m pony_jax.extract --images=weizmann_horse_db --dataset=weizmann_horse --data_dir=DIR

Images and masks are paired by the stem of their names. `--layout` names other folders; a data set
called like a layout has that layout. Photographs that cannot be used are skipped, one line each.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import flags, logging
from PIL import Image
from tqdm import tqdm

from pony_jax import command_line
from pony_jax.data import magicpony_folder, photographs, schema, weizmann_horse
from pony_jax.data.photograph_builder import PhotographBuilder
from pony_jax.features.backbones import BACKBONES, load_backbone
from pony_jax.features.contact_sheet import contact_sheet
from pony_jax.features.extraction import Extractor, FeatureSizes, fit_extractor
from pony_jax.training.errors import RunError

_LAYOUTS = ("folders", "weizmann_horse", "magicpony_folder")

_IMAGES = flags.DEFINE_string("images", None, "Folder of images, or the root of a layout.")
_MASKS = flags.DEFINE_string("masks", None, "Folder of masks (layout 'folders').")
_LAYOUT = flags.DEFINE_enum("layout", None, _LAYOUTS, "How the folders are laid out.")
_TEST_EVERY = flags.DEFINE_integer(
    "test_every", 10, "Every n-th photograph is for testing, 0 for none (layout 'folders').", 0
)
_DATASET = flags.DEFINE_string("dataset", None, "Name of the data set to write.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets to write it to.")
_BACKBONE = flags.DEFINE_enum(
    "backbone", "efficientnet_lite0", BACKBONES, "Network whose features are taken."
)
_WEIGHTS = flags.DEFINE_string("weights", None, "Its weights, if not those it publishes.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 128, "Side of the stored crops, pixels.", 1)
_FEATURE_SIZE = flags.DEFINE_integer("feature_size", 64, "Side of the pixel features.", 1)
_TOKEN_GRID = flags.DEFINE_integer("token_grid", 16, "Tokens along a side.", 1)
_TOKEN_DIM = flags.DEFINE_integer("token_dim", 64, "Channels of a token.", 1)
_PCA_PHOTOGRAPHS = flags.DEFINE_integer(
    "pca_photographs", 150, "Fit the PCA to at most so many training photographs.", 1
)
_CONTACT_SHEET = flags.DEFINE_string(
    "contact_sheet", None, "PNG file to show the features of some training photographs in."
)
_CONTACT_SHEET_PHOTOGRAPHS = 32


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
) -> Path:
    """Writes data set `dataset`, returns its folder. Raises `ValueError`, `OSError`, `ImportError`
    with one line that says what to do; a data set that is not whole is never left behind."""
    version = str(PhotographBuilder.VERSION)
    if (data_dir / dataset / version).exists():
        raise FileExistsError(
            f"expected no data set at {data_dir / dataset / version}, found one; delete it or "
            "choose another --dataset or --data_dir"
        )
    good, bad = photographs.split_good_from_bad(found)
    for error in bad:
        logging.warning("skipped %s", error)
    backbone = load_backbone(backbone_name, weights)
    extractor = fit_extractor(backbone, sizes, _crops_to_fit(good, pca_photographs))

    splits = sorted({photograph.split for photograph in good}, reverse=True)  # train, test
    progress = tqdm(total=len(good), desc="extract", unit="photograph")
    examples = {
        split: _examples([p for p in good if p.split == split], extractor, image_size, progress)
        for split in splits
    }
    builder = PhotographBuilder(
        name=dataset,
        data_dir=data_dir,
        sizes={
            "image_size": image_size,
            "feature_size": sizes.feature_size,
            "token_grid": sizes.token_grid,
            "token_dim": sizes.token_dim,
        },
        splits=examples,
        provenance={
            "backbone": backbone.name,
            "weights_sha256": backbone.weights_sha256,
            "pca_photographs": pca_photographs,
            "skipped": [str(error) for error in bad],
        },
        projection=extractor.projection_arrays(),
    )
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    progress.close()
    return Path(builder.data_path)


def find_photographs(
    layout: str, images: str, masks: str | None, test_every: int
) -> list[photographs.Photograph]:
    """The photographs of one of the layouts. Raises `ValueError` without the folders it needs."""
    if layout == "weizmann_horse":
        return weizmann_horse.find_photographs(images)
    if layout == "magicpony_folder":
        return magicpony_folder.find_photographs(images)
    if masks is None:
        raise ValueError("expected --masks with layout 'folders', got none; give their folder")
    return photographs.find_pairs(images, masks, test_every=test_every)


def _crops_to_fit(
    good: Sequence[photographs.Photograph], max_photographs: int
) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Crops of training photographs, spread evenly over all of them."""
    training = [photograph for photograph in good if photograph.split == "train"]
    num_taken = min(max_photographs, len(training))
    chosen = np.linspace(0, len(training) - 1, num_taken).astype(int) if num_taken else ()
    for position in tqdm(chosen, desc="fit PCA", unit="photograph"):
        crop = photographs.read_crop(training[position])
        yield crop.image, crop.mask


def _examples(
    chosen: Sequence[photographs.Photograph], extractor: Extractor, image_size: int, progress: tqdm
) -> Callable[[], Iterable[tuple[str, dict[str, Any]]]]:
    """A function that makes the examples of a split, in the form of `schema`."""

    def make() -> Iterator[tuple[str, dict[str, Any]]]:
        for photograph in chosen:
            crop = photographs.read_crop(photograph)
            mirrored = [_mirror(picture) for picture in (crop.image, crop.mask)]
            stored = (image_size, image_size)
            is_animal = np.asarray(crop.mask.resize(stored, Image.Resampling.BOX)) > 127
            yield (
                photograph.id,
                {
                    "id": photograph.id,
                    "image": schema.encode_jpeg(np.asarray(crop.image.resize(stored))),
                    "mask": schema.encode_png(np.where(is_animal, 255, 0)[..., None].astype("u1")),
                    "box": crop.box,
                    **extractor(crop.image, crop.mask),
                    "flip": extractor(*mirrored),
                },
            )
            progress.update()

    return make


def _mirror(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _write_contact_sheet(folder: Path, file: Path) -> None:
    source = tfds.builder_from_directory(folder).as_data_source("train")
    some = np.linspace(0, len(source) - 1, min(_CONTACT_SHEET_PHOTOGRAPHS, len(source)))
    examples = [source[int(position)] for position in some]
    sheet = contact_sheet([e["image"] for e in examples], [e["feature"] for e in examples])
    Image.fromarray(sheet).save(file)


def main(argv: Sequence[str]) -> None:
    start_s = time.monotonic()
    layout = _LAYOUT.value or (_DATASET.value if _DATASET.value in _LAYOUTS else "folders")
    try:
        folder = extract(
            find_photographs(layout, _IMAGES.value, _MASKS.value, _TEST_EVERY.value),
            dataset=_DATASET.value,
            data_dir=Path(_DATA_DIR.value),
            backbone_name=_BACKBONE.value,
            weights=Path(_WEIGHTS.value) if _WEIGHTS.value else None,
            image_size=_IMAGE_SIZE.value,
            sizes=FeatureSizes(
                feature_size=_FEATURE_SIZE.value,
                feature_dim=schema.FEATURE_DIM,
                token_grid=_TOKEN_GRID.value,
                token_dim=_TOKEN_DIM.value,
            ),
            pca_photographs=_PCA_PHOTOGRAPHS.value,
        )
        if _CONTACT_SHEET.value:
            _write_contact_sheet(folder, Path(_CONTACT_SHEET.value))
    except (ValueError, ImportError) as error:
        raise RunError(str(error)) from error
    splits = tfds.builder_from_directory(folder).info.splits
    counts = ", ".join(f"{info.num_examples} {name}" for name, info in splits.items())
    print(f"wrote {folder}: {counts} photographs in {time.monotonic() - start_s:.0f} s")


if __name__ == "__main__":
    flags.mark_flags_as_required(["images", "dataset", "data_dir"])
    command_line.run(main)
