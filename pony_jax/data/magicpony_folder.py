"""Folders in the original's layout, so that its published archives can be read.

`root/{train,val,test}/SEQUENCE/NAME_rgb.{png,jpg}` with `NAME_mask.png` and `NAME_box.txt`
beside it: square crops already, whose box says where in the full photograph they lie. Its
`NAME_feat16.png` is not read, since it has no counterpart for the mirrored image: features are
extracted anew. Layout: elliottwu/MagicPony@e4a8b20, its sequence data set.
"""

import os
from pathlib import Path

from pony_jax.data import picture_pairs
from pony_jax.data.file_contents import printable
from pony_jax.data.mask_files import MaskLabel
from pony_jax.data.photographs import FoundPhotographs, Photograph
from pony_jax.data.picture_files import BadPhotographError

_SPLITS = {"train": "train", "val": "test", "test": "test"}


def find_photographs(
    root: str | os.PathLike[str], *, mask_label: MaskLabel | None = None
) -> FoundPhotographs:
    """The crops under `root` in order of split, sequence and name.

    Splits `test` and `val` both become `test`, `val` only where there is no `test`. A picture
    without mask, or the other way round, is logged and returned as an error. `mask_label`: see
    `mask_files.RULE`. Raises `MissingPhotographsError` if there is no crop.
    """
    root = Path(root)
    found: list[Photograph] = []
    errors: list[BadPhotographError] = []
    for folder, split in _SPLITS.items():
        if not (root / folder).is_dir():
            continue
        if folder == "val" and (root / "test").is_dir():
            errors.append(
                BadPhotographError(f"{printable(root / folder)}: not read, since there is a test")
            )
            continue
        files = picture_pairs.find_picture_files(root / folder)
        pictures = _with_role(files.pictures, "_rgb")
        pairs = picture_pairs.match_by_name(pictures, _with_role(files.pictures, "_mask"))
        others = [path for path in files.others if path.stem.lower().endswith("_rgb")]
        errors += [*files.errors, *map(picture_pairs.no_picture, others), *pairs.errors]
        for name, (image_path, mask_path) in pairs.by_name.items():
            box_path = image_path.with_name(f"{image_path.stem[: -len('_rgb')]}_box.txt")
            found.append(
                Photograph(f"{folder}/{name}", split, image_path, mask_path, box_path, mask_label)
            )
    if not found:
        raise picture_pairs.MissingPhotographsError(
            f"expected crops named {printable(root)}/{{train,val,test}}/SEQUENCE/NAME_rgb.png with "
            f"NAME_mask.png, found none{f' ({errors[0]})' if errors else ''}; "
            "pass the unpacked folder with --images"
        )
    return FoundPhotographs(found, errors)


def _with_role(pictures: dict[str, list[Path]], role: str) -> dict[str, list[Path]]:
    """The pictures whose names end in `role`, by what is before it."""
    return {
        name[: -len(role)]: paths for name, paths in pictures.items() if name.lower().endswith(role)
    }
