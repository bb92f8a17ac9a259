"""The layouts of folders that `pony_jax.extract` reads, and what is to be known of each.

`python -m pony_jax.data.describe --layout=NAME` prints it.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pony_jax.data import (
    coco_animals,
    cub_birds,
    magicpony_folder,
    pascal_animals,
    photographs,
    rendered_folder,
    weizmann_horse,
)
from pony_jax.data.keypoint_files import with_keypoints
from pony_jax.data.mask_files import MaskLabel
from pony_jax.data.photographs import FoundPhotographs
from pony_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where photographs lie; what a layout has no use for stays None.

    Attributes:
      images: folder of images, or the root of the layout.
      masks: folder of masks.
      keypoints: file or folder of keypoints.
      category: name of the animal in the data set.
      test_every: every n-th photograph is for testing, 0 for none.
    """

    images: str
    masks: str | None = None
    keypoints: str | None = None
    category: str | None = None
    mask_label: MaskLabel | None = None
    test_every: int = 10


class Layout(NamedTuple):
    """A way in which photographs and masks lie on the disk.

    Attributes:
      find: the photographs of `Sources`.
      takes: those flags, besides --images, that it has a use for.
      instructions: how to get the data, and the command that extracts it.
    """

    find: Callable[[Sources], FoundPhotographs]
    takes: tuple[str, ...]
    description: str
    citation: str
    licence: str
    homepage: str
    instructions: str


def find_photographs(layout: str, sources: Sources) -> FoundPhotographs:
    """The photographs of a layout out of `LAYOUTS`.

    Raises `UserError` for sources that the layout has no use for, without those that it needs, and
    where it finds no photograph.
    """
    row = LAYOUTS[layout]
    for name in ("masks", "keypoints", "category", "mask_label"):
        if getattr(sources, name) is not None and name not in row.takes:
            raise UserError(
                f"expected no --{name} with layout {layout!r}, which has no use for it, got "
                f"{getattr(sources, name)}; leave it out"
            )
    return row.find(sources)


def describe(layout: str) -> str:
    """What is to be known of a layout, for people."""
    row = LAYOUTS[layout]
    parts = {
        "citation": row.citation,
        "licence": row.licence,
        "homepage": row.homepage,
        "how to get and extract it": row.instructions,
    }
    return "\n\n".join(
        [f"{layout}: {row.description}"]
        + [f"{title}:\n  " + text.replace("\n", "\n  ") for title, text in parts.items() if text]
    )


def _find_folders(sources: Sources) -> FoundPhotographs:
    if sources.masks is None:
        raise UserError("expected --masks with layout 'folders', got none; give their folder")
    found = photographs.find_pairs(
        sources.images,
        sources.masks,
        test_every=sources.test_every,
        mask_label=sources.mask_label,
    )
    return with_marked_keypoints(found, sources)


def with_marked_keypoints(found: FoundPhotographs, sources: Sources) -> FoundPhotographs:
    """The photographs with the keypoints of `sources`, if it has any; see `with_keypoints`."""
    return with_keypoints(found, Path(sources.keypoints)) if sources.keypoints else found


def _category(sources: Sources) -> str:
    if sources.category is None:
        raise UserError("expected the animal's name, such as --category=horse, got none")
    return sources.category


def _command(layout: str, root: str, flags: str = "") -> str:
    more = f" {flags}" if flags else ""
    return (
        f"python -m pony_jax.extract --layout={layout} --images={root}{more} "
        f"--dataset=NAME --data_dir=DIR"
    )


