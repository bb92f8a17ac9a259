"""Predictions of a split against the truth about it, which synthetic data carries.

`TruthComparison` collects what it needs of each batch; `scores` then compares everything at once,
since the change of frame between the learned and the true object is one for the whole model. The
protocols are in `viewpoint_error`, `shape_error`, `keypoint_transfer` and `pose_error`.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pony_jax.data.pipeline import Split
from pony_jax.data.synthetic.scene import DISTANCE, FOV_DEG
from pony_jax.data.synthetic_quadruped import ANATOMY_FILE, load_anatomy, load_truth
from pony_jax.evaluation import (
    keypoint_transfer,
    marked_keypoints,
    metrics,
    pose_error,
    shape_error,
    table,
    viewpoint_error,
)
from pony_jax.model import Prediction
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.cameras import transform_points

_LEG_PAIRS = ("fore", "hind")
_WIDTH, _HEIGHT = 3, 4  # in `schema.BOX_FIELDS`


class TruthComparison:
    """Collects the predictions of a split and scores them against its truth.

    Args:
      split: whose batches `add` gets.
      truth: of at least its examples, in any order, as `load_truth` returns it.
      anatomy: of the data set, as `load_anatomy` returns it.
      skeleton: that the predicted bones follow.

    Raises:
      ValueError: where an example of the split has no truth.
    """

    def __init__(
        self,
        split: Split,
        truth: Mapping[str, np.ndarray],
        anatomy: Mapping[str, np.ndarray],
        skeleton: Skeleton,
    ):
        row_of_id = {_text(name): row for row, name in enumerate(truth["id"])}
        missing = [name for name in split.ids if name not in row_of_id]
        if missing:
            raise ValueError(
                f"expected truth about every example, got none about {len(missing)} of "
                f"{len(split)}, the first {missing[0]!r}; load the truth of the same split and "
                "data set"
            )
        ids = zip(split.index, split.ids, strict=True)
        self._row_of_index = {int(index): row_of_id[name] for index, name in ids}
        self._truth, self._anatomy, self._skeleton = truth, anatomy, skeleton
        self._rows: list[int] = []
        self._collected: dict[str, list[np.ndarray]] = {}
        self._faces = np.zeros((0, 3), np.int32)

    def without_predictions(self) -> "TruthComparison":
        """A comparison with the same truth that has seen nothing yet."""
        empty = copy.copy(self)
        empty._rows, empty._collected = [], {}
        return empty

    def add(self, prediction: Prediction, batch: Mapping[str, np.ndarray]) -> None:
        """Takes note of the predictions of a batch of `evaluation_batches`."""
        prior, real = prediction.rig.prior, batch["real"]
        verts, self._faces = (
            prediction.posed_verts[:, : prior.vert_count],
            prior.faces[: prior.face_count],
        )
        verts_ndc, vert_visible = marked_keypoints.project_verts(prediction)
        arrays = {
            "rotation": prediction.rotation,
            "verts": verts,
            "verts_cam": transform_points(prediction.camera.cam_from_world, verts)[..., :3],
            "verts_ndc": verts_ndc,
            "vert_visible": vert_visible,
            "bones": prediction.posed_bones,
        }
        for name, values in arrays.items():
            self._collected.setdefault(name, []).append(np.asarray(values)[real])
        self._rows += [self._row_of_index[int(index)] for index in batch["index"][real]]

    def scores(self) -> dict[str, Any]:
        """All comparisons, each summarised over images with a bootstrap interval.

        Returns:
          `frame_change` (`matrix` and `angle_deg` of `learned_from_true`), `viewpoint`, `shape`,
          `keypoints`, and `pose`, which is None where no bones correspond.
        """
        ours = {name: np.concatenate(values) for name, values in self._collected.items()}
        true = {name: self._truth[name][self._rows] for name in self._truth}
        change = viewpoint_error.find_frame_change(ours["rotation"], true["rotation"])
        angle_deg = viewpoint_error.angle_between_deg(change, np.eye(3))
        viewpoints = viewpoint_error.score_viewpoints(ours["rotation"], true["rotation"], change)
        return {
            "frame_change": {
                "angle_deg": round(float(angle_deg), 3),
                "matrix": np.round(change, 6).tolist(),
            },
            "viewpoint": _summarise(viewpoints),
            "shape": _summarise(self._score_shapes(ours, true, change)),
            "keypoints": self._score_keypoints(ours, true),
            "pose": self._score_poses(ours, true, change),
        }

    def rotation_errors_deg(self) -> Float[np.ndarray, " n"]:
        """Viewpoint error of each image, in the order in which they were added."""
        ours = np.concatenate(self._collected["rotation"])
        true = self._truth["rotation"][self._rows]
        change = viewpoint_error.find_frame_change(ours, true)
        return viewpoint_error.score_viewpoints(ours, true, change)["rotation_error_deg"]

    def _score_shapes(
        self, ours: dict, true: dict, learned_from_true: Float[np.ndarray, "3 3"]
    ) -> dict[str, Float[np.ndarray, " n"]]:
        """Chamfer distance, per cent of the individual's length (along z, at rest), and F-score."""
        rest_z = true["verts_rest"][..., 2].astype(np.float64)
        lengths = rest_z.max(axis=1) - rest_z.min(axis=1)
        rows = []
        for i, length in enumerate(lengths):
            sampled = shape_error.sample_surface(ours["verts"][i], self._faces)
            sampled_cam = shape_error.sample_surface(ours["verts_cam"][i], self._faces)
            true_verts = true["verts_posed"][i].astype(np.float64)
            wanted = shape_error.sample_surface(true_verts, self._true_faces(true, i), seed=1)
            wanted_cam = _to_cam(wanted, true["rotation"][i], true["translation_cam"][i])
            turned = sampled @ learned_from_true
            if len(turned):
                turned = shape_error.align(turned, wanted).apply(turned)
            rows.append(
                shape_error.compare_points(turned, wanted, length)
                + shape_error.compare_points(sampled_cam, wanted_cam, length)
            )
        names = ("aligned_chamfer_percent", "aligned_f_score", "chamfer_percent", "f_score")
        return dict(zip(names, np.array(rows).T, strict=True))

    def _score_keypoints(self, ours: dict, true: dict) -> dict[str, Any]:
        """PCK of the true keypoints, between all images."""
        crops = np.zeros((len(true["box"]), 4))
        crops[:, 2:] = true["box"][:, [_WIDTH, _HEIGHT]]  # keypoints count from the crop's corner
        return keypoint_transfer.score_transfer(
            ours["verts_ndc"],
            ours["vert_visible"],
            true["keypoints_px"].astype(np.float64),
            true["keypoints_visible"] > 0,
            crops,
            _true_boxes(true, crops),
            [_text(name) for name in self._anatomy["keypoint_names"]],
        )

    def _score_poses(
        self, ours: dict, true: dict, learned_from_true: Float[np.ndarray, "3 3"]
    ) -> dict[str, Any] | None:
        predicted = pose_error.predicted_chains(ours["bones"], self._skeleton, learned_from_true)
        if predicted is None:
            return None
        points = self._chain_points(true)
        if points is None:
            return None
        chains = pose_error.true_chains(true["bones_posed"], points)
        return _summarise(pose_error.score_poses(predicted, chains, self._seen_pairs(true)))

    def _true_faces(self, true: dict, row: int) -> Int[np.ndarray, "f 3"]:
        """Of the true mesh in an image; a data set of rendered glTF may have several models."""
        faces = self._anatomy["faces"]
        return faces[true["model"][row]] if faces.ndim == 3 else faces

    def _chain_points(self, true: dict) -> dict[str, np.ndarray] | None:
        """What `pose_error.true_chains` takes; None for skeletons whose joints nobody knows."""
        if "model_names" not in self._anatomy:
            names = [_text(name) for name in self._anatomy["bone_names"]]
            return pose_error.chain_points(names)
        if "chain_points" not in self._anatomy:
            return None
        points = self._anatomy["chain_points"][true["model"]]
        names = [_text(name) for name in self._anatomy["chain_names"]]
        return {name: points[:, i] for i, name in enumerate(names)}

    def _seen_pairs(self, true: dict) -> dict[str, np.ndarray] | None:
        """The images in which both hooves of a pair can be seen; None without such keypoints."""
        names = [_text(name) for name in self._anatomy["keypoint_names"]]
        hooves = {leg: [f"{side}_{leg}_hoof" for side in ("left", "right")] for leg in _LEG_PAIRS}
        if not all(name in names for pair in hooves.values() for name in pair):
            return None
        visible = true["keypoints_visible"] > 0
        return {
            leg: visible[:, [names.index(name) for name in pair]].all(axis=1)
            for leg, pair in hooves.items()
        }


