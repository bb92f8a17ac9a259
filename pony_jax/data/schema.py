"""What one example of every data set looks like on disk: one animal, one square crop.

A data set is a TFDS data set in ArrayRecord format. Its builder declares `example_features(...)`
and yields dictionaries of that form, images as encoded bytes (`encode_png`, `encode_jpeg`), which
keeps TensorFlow out of writing and reading. `pony_jax.data.pipeline` reads every such data set.

| key         | type and shape  | meaning |
|-------------|-----------------|---|
| `id`        | text            | sequence and frame, the same in every run |
| `image`     | uint8 [S,S,3]   | the crop, RGB, row 0 at the top |
| `mask`      | uint8 [S,S,1]   | 255 = animal, 0 = not |
| `box`       | float32 [8]     | see `BOX_FIELDS`; lengths in pixels of the full photograph |
| `feature`   | uint8 [P,P,16]  | PCA features of the pixels, 0..255 is 0..1; 0 off the animal |
| `patch_key` | float16 [T,T,d] | tokens that tell parts apart (viewpoint, pose, deformation) |
| `patch_out` | float16 [T,T,d] | tokens that tell looks apart (texture, light) |
| `flip/...`  | as above        | the three feature arrays of the mirrored crop |
| `truth/...` | builder's own   | optional, of rendered pictures; training never reads it |
| `keypoints/NAME` | float32 [3] | optional, see below; training never reads it |

A keypoint that people marked is x and y in pixels of the crop as stored, from its top left corner
to the right and down, and 1 if it is visible, else 0. All records of a data set have the same
names.

Frames of sequences have four more keys, all of them in every record of the data set:

| key                   | type and shape  | meaning |
|-----------------------|-----------------|---|
| `sequence/name`       | text            | which sequence |
| `sequence/frame`      | int64           | number of the frame in it; t + 1 follows t |
| `sequence/flow`       | float16 [S,S,2] | optical flow to frame t + 1, see below |
| `sequence/flow_valid` | uint8 [S,S,1]   | 1 = the flow is known; all 0 if no frame follows |

Flow is where what a pixel shows lies in the crop of the next frame, less where it lies in its own
crop, each in units of half a crop (-1..1 from edge to edge); x right, y down. So an animal that a
crop follows about has the flow of its limbs.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image

FEATURE_DIM = 16
"""Channels of the pixel features, the target of the feature loss."""

BOX_FIELDS = ("frame", "x0", "y0", "width", "height", "full_width", "full_height", "sharpness")
"""The eight numbers of `box`: the crop's square in the full photograph (it may reach beyond it).
`sharpness` is 0 where nobody measured it. The original's `*_box.txt` has the same order."""

FEATURE_KEYS = ("feature", "patch_key", "patch_out")
"""Arrays stored a second time under `flip/`, computed from the mirrored crop: the features of a
mirrored image are not the mirrored features."""


def example_features(
    *,
    image_size: int,
    feature_size: int,
    token_grid: int,
    token_dim: int,
    truth: Mapping[str, Any] | None = None,
    has_sequences: bool = False,
    keypoint_names: Sequence[str] = (),
) -> tfds.features.FeaturesDict:
    """The TFDS features of a data set with crops of S = `image_size`, P = `feature_size` pixels,
    T x T = `token_grid`^2 tokens of d = `token_dim`.

    `truth` maps names to `tfds.features` of the builder's own choice; `has_sequences` says that the
    images are frames of sequences; `keypoint_names` are those of marked keypoints, if there are
    any. Raises `ValueError` on a size below 1.
    """
    sizes = {
        "image_size": image_size,
        "feature_size": feature_size,
        "token_grid": token_grid,
        "token_dim": token_dim,
    }
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"expected {name} of at least 1, got {size}; choose a positive size")

    def feature_arrays() -> dict[str, tfds.features.FeatureConnector]:
        tokens = (token_grid, token_grid, token_dim)
        return {
            "feature": tfds.features.Tensor(
                shape=(feature_size, feature_size, FEATURE_DIM),
                dtype=np.uint8,
                encoding=tfds.features.Encoding.ZLIB,
            ),
            "patch_key": tfds.features.Tensor(
                shape=tokens, dtype=np.float16, encoding=tfds.features.Encoding.BYTES
            ),
            "patch_out": tfds.features.Tensor(
                shape=tokens, dtype=np.float16, encoding=tfds.features.Encoding.BYTES
            ),
        }

    features: dict[str, Any] = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(image_size, image_size, 3)),
        "mask": tfds.features.Image(shape=(image_size, image_size, 1), encoding_format="png"),
        "box": tfds.features.Tensor(shape=(len(BOX_FIELDS),), dtype=np.float32),
        **feature_arrays(),
        "flip": feature_arrays(),
    }
    if truth:
        features["truth"] = dict(truth)
    if keypoint_names:
        features["keypoints"] = {
            name: tfds.features.Tensor(shape=(3,), dtype=np.float32) for name in keypoint_names
        }
    if has_sequences:
        features["sequence"] = {
            "name": tfds.features.Text(),
            "frame": tfds.features.Scalar(dtype=np.int64),
            "flow": tfds.features.Tensor(
                shape=(image_size, image_size, 2),
                dtype=np.float16,
                encoding=tfds.features.Encoding.ZLIB,
            ),
            "flow_valid": tfds.features.Tensor(
                shape=(image_size, image_size, 1),
                dtype=np.uint8,
                encoding=tfds.features.Encoding.ZLIB,
            ),
        }
    return tfds.features.FeaturesDict(features)


def encode_png(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """PNG file of an image of 1 (grey) or 3 (RGB) channels."""
    return _encode(pixels, format="PNG", compress_level=3)


def encode_jpeg(pixels: UInt8[np.ndarray, "h w c"], quality: int = 95) -> bytes:
    """JPEG file of an image of 1 (grey) or 3 (RGB) channels, `quality` 1..100."""
    return _encode(pixels, format="JPEG", quality=quality)


def _encode(pixels: np.ndarray, **options: Any) -> bytes:
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3) or pixels.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 pixels of shape [h, w, 1] or [h, w, 3], got {pixels.dtype} of shape "
            f"{list(pixels.shape)}; add the channel axis, scale to 0..255 and convert"
        )
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(buffer, **options)
    return buffer.getvalue()
