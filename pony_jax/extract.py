"""Makes a data set from photographs and masks: crops, features, shards.

    python -m pony_jax.extract --images=DIR --masks=DIR --dataset=NAME --data_dir=DIR
    python -m pony_jax.extract --images=weizmann_horse_db --dataset=weizmann_horse --data_dir=DIR

Images and masks are paired by their names without the ending. `--layout` names other folders; a
data set called like a layout has that layout. `rendered` is what `pony_jax.data.render_rigged`
writes; the data set keeps its truth for `pony_jax.evaluate`. Photographs are turned upright by
their EXIF orientation. Those that cannot be used are skipped: each is named in a line, with the
reason, and in `extraction.json` beside the data set.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import flags, logging
from PIL import Image
from tqdm import tqdm

from pony_jax import command_line, path_flags
from pony_jax.data import (
    magicpony_folder,
    mask_files,
    photographs,
    rendered_folder,
    schema,
    weizmann_horse,
)
from pony_jax.data.file_contents import printable
from pony_jax.data.photograph_builder import (
    PROVENANCE_FILE,
    PhotographBuilder,
    check_destination,
    check_writable,
)
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.data.synthetic_quadruped import ANATOMY_FILE
from pony_jax.errors import UserError
from pony_jax.features.backbones import BACKBONES, load_backbone
from pony_jax.features.contact_sheet import contact_sheet
from pony_jax.features.errors import ExtractionError, NonFiniteFeaturesError
from pony_jax.features.extraction import Extractor, FeatureSizes, fit_extractor
from pony_jax.features.foreground import fit_foreground
from pony_jax.features.scenes import MaskedPicture
from pony_jax.training.errors import RunError

_LAYOUTS = ("folders", "weizmann_horse", "magicpony_folder", "rendered")

_IMAGES = path_flags.define_path("images", None, "Folder of images, or the root of a layout.")
_MASKS = path_flags.define_path(
    "masks", None, f"Folder of masks (layout 'folders'). {mask_files.RULE}"
)
_MASK_LABEL = flags.DEFINE_string(
    "mask_label",
    None,
    "The only grey value or palette index in the masks, such as 13, or colour, such as '#c00080', "
    "that is the animal; see --masks.",
)
_LAYOUT = flags.DEFINE_enum("layout", None, _LAYOUTS, "How the folders are laid out.")
_TEST_EVERY = flags.DEFINE_integer(
    "test_every", 10, "Every n-th photograph is for testing, 0 for none (layout 'folders').", 0
)
_DATASET = flags.DEFINE_string("dataset", None, "Name of the data set to write.")
_DATA_DIR = path_flags.define_path("data_dir", None, "Folder of data sets to write it to.")
_BACKBONE = flags.DEFINE_enum(
    "backbone", "efficientnet_lite0", BACKBONES, "Network whose features are taken."
)
_WEIGHTS = path_flags.define_path("weights", None, "Its weights, if not those it publishes.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 128, "Side of the stored crops, pixels.", 1)
_FEATURE_SIZE = flags.DEFINE_integer("feature_size", 64, "Side of the pixel features.", 1)
_TOKEN_GRID = flags.DEFINE_integer("token_grid", 16, "Tokens along a side.", 1)
_TOKEN_DIM = flags.DEFINE_integer("token_dim", 64, "Channels of a token.", 1)
_PCA_PHOTOGRAPHS = flags.DEFINE_integer(
    "pca_photographs", 150, "Fit the PCA to at most so many training photographs.", 1
)
_CONTACT_SHEET = path_flags.define_path(
    "contact_sheet", None, "PNG file to show the features of some training photographs in."
)
_CONTACT_SHEET_PHOTOGRAPHS = 32
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
    unusable: Sequence[BadPhotographError] = (),
) -> Path:
    """Writes data set `dataset`, returns its folder.

    Photographs that turn out not to be usable are logged, and listed in `extraction.json` after
    `unusable`, those that were sorted out before. Raises `UserError` and `OSError` with one line
    that says what to do; a data set that is not whole is never left behind.
    """
    check_destination(dataset, data_dir)
    good, bad = photographs.split_good_from_bad(found, image_size)
    for error in bad:
        logging.warning("skipped %s", error)
    skipped = [str(error) for error in (*unusable, *bad)]
    backbone = load_backbone(backbone_name, weights)
    extractor = fit_extractor(backbone, sizes, _crops_to_fit(good, pca_photographs))
    some = _some(good, _FOREGROUND_PHOTOGRAPHS)
    foreground = fit_foreground(backbone, _pictures(some), len(some))

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
            "feature_size": sizes.feature_size,
            "token_grid": sizes.token_grid,
            "token_dim": sizes.token_dim,
        },
        splits=examples,
        provenance={
            "backbone": backbone.name,
            "weights_sha256": backbone.weights_sha256,
            "pca_photographs": pca_photographs,
            "skipped": skipped,
        },
        projection={**extractor.projection_arrays(), **foreground.arrays("foreground")},
        **_truth_of_all(good),
    )
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    progress.close()
    return Path(builder.data_path)


def find_photographs(
    layout: str,
    images: str,
    masks: str | None,
    test_every: int,
    mask_label: mask_files.MaskLabel | None = None,
) -> photographs.FoundPhotographs:
    """The photographs of one of the layouts. Raises `UserError` without the folders it needs."""
    if layout == "weizmann_horse":
        return weizmann_horse.find_photographs(images, mask_label=mask_label)
    if layout == "magicpony_folder":
        return magicpony_folder.find_photographs(images, mask_label=mask_label)
    if layout == "rendered":
        return rendered_folder.find_photographs(images, mask_label=mask_label)
    if masks is None:
        raise UserError("expected --masks with layout 'folders', got none; give their folder")
    return photographs.find_pairs(images, masks, test_every=test_every, mask_label=mask_label)


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
    truth_path = photograph.truth_path
    truth = {} if truth_path is None else {"truth": rendered_folder.read_truth(truth_path)}
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
    }


def _truth_of_all(good: Sequence[photographs.Photograph]) -> dict[str, Any]:
    """What the builder has to know of truth; nothing, of photographs."""
    truth_path = good[0].truth_path
    if truth_path is None:
        return {}
    return {
        "truth": rendered_folder.truth_features(rendered_folder.read_truth(truth_path)),
        "copied_files": [truth_path.parent.parent / ANATOMY_FILE],
    }


def _mirror(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _write_contact_sheet(folder: Path, file: Path) -> None:
    source = tfds.builder_from_directory(folder).as_data_source("train")
    some = np.linspace(0, len(source) - 1, min(_CONTACT_SHEET_PHOTOGRAPHS, len(source)))
    examples = [source[int(position)] for position in some]
    sheet = contact_sheet([e["image"] for e in examples], [e["feature"] for e in examples])
    Image.fromarray(sheet).save(file)


def main(argv: Sequence[str]) -> None:
    """Makes the data set of the flags and prints what it holds."""
    del argv
    start_s = time.monotonic()
    try:
        folder = _extract_as_flags_say()
    except UserError as error:
        raise RunError(str(error)) from error
    splits = tfds.builder_from_directory(folder).info.splits
    counts = ", ".join(f"{info.num_examples} {name}" for name, info in splits.items())
    num_skipped = len(json.loads((folder / PROVENANCE_FILE).read_text())["skipped"])
    print(
        f"wrote {folder}: {counts} photographs in {time.monotonic() - start_s:.0f} s"
        + (f"; skipped {num_skipped}, listed in {PROVENANCE_FILE} there" if num_skipped else "")
    )


def _extract_as_flags_say() -> Path:
    """The folder of the data set."""
    layout = _LAYOUT.value or (_DATASET.value if _DATASET.value in _LAYOUTS else "folders")
    data_dir = Path(_DATA_DIR.value)
    check_destination(_DATASET.value, data_dir)
    contact_sheet_file = Path(_CONTACT_SHEET.value) if _CONTACT_SHEET.value else None
    if contact_sheet_file:
        if contact_sheet_file.suffix.lower() != ".png" or contact_sheet_file.is_dir():
            raise UserError(f"--contact_sheet: expected a PNG file, got {contact_sheet_file}")
        check_writable(contact_sheet_file.parent, "--contact_sheet")
    label = None if _MASK_LABEL.value is None else mask_files.parse_label(_MASK_LABEL.value)
    found = find_photographs(layout, _IMAGES.value, _MASKS.value, _TEST_EVERY.value, label)
    folder = extract(
        found,
        dataset=_DATASET.value,
        data_dir=data_dir,
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
        unusable=found.errors,
    )
    if contact_sheet_file:
        contact_sheet_file.parent.mkdir(parents=True, exist_ok=True)
        _write_contact_sheet(folder, contact_sheet_file)
    return folder


if __name__ == "__main__":
    flags.mark_flags_as_required(["images", "dataset", "data_dir"])
    command_line.run(main)
