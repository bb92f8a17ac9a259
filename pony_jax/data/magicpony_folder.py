"""Folders in the original's layout, so that its published archives can be read.

`root/{train,val,test}/SEQUENCE/NAME_rgb.{png,jpg}` with `NAME_mask.png` and `NAME_box.txt`
beside it: square crops already, whose box says where in the full photograph they lie. Its
`NAME_feat16.png` is not read, since it has no counterpart for the mirrored image: features are
extracted anew. Layout: elliottwu/MagicPony@e4a8b20, its sequence data set.
"""

import os
from pathlib import Path

from pony_jax.data.photographs import Photograph

_SPLITS = {"train": "train", "val": "test", "test": "test"}


def find_photographs(root: str | os.PathLike[str]) -> list[Photograph]:
    """The crops under `root` in order of split, sequence and name.

    Splits `test` and `val` both become `test`, `val` only where there is no `test`. Raises
    `FileNotFoundError` if there is no crop.
    """
    root = Path(root)
    found = []
    for folder, split in _SPLITS.items():
        if folder == "val" and (root / "test").is_dir():
            continue
        for image_path in sorted((root / folder).glob("**/*_rgb.*")):
            name = image_path.name.rsplit("_rgb.", 1)[0]
            found.append(
                Photograph(
                    id="/".join([*image_path.parent.relative_to(root).parts, name]),
                    split=split,
                    image_path=image_path,
                    mask_path=image_path.with_name(f"{name}_mask.png"),
                    box_path=image_path.with_name(f"{name}_box.txt"),
                )
            )
    if not found:
        raise FileNotFoundError(
            f"expected crops named {root}/{{train,val,test}}/SEQUENCE/NAME_rgb.png, found none; "
            "pass the unpacked folder with --images"
        )
    return found
