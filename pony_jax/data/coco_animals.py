"""Animals of one category out of data sets with COCO's annotation files.

    ROOT/annotations/instances_NAME.json    images, annotations, categories
    ROOT/NAME/FILE                          the photographs

NAME is `train2017` and `val2017` in COCO itself. A name that starts with `train` is for training,
any other for testing. Every animal is a photograph of its own, called NAME/FILE_ID with the number
of the annotation. Crowds are left out.
"""

import json
import os
from pathlib import Path
from typing import Any

from pony_jax.data.coco_segmentation import SegmentationError, parse_segmentation
from pony_jax.data.file_contents import printable
from pony_jax.data.keypoints import Keypoints
from pony_jax.data.photographs import FoundPhotographs, Photograph
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.data.picture_pairs import MissingPhotographsError
from pony_jax.errors import UserError

_PREFIX = "instances_"


def find_photographs(root: str | os.PathLike[str], category: str) -> FoundPhotographs:
    """The animals of a category, called as in the files (COCO has bird, cat, dog, horse, ...).

    Raises `MissingPhotographsError` where there is no such folder or no such animal, `UserError`
    where a file is damaged or no file has the category.
    """
    files = sorted(Path(root).glob(f"annotations/{_PREFIX}*.json"))
    if not files:
        raise MissingPhotographsError(
            f"expected {printable(root)}/annotations/{_PREFIX}NAME.json with the photographs in "
            f"{printable(root)}/NAME, found none; pass the folder above annotations with --images"
        )
    found: list[Photograph] = []
    errors: list[BadPhotographError] = []
    for file in files:
        _find_in(file, category, found, errors)
    if not found:
        raise MissingPhotographsError(
            f"expected photographs of a {category} in {printable(root)}, found none"
            + (f" ({errors[0]})" if errors else "; choose another --category")
        )
    return FoundPhotographs(sorted(found, key=lambda each: each.id), errors)


def _find_in(
    file: Path, category: str, found: list[Photograph], errors: list[BadPhotographError]
) -> None:
    folder = file.parent.parent / file.stem.removeprefix(_PREFIX)
    split = "train" if folder.name.startswith("train") else "test"
    try:
        contents = json.loads(file.read_text())
        images = {image["id"]: image for image in contents["images"]}
        categories = {each["name"]: each for each in contents["categories"]}
        annotations = contents["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"expected images, annotations and categories in {printable(file)}, found a damaged "
            f"file ({type(error).__name__}: {error}); download or export it again"
        ) from error
    if category not in categories:
        raise UserError(
            f"expected a --category of {', '.join(sorted(categories))}, as in {printable(file)}, "
            f"got {category!r}"
        )
    chosen = categories[category]
    for annotation in annotations:
        if annotation["category_id"] != chosen["id"] or annotation.get("iscrowd"):
            continue
        image = images[annotation["image_id"]]
        path = folder / image["file_name"]
        name = f"{folder.name}/{Path(image['file_name']).with_suffix('')}_{annotation['id']}"
        if not path.is_file():
            line = f"{printable(name)}: expected {printable(path)}, found none; download it"
            errors.append(BadPhotographError(line))
            continue
        try:
            segmentation = parse_segmentation(
                annotation.get("segmentation"), image["width"], image["height"]
            )
        except SegmentationError as error:
            errors.append(BadPhotographError(f"{printable(name)}: {error}"))
            continue
        keypoints = _keypoints(annotation, chosen)
        found.append(
            Photograph(name, split, path, None, segmentation=segmentation, keypoints=keypoints)
        )


def _keypoints(annotation: dict[str, Any], category: dict[str, Any]) -> Keypoints | None:
    """Of x, y and v in turn: 0 is not marked, 1 hidden, 2 visible."""
    names, numbers = category.get("keypoints"), annotation.get("keypoints")
    if not names or not numbers or len(numbers) != 3 * len(names):
        return None
    px = tuple(zip(map(float, numbers[::3]), map(float, numbers[1::3]), strict=True))
    return Keypoints(tuple(names), px, tuple(value == 2 for value in numbers[2::3]))
