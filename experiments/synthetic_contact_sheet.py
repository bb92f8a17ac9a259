"""Pictures of the synthetic data set on one sheet: for each species a few test images, below them
what goes with the first species: masks, three channels of the features, tokens, keypoints.

    python experiments/synthetic_contact_sheet.py --out=experiments/results/synthetic_quadruped.jpg
"""

import jax
import numpy as np
from absl import app, flags
from PIL import Image

from pony_jax import path_flags
from pony_jax.data.synthetic.scene import Shot
from pony_jax.data.synthetic_quadruped import SyntheticQuadrupedConfig, make_renderer

_OUT = path_flags.define_path("out", None, "Image file to write.", required=True)
_SPECIES = flags.DEFINE_list("species", ["horse", "zebra", "cow", "giraffe"], "First to last row.")
_COLUMNS = flags.DEFINE_integer("columns", 10, "Images a row.")
_ROWS = flags.DEFINE_integer("rows", 2, "Rows of images of the first species; the others have one.")


def _photographs(species: str) -> Shot:
    sizes = SyntheticQuadrupedConfig(name="sheet", species=species).sizes()
    return jax.tree.map(np.asarray, make_renderer(species, **sizes)("test", 0))


def _row(images: np.ndarray) -> np.ndarray:
    return np.concatenate(list(images), axis=1)


def _enlarged(images: np.ndarray, size: int) -> np.ndarray:
    factor = size // images.shape[1]
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def _principal_colours(tokens: np.ndarray) -> np.ndarray:
    """First three principal components of tokens, as colours."""
    flat = tokens.reshape(-1, tokens.shape[-1])
    centred = flat - flat.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    colours = centred @ axes[:3].T
    return np.clip(0.5 + colours / (5 * colours.std(0)), 0, 1).reshape(*tokens.shape[:3], 3)


def _with_keypoints(shot: Shot) -> np.ndarray:
    """Images with seen keypoints as green dots and hidden ones as red dots."""
    images = 0.6 * shot.image
    places = np.clip(shot.keypoints_px.astype(int), 0, images.shape[1] - 1)
    for image, dots, seen in zip(images, places, shot.keypoints_visible, strict=True):
        for (x, y), visible in zip(dots, seen, strict=True):
            image[y - 1 : y + 1, x - 1 : x + 1] = (0, 1, 0) if visible else (1, 0, 0)
    return images


def main(_: list[str]) -> None:
    shots = [_photographs(species) for species in _SPECIES.value]
    columns, size = _COLUMNS.value, shots[0].image.shape[1]
    first = jax.tree.map(lambda array: array[:columns], shots[0])
    rows = [shots[0].image[i * columns : (i + 1) * columns] for i in range(_ROWS.value)]
    rows += [shot.image[:columns] for shot in shots[1:]]
    rows += [
        first.mask.repeat(3, axis=-1).astype(np.float32),
        _enlarged(first.descriptors.feature[..., :3], size),
        _enlarged(_principal_colours(first.descriptors.patch_key), size),
        _with_keypoints(first),
    ]
    sheet = np.concatenate([_row(images) for images in rows])
    Image.fromarray(np.round(255 * sheet).astype(np.uint8)).save(_OUT.value, quality=85)


if __name__ == "__main__":
    app.run(main)
