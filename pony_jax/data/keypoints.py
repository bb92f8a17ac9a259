"""Keypoints that people have marked in photographs: what they are, mirrored, and read again.

They serve to score models (`pony_jax.evaluation.marked_keypoints`); training never reads them.
"""

import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float, Int
from PIL import Image

from pony_jax.data.file_contents import printable
from pony_jax.errors import UserError

_SIDE_WORDS = {"left": "right", "l": "r"}
_SWAPPED = _SIDE_WORDS | {other: one for one, other in _SIDE_WORDS.items()}
_SIDE = re.compile(
    r"(?<![A-Za-z])(?:left|right|Left|Right|LEFT|RIGHT)(?![a-z])"  # left_ear, leftEar
    r"|(?<=[a-z0-9])(?:Left|Right)(?![a-z])"  # frontLeft
    r"|(?<![A-Za-z])[lrLR](?![A-Za-z])"  # l_ear, ear-L
)


class Keypoints(NamedTuple):
    """The keypoints of one animal, as they are marked in a photograph.

    Attributes:
      names: of the keypoints; each once.
      px: x to the right and y down from the photograph's top left corner, pixels; of a keypoint
        that is not visible they say nothing.
      visible: whether each can be seen.
    """

    names: tuple[str, ...]
    px: tuple[tuple[float, float], ...]
    visible: tuple[bool, ...]


class KeypointsError(UserError, ValueError):
    """Keypoints that cannot be used."""


class StoredKeypoints(NamedTuple):
    """The keypoints of n images of a data set, k for each, in crops of `image_size` pixels.

    Attributes:
      ids: of the images, in the order of the data set.
      names: of the keypoints, in alphabetical order.
      px: in the crop as it is stored.
      boxes: bounding boxes of the masks in the crops: x0, y0, width, height, pixels.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    px: Float[np.ndarray, "n k 2"]
    visible: Bool[np.ndarray, "n k"]
    boxes: Float[np.ndarray, "n 4"]
    image_size: int

    def mirrored(self) -> "StoredKeypoints":
        """Those of the mirrored crops, in which what was a left ear is a right one."""
        source = mirror_order(self.names)
        px = self.px[:, source] * [-1, 1] + [self.image_size, 0]
        boxes = self.boxes.copy()
        boxes[:, 0] = self.image_size - self.boxes[:, 0] - self.boxes[:, 2]
        visible = self.visible[:, source] & (source >= 0)
        return self._replace(px=px, visible=visible, boxes=boxes)


def mirrored_name(name: str) -> str:
    """The name with left and right exchanged: `left_ear`, `LeftEar`, `L_EarBase`, `ear-l`."""
    return _SIDE.sub(lambda match: _exchange(match[0]), name)


def _exchange(word: str) -> str:
    other = _SWAPPED[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def mirror_order(names: Sequence[str]) -> Int[np.ndarray, " k"]:
    """For each keypoint of a mirrored image, which of the image it is; -1 for none.

    A keypoint without a side is itself; one whose other side has no name is none.
    """
    position = {name: i for i, name in enumerate(names)}
    return np.array([position.get(mirrored_name(name), -1) for name in names], int)


def keypoint_names(marked: Iterable[Keypoints | None]) -> tuple[str, ...]:
    """All names in alphabetical order; empty where nobody marked anything.

    Raises `KeypointsError` for names that a data set cannot hold.
    """
    names = sorted({name for each in marked if each is not None for name in each.names})
    for name in names:
        if not name or "/" in name:
            raise KeypointsError(
                f"expected names of keypoints without '/', got {printable(name)!r}; rename it"
            )
    return tuple(names)


def in_crop(
    marked: Keypoints | None,
    names: Sequence[str],
    box: Float[np.ndarray, " 8"],
    image_size: int,
) -> dict[str, Float[np.ndarray, " 3"]]:
    """The `keypoints` of an example (`schema`): x, y in the crop, and 1 where visible.

    Keypoints that nobody marked are not visible.

    Args:
      box: of the crop, `schema.BOX_FIELDS`.
      image_size: S, the side at which the crop is stored.
    """
    arrays = {name: np.zeros(3, np.float32) for name in names}
    x0, y0, width, height = box[1:5]
    for name, (x, y), visible in zip(*marked, strict=True) if marked else ():
        if visible:
            in_crop_px = (x - x0) / width * image_size, (y - y0) / height * image_size
            arrays[name] = np.array([*in_crop_px, 1], np.float32)
    return arrays


def load_keypoints(directory: str | os.PathLike[str], split: str) -> StoredKeypoints | None:
    """The keypoints of a split of the data set in `directory`; None if it has none."""
    builder = tfds.builder_from_directory(directory)
    if "keypoints" not in builder.info.features:
        return None
    as_bytes = {key: tfds.decode.SkipDecoding() for key in ("image", "mask")}
    ids, rows, boxes = [], [], []
    names = tuple(sorted(builder.info.features["keypoints"]))
    for example in builder.as_data_source(split, decoders=as_bytes):
        ids.append(example["id"].decode())
        rows.append([example["keypoints"][name] for name in names])
        left, top, right, bottom = Image.open(io.BytesIO(example["mask"])).getbbox()
        boxes.append([left, top, right - left, bottom - top])
    values = np.array(rows, np.float64)
    return StoredKeypoints(
        ids=tuple(ids),
        names=names,
        px=values[..., :2],
        visible=values[..., 2] > 0,
        boxes=np.array(boxes, np.float64),
        image_size=builder.info.features["image"].shape[0],
    )
