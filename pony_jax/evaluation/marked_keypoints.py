"""Keypoints that people marked in photographs, against where a model carries them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from pony_jax.data.keypoints import StoredKeypoints
from pony_jax.data.pipeline import Split
from pony_jax.evaluation import keypoint_transfer
from pony_jax.model import Prediction
from pony_jax.model.render import seen_verts
from pony_jax.ops.cameras import transform_points

_seen_verts = jax.jit(seen_verts, static_argnames="image_size")


def project_verts(
    prediction: Prediction,
) -> tuple[Float[np.ndarray, "b v 2"], Bool[np.ndarray, "b v"]]:
    """Where the vertices of the mesh lie in each image of a batch (-1..1), and which are seen."""
    prior = prediction.rig.prior
    verts = prediction.posed_verts[:, : prior.vert_count]
    clip = np.asarray(transform_points(prediction.camera.clip_from_world, verts))
    size_px = keypoint_transfer.VISIBILITY_SIZE_PX
    visible = _seen_verts(clip, prior.faces[: prior.face_count], image_size=size_px)
    return clip[..., :2] / clip[..., 3:], np.asarray(visible)


class MarkedKeypoints:
    """Collects the predictions of a split and scores them against its marked keypoints.

    The protocol is that of `keypoint_transfer`, among the images in which any keypoint is visible.
    The box of an animal is that of its mask in the crop, at the size at which it is stored.

    Args:
      split: whose batches `add` gets.
      stored: of the same split, as `load_keypoints` returns them.

    Raises:
      ValueError: where an example of the split is not among the stored ones.
    """

    def __init__(self, split: Split, stored: StoredKeypoints):
        row_of_id = {name: row for row, name in enumerate(stored.ids)}
        missing = [name for name in split.ids if name not in row_of_id]
        if missing:
            raise ValueError(
                f"expected keypoints of every example, got none of {len(missing)} of "
                f"{len(split)}, the first {missing[0]!r}; load those of the same split and data set"
            )
        ids = zip(split.index, split.ids, strict=True)
        self._row_of_index = {int(index): row_of_id[name] for index, name in ids}
        self._stored = stored
        self._rows: list[int] = []
        self._verts_ndc: list[np.ndarray] = []
        self._vert_visible: list[np.ndarray] = []

    def add(self, prediction: Prediction, batch: Mapping[str, np.ndarray]) -> None:
        """Takes note of the predictions of a batch of `evaluation_batches`."""
        rows = [self._row_of_index[int(index)] for index in batch["index"]]
        chosen = batch["real"] & self._stored.visible[rows].any(axis=1)
        verts_ndc, vert_visible = project_verts(prediction)
        self._verts_ndc.append(verts_ndc[chosen])
        self._vert_visible.append(vert_visible[chosen])
        self._rows += np.array(rows)[chosen].tolist()

    def scores(self) -> dict[str, Any]:
        """`num_images` that have keypoints, and what `keypoint_transfer.score_transfer` says."""
        stored, rows = self._stored, self._rows
        crops = np.tile([0.0, 0.0, stored.image_size, stored.image_size], (len(rows), 1))
        return {
            "num_images": len(rows),
            **keypoint_transfer.score_transfer(
                np.concatenate(self._verts_ndc),
                np.concatenate(self._vert_visible),
                stored.px[rows],
                stored.visible[rows],
                crops,
                stored.boxes[rows],
                list(stored.names),
            ),
        }
