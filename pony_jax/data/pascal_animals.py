"""Animals of one category out of PASCAL VOC's segmentation set, with keypoints where there are any.

    ROOT/JPEGImages/NAME.jpg
    ROOT/SegmentationObject/NAME.png          palette index k = object k, 255 = void
    ROOT/Annotations/NAME.xml                 objects 1, 2, ... in order, each with a category
    ROOT/ImageSets/Segmentation/{train,val}.txt
    KEYPOINTS/CATEGORY/NAME_k.xml             optional: Berkeley's keypoints of object k

ROOT is `VOCdevkit/VOC2012`, say. VOC's `val` is for testing. Every animal is a photograph of its
own, called NAME_k. The keypoints' coordinates are taken as they are written.
"""

import os
from pathlib import Path
from xml.etree import ElementTree

from pony_jax.data.file_contents import printable
from pony_jax.data.keypoints import Keypoints
from pony_jax.data.photographs import FoundPhotographs, Photograph
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.data.picture_pairs import MissingPhotographsError

_SPLITS = {"train": "train", "val": "test"}


def find_photographs(
    root: str | os.PathLike[str], category: str, keypoints: str | os.PathLike[str] | None = None
) -> FoundPhotographs:
    """The animals of a category (bird, cat, cow, dog, horse or sheep).

    Raises `MissingPhotographsError` where a folder is missing or there is no such animal.
    """
    root, lists = Path(root), Path(root) / "ImageSets" / "Segmentation"
    found: list[Photograph] = []
    errors: list[BadPhotographError] = []
    for name, split in _SPLITS.items():
        list_file = lists / f"{name}.txt"
        if not list_file.is_file():
            raise MissingPhotographsError(
                f"expected {printable(list_file)}, found none; pass a VOC folder, such as "
                "VOCdevkit/VOC2012, with --images"
            )
        for picture in list_file.read_text().split():
            try:
                objects = _categories(root / "Annotations" / f"{picture}.xml")
            except BadPhotographError as error:
                errors.append(error)
                continue
            for number, of_object in enumerate(objects, start=1):
                if of_object != category:
                    continue
                file = keypoints and Path(keypoints) / category / f"{picture}_{number}.xml"
                found.append(
                    Photograph(
                        f"{picture}_{number}",
                        split,
                        root / "JPEGImages" / f"{picture}.jpg",
                        root / "SegmentationObject" / f"{picture}.png",
                        mask_label=number,
                        keypoints=_keypoints(file) if file and file.is_file() else None,
                    )
                )
    if not found:
        raise MissingPhotographsError(
            f"expected photographs of a {category} in {printable(root)}, found none; choose a "
            "--category out of bird, cat, cow, dog, horse, sheep"
        )
    return FoundPhotographs(sorted(found, key=lambda each: each.id), errors)


def _categories(file: Path) -> list[str]:
    """The category of each object."""
    return [each.findtext("name", "").strip() for each in _read_xml(file).iter("object")]


def _keypoints(file: Path) -> Keypoints:
    marked = list(_read_xml(file).iter("keypoint"))
    try:
        return Keypoints(
            tuple(each.attrib["name"] for each in marked),
            tuple((float(each.attrib["x"]), float(each.attrib["y"])) for each in marked),
            tuple(each.get("visible", "1") != "0" for each in marked),
        )
    except (KeyError, ValueError) as error:
        raise BadPhotographError(
            f"{printable(file)}: expected keypoints with name, x and y, found others ({error}); "
            "download it again"
        ) from error


def _read_xml(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise BadPhotographError(
            f"{printable(file)}: expected an XML file, found none or a damaged one ({error}); "
            "unpack the data set again"
        ) from error
