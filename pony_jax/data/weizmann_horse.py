"""The Weizmann horse database: 328 photographs of horses seen from the side, with masks.

E. Borenstein and S. Ullman, Combining top-down and bottom-up segmentation, CVPR-W 2004. The folder
holds `rgb/horseNNN.jpg` and `figure_ground/horseNNN.jpg`; masks differ from photographs in size.
Every tenth photograph, from the first on, is for testing: 33 of them, and 295 for training.
"""

import os
from pathlib import Path

from pony_jax.data import photographs
from pony_jax.data.mask_files import MaskLabel
from pony_jax.data.picture_pairs import MissingPhotographsError

DOWNLOAD = "https://www.kaggle.com/datasets/ztaihong/weizmann-horse-database"
"""Where the database can be had, as weizmann_horse_db (its first home, msri.org, is gone)."""


def find_photographs(
    root: str | os.PathLike[str], *, mask_label: MaskLabel | None = None
) -> photographs.FoundPhotographs:
    """The photographs under `root`; `mask_label`: see `mask_files.RULE`.

    Raises `MissingPhotographsError` that says where to get them.
    """
    folders = (Path(root) / "rgb", Path(root) / "figure_ground")
    if not all(folder.is_dir() for folder in folders):
        raise MissingPhotographsError(
            f"expected the Weizmann horses in {folders[0]} and {folders[1]}, found no such "
            f"folders; download them from {DOWNLOAD} and pass the folder with --images"
        )
    return photographs.find_pairs(*folders, test_every=10, mask_label=mask_label)