def load_comparison(
    directory: Path, split_name: str, split: Split, skeleton: Skeleton
) -> TruthComparison | None:
    """The comparison for a split of the data set in `directory`; None if that has no truth."""
    if not (directory / ANATOMY_FILE).exists():
        return None
    return TruthComparison(
        split, load_truth(directory, split_name), load_anatomy(directory), skeleton
    )


def format_table(scores: Mapping[str, Any], alone: Mapping[str, Any] | None = None) -> str:
    """The result of `TruthComparison.scores` for a terminal, a line a score.

    Args:
      alone: the same of the networks alone, shown beside.
    """
    angle = scores["frame_change"]["angle_deg"]
    lines = [f"against the truth (learned frame turned by {angle:.1f} degrees)"]
    lines.append(table.header(alone is not None))
    sections, beside = _sections(scores), _sections(alone) if alone else {}
    for name, section in sections.items():
        prefix = "  pck_0.1 " if name == "each keypoint" else ""
        lines += table.format_lines(section, prefix, beside.get(name))
    return "\n".join(lines)


def _sections(scores: Mapping[str, Any]) -> dict[str, table.Section]:
    return {
        **{name: scores[name] or {} for name in ("viewpoint", "shape", "pose")},
        "keypoints": table.keypoint_means(scores["keypoints"]),
        "each keypoint": table.each_keypoint(scores["keypoints"]),
    }


def _summarise(by_image: Mapping[str, Float[np.ndarray, " n"]]) -> dict[str, Any]:
    return {name: metrics.summarise(values) for name, values in by_image.items()}


def _to_cam(points: np.ndarray, rotation: np.ndarray, translation_cam: np.ndarray) -> np.ndarray:
    """Points of the true object frame in camera space."""
    return points @ rotation + translation_cam - np.array([0.0, 0.0, DISTANCE])


def _true_boxes(
    true: Mapping[str, np.ndarray], crops: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n 4"]:
    """Bounding boxes of the true meshes in the image: x0, y0, width, height, pixels."""
    verts = true["verts_posed"].astype(np.float64)
    verts_cam = _to_cam(verts, true["rotation"], true["translation_cam"][:, None])
    tangent = np.tan(np.radians(FOV_DEG) / 2)
    verts_ndc = verts_cam[..., :2] * [1, -1] / (-verts_cam[..., 2:] * tangent)
    verts_px = keypoint_transfer.to_pixels(verts_ndc, crops)
    low, high = verts_px.min(axis=1), verts_px.max(axis=1)
    return np.concatenate([low, high - low], axis=-1)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
