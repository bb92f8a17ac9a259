"""Makes a data set from photographs and masks: crops, features, shards.

    python -m pony_jax.extract --images=DIR --masks=DIR --dataset=NAME --data_dir=DIR
    python -m pony_jax.extract --images=weizmann_horse_db --dataset=weizmann_horse --data_dir=DIR

Images and masks are paired by their names without the ending. `--layout` names other folders, such
as those of COCO, PASCAL VOC and CUB (`python -m pony_jax.data.describe`); a data set called like a
layout has that layout. `--keypoints` adds keypoints, which serve to score models only.
`rendered` is what `pony_jax.data.render_rigged` writes; the data set keeps its truth for
`pony_jax.evaluate`. Photographs are turned upright by their EXIF orientation. Those that cannot be
used are skipped: each is named in a line, with the reason, and in `extraction.json` beside the data
set. `report.html` there shows what it holds.

Without masks, they are made, and kept in DATA_DIR/NAME_masks; `masks.html` there shows them, and
what is listed in `struck_out.txt` is left out by the next extraction:

    python -m pony_jax.extract --images=DIR --masks=auto --mask_model=horse --dataset=NAME ...

An interrupted extraction goes on where it was when the same command is given again.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from absl import flags

from pony_jax import command_line, path_flags
from pony_jax.data import mask_files, schema
from pony_jax.data.layouts import LAYOUTS, Sources, find_photographs, with_marked_keypoints
from pony_jax.data.photograph_builder import PROVENANCE_FILE, check_destination, check_writable
from pony_jax.data.photographs import FoundPhotographs
from pony_jax.errors import UserError
from pony_jax.features.backbones import BACKBONES, DEFAULT_INPUT_SIZES, LAYERS, backbone_options
from pony_jax.features.extraction import FeatureSizes
from pony_jax.features.extraction_job import extract
from pony_jax.features.made_masks import (
    AUTO,
    FILTERS,
    PAGE_FILE,
    find_masked,
    make_masks,
    summarise,
)
from pony_jax.features.mask_rcnn import MASK_RCNN, MaskRcnn
from pony_jax.features.report import REPORT_FILE, examples_sheet
from pony_jax.features.reused_projections import StoredProjections, read_projections
from pony_jax.reconstruction.load import load
from pony_jax.reconstruction.model_masks import ModelMasks

_IMAGES = path_flags.define_path("images", None, "Folder of images, or the root of a layout.")
_MASKS = path_flags.define_path(
    "masks",
    None,
    f"Folder of masks (layout 'folders'), or `{AUTO}` to make them; see --mask_model. "
    f"{mask_files.RULE}",
)
_MASK_LABEL = flags.DEFINE_string(
    "mask_label",
    None,
    "The only grey value or palette index in the masks, such as 13, or colour, such as '#c00080', "
    "that is the animal; see --masks.",
)
_MASK_MODEL = path_flags.define_path(
    "mask_model",
    None,
    f"With --masks={AUTO}, what finds the animals: a trained model (a name such as horse, a run's "
    f"folder, a file), or {MASK_RCNN}:CLASS, torchvision's network for a class of COCO, such as "
    f"{MASK_RCNN}:horse.",
)
_MASK_WEIGHTS = path_flags.define_path(
    "mask_weights", None, f"File of the weights of {MASK_RCNN}, if it cannot be fetched."
)
_MASK_FILTERS = flags.DEFINE_list(
    "mask_filters",
    list(FILTERS),
    "Which photographs to leave out whose masks were made: "
    + "; ".join(f"{name}: {reason}" for name, reason in FILTERS.items())
    + ". Nothing keeps all.",
)
_LAYOUT = flags.DEFINE_enum(
    "layout",
    None,
    list(LAYOUTS),
    "How the folders are laid out; `python -m pony_jax.data.describe` tells more.",
)
_CATEGORY = flags.DEFINE_string(
    "category", None, "Name of the animal in data sets of several, such as horse."
)
_KEYPOINTS = path_flags.define_path(
    "keypoints",
    None,
    "Keypoints to score models with: a CSV file of DeepLabCut or a JSON file of BADJA (layout "
    "'folders'), or Berkeley's folder (layout 'pascal_animals').",
)
_TEST_EVERY = flags.DEFINE_integer(
    "test_every", 10, "Every n-th photograph is for testing, 0 for none (layout 'folders').", 0
)
_DATASET = flags.DEFINE_string("dataset", None, "Name of the data set to write.")
_DATA_DIR = path_flags.define_path("data_dir", None, "Folder of data sets to write it to.")
_BACKBONE = flags.DEFINE_enum(
    "backbone", "efficientnet_lite0", BACKBONES, "Network whose features are taken."
)
_WEIGHTS = path_flags.define_path("weights", None, "Its weights, if not those it publishes.")
_INPUT_SIZE = flags.DEFINE_integer(
    "input_size",
    None,
    "Side of the pictures that the backbone looks at, pixels; by default "
    + ", ".join(f"{size} for {name}" for name, size in DEFAULT_INPUT_SIZES.items())
    + ". Half of it is four times as fast.",
)
_LAYERS = flags.DEFINE_list(
    "layers",
    None,
    "Layers that make up the features, several joined, such as 4,10: "
    + "; ".join(f"{name} has {', '.join(map(str, known))}" for name, known in LAYERS.items())
    + ".",
)
_PROJECTIONS = path_flags.define_path(
    "projections",
    None,
    "Data set, a folder or a name in --data_dir, whose backbone, sizes and PCA are used: for "
    "fine-tuning a model of that data set, or testing it on new photographs.",
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 128, "Side of the stored crops, pixels.", 1)
_FEATURE_SIZE = flags.DEFINE_integer("feature_size", 64, "Side of the pixel features.", 1)
_TOKEN_GRID = flags.DEFINE_integer("token_grid", 16, "Tokens along a side.", 1)
_TOKEN_DIM = flags.DEFINE_integer(
    "token_dim", 64, "Channels of a token; 0 for the backbone's own, without PCA.", 0
)
_PCA_PHOTOGRAPHS = flags.DEFINE_integer(
    "pca_photographs", 150, "Fit the PCA to at most so many training photographs.", 1
)
_PCA_MEMORY = flags.DEFINE_integer(
    "pca_memory_mib", 512, "Memory that fitting the PCA may take, about.", 1
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 1, "Processes that extract; the data set does not depend on their number.", 1
)
_CONTACT_SHEET = path_flags.define_path(
    "contact_sheet", None, "PNG file to show the features of some training photographs in."
)
_CONTACT_SHEET_PHOTOGRAPHS = 32


def _write_contact_sheet(folder: Path, file: Path) -> None:
    source = tfds.builder_from_directory(folder).as_data_source("train")
    examples_sheet(source, _CONTACT_SHEET_PHOTOGRAPHS).save(file)


def main(argv: Sequence[str]) -> None:
    """Makes the data set of the flags and prints what it holds."""
    del argv
    start_s = time.monotonic()
    folder = _extract_as_flags_say()
    splits = tfds.builder_from_directory(folder).info.splits
    counts = ", ".join(f"{info.num_examples} {name}" for name, info in splits.items())
    num_skipped = len(json.loads((folder / PROVENANCE_FILE).read_text())["skipped"])
    print(
        f"wrote {folder}: {counts} photographs in {time.monotonic() - start_s:.0f} s"
        + (f"; skipped {num_skipped}, listed in {PROVENANCE_FILE} there" if num_skipped else "")
        + f"; look at {folder / REPORT_FILE}"
    )


def _extract_as_flags_say() -> Path:
    """The folder of the data set."""
    layout = _LAYOUT.value or (_DATASET.value if _DATASET.value in LAYOUTS else "folders")
    data_dir = Path(_DATA_DIR.value)
    check_destination(_DATASET.value, data_dir)
    contact_sheet_file = Path(_CONTACT_SHEET.value) if _CONTACT_SHEET.value else None
    if contact_sheet_file:
        if contact_sheet_file.suffix.lower() != ".png" or contact_sheet_file.is_dir():
            raise UserError(f"--contact_sheet: expected a PNG file, got {contact_sheet_file}")
        check_writable(contact_sheet_file.parent, "--contact_sheet")
    label = None if _MASK_LABEL.value is None else mask_files.parse_label(_MASK_LABEL.value)
    projections = read_projections(_PROJECTIONS.value, data_dir) if _PROJECTIONS.value else None
    backbone, sizes = _backbone_name(projections), _feature_sizes(projections)
    sources = Sources(
        images=_IMAGES.value,
        masks=_MASKS.value,
        keypoints=_KEYPOINTS.value,
        category=_CATEGORY.value,
        mask_label=label,
        test_every=_TEST_EVERY.value,
    )
    if sources.masks == AUTO:
        found = _find_with_made_masks(layout, sources, data_dir / f"{_DATASET.value}_masks")
    else:
        found = find_photographs(layout, sources)
    folder = extract(
        found,
        dataset=_DATASET.value,
        data_dir=data_dir,
        backbone_name=backbone,
        weights=Path(_WEIGHTS.value) if _WEIGHTS.value else None,
        image_size=_IMAGE_SIZE.value,
        sizes=sizes,
        pca_photographs=_PCA_PHOTOGRAPHS.value,
        pca_bytes=_PCA_MEMORY.value * 2**20,
        projections=projections,
        num_workers=_NUM_WORKERS.value,
        unusable=found.errors,
    )
    if contact_sheet_file:
        contact_sheet_file.parent.mkdir(parents=True, exist_ok=True)
        _write_contact_sheet(folder, contact_sheet_file)
    return folder


def _find_with_made_masks(layout: str, sources: Sources, folder: Path) -> FoundPhotographs:
    """The photographs of layout 'folders', with masks that are made where there are none yet."""
    if layout != "folders" or _MASK_MODEL.value is None:
        raise UserError(
            f"expected layout 'folders' and a --mask_model such as horse with --masks={AUTO}, got "
            f"layout {layout!r} and {_MASK_MODEL.value}"
        )
    if sources.mask_label is not None:
        raise UserError(f"expected no --mask_label with --masks={AUTO}; leave it out")
    if _MASK_MODEL.value.startswith(f"{MASK_RCNN}:"):
        maker = MaskRcnn(_MASK_MODEL.value.partition(":")[2], _MASK_WEIGHTS.value)
    else:
        weights = _WEIGHTS.value if _BACKBONE.value == "efficientnet_lite0" else None
        maker = ModelMasks(load(_MASK_MODEL.value, weights), _MASK_MODEL.value)
    make_masks(sources.images, folder, maker)
    found = find_masked(
        sources.images, folder, test_every=sources.test_every, filters=_MASK_FILTERS.value
    )
    print(f"made masks: {summarise(found)}; look at {folder / PAGE_FILE}")
    return with_marked_keypoints(found, sources)


def _backbone_name(projections: StoredProjections | None) -> str:
    """What the flags say or, if they say nothing, what the projections were made with."""
    said = any(flag.present for flag in (_BACKBONE, _INPUT_SIZE, _LAYERS))
    if projections is not None and not said:
        return projections.backbone
    layers = _LAYERS.value
    if layers is not None and not all(layer.strip().isdecimal() for layer in layers):
        raise UserError(f"--layers: expected numbers such as 4,10, got {','.join(layers)!r}")
    chosen = None if layers is None else [int(layer) for layer in layers]
    return backbone_options(_BACKBONE.value, _INPUT_SIZE.value, chosen).name


def _feature_sizes(projections: StoredProjections | None) -> FeatureSizes:
    """What the flags say; what they do not is that of the projections, if there are any."""
    sizes = {
        name: getattr(projections.sizes, name)
        if projections is not None and not flag.present
        else flag.value
        for name, flag in {
            "feature_size": _FEATURE_SIZE,
            "token_grid": _TOKEN_GRID,
            "token_dim": _TOKEN_DIM,
        }.items()
    }
    return FeatureSizes(feature_dim=schema.FEATURE_DIM, **sizes)


if __name__ == "__main__":
    flags.mark_flags_as_required(["images", "dataset", "data_dir"])
    command_line.run(main)