LAYOUTS = {
    "folders": Layout(
        find=_find_folders,
        takes=("masks", "keypoints", "mask_label"),
        description="your own photographs in a folder, and a mask of the same name for each in "
        "another.",
        citation="",
        licence="",
        homepage="",
        instructions="--keypoints takes CollectedData_SCORER.csv of DeepLabCut or a JSON file of "
        "BADJA.\nHorse-10 has its keypoints in such CSV files, and no masks.\n"
        + _command("folders", "DIR", "--masks=DIR"),
    ),
    "weizmann_horse": Layout(
        find=lambda s: weizmann_horse.find_photographs(s.images, mask_label=s.mask_label),
        takes=("mask_label",),
        description="328 photographs of horses seen from the side, with masks.",
        citation="E. Borenstein, S. Ullman: Combining Top-Down and Bottom-Up Segmentation. CVPR "
        "Workshop on Perceptual Organization in Computer Vision, 2004.",
        licence="none stated; use it for research, and pass no photographs on.",
        homepage="its first home, msri.org, is gone",
        instructions=f"Download {weizmann_horse.DOWNLOAD}\nand unpack it to weizmann_horse_db.\n"
        + _command("weizmann_horse", "weizmann_horse_db"),
    ),
    "magicpony_folder": Layout(
        find=lambda s: magicpony_folder.find_photographs(s.images, mask_label=s.mask_label),
        takes=("mask_label",),
        description="square crops with masks and boxes, as MagicPony's authors publish them: "
        "horse_combined, horse_videos, bird_videos, and giraffe, zebra and cow of COCO.",
        citation="S. Wu, R. Li, T. Jakab, C. Rupprecht, A. Vedaldi: MagicPony: Learning "
        "Articulated 3D Animals in the Wild. CVPR 2023.",
        licence="that of the data sets they are from (DOVE, Weizmann, PASCAL, Horse-10, COCO).",
        homepage="https://github.com/elliottwu/MagicPony",
        instructions="Download and unpack the archives that data/download_*.sh there fetches.\n"
        "NAME_feat16.png is not read: features are extracted anew, of mirrored images too.\n"
        + _command("magicpony_folder", "horse_combined"),
    ),
    "coco_animals": Layout(
        find=lambda s: coco_animals.find_photographs(s.images, _category(s)),
        takes=("category",),
        description="animals of one category of COCO, or of any data set with COCO's annotation "
        "files; COCO has bird, cat, dog, horse, sheep, cow, elephant, bear, zebra and giraffe.",
        citation="T.-Y. Lin, M. Maire, S. Belongie, J. Hays, P. Perona, D. Ramanan, P. Dollar, C. "
        "L. Zitnick: Microsoft COCO: Common Objects in Context. ECCV 2014.",
        licence="annotations CC BY 4.0; photographs under the terms of Flickr.",
        homepage="https://cocodataset.org",
        instructions="Download train2017.zip, val2017.zip and annotations_trainval2017.zip from "
        "the homepage\nand unpack them to coco/train2017, coco/val2017 and coco/annotations.\n"
        + _command("coco_animals", "coco", "--category=horse"),
    ),
    "pascal_animals": Layout(
        find=lambda s: pascal_animals.find_photographs(s.images, _category(s), s.keypoints),
        takes=("category", "keypoints"),
        description="animals of one category of PASCAL VOC (bird, cat, cow, dog, horse, sheep), "
        "with Berkeley's keypoints.",
        citation="M. Everingham, L. Van Gool, C. K. I. Williams, J. Winn, A. Zisserman: The PASCAL "
        "Visual Object Classes Challenge. IJCV 2010.\n"
        "L. Bourdev, S. Maji, T. Brox, J. Malik: Detecting People Using Mutually Consistent "
        "Poselet Activations. ECCV 2010 (keypoints).",
        licence="photographs under the terms of Flickr; none stated for the keypoints.",
        homepage="http://host.robots.ox.ac.uk/pascal/VOC",
        instructions="Download VOCtrainval_11-May-2012.tar from the homepage and unpack it; "
        "Berkeley's\nkeypoints of animals lie in a folder annotations/CATEGORY.\n"
        + _command(
            "pascal_animals", "VOCdevkit/VOC2012", "--category=horse --keypoints=annotations"
        ),
    ),
    "cub_birds": Layout(
        find=lambda s: cub_birds.find_photographs(s.images),
        takes=(),
        description="11,788 photographs of birds of 200 species, with masks and 15 parts.",
        citation="C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie: The Caltech-UCSD "
        "Birds-200-2011 Dataset. California Institute of Technology, CNS-TR-2011-001.",
        licence="for research that is not commercial; the photographers keep their rights.",
        homepage="https://www.vision.caltech.edu/datasets/cub_200_2011",
        instructions="Download CUB_200_2011.tgz and segmentations.tgz from the homepage, unpack "
        "the first,\nand the second inside CUB_200_2011.\n" + _command("cub_birds", "CUB_200_2011"),
    ),
    "rendered": Layout(
        find=lambda s: rendered_folder.find_photographs(s.images, mask_label=s.mask_label),
        takes=("mask_label",),
        description="pictures of rigged animals with the truth about them.",
        citation="",
        licence="that of the rigged model.",
        homepage="",
        instructions="python -m pony_jax.data.render_rigged --model=FILE.glb --out=DIR\n"
        + _command("rendered", "DIR"),
    ),
}
