"""The comparison with the truth: a model that knows it all, and one that faces backwards."""

import functools
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.data.synthetic.anatomy import BONE_NAMES
from pony_jax.data.synthetic.scene import Viewpoint, camera_of, project_px
from pony_jax.data.synthetic.template import KEYPOINT_NAMES, load_template
from pony_jax.evaluation import pose_error
from pony_jax.evaluation.truth import TruthComparison, format_table, load_comparison
from pony_jax.model import Prediction, Rig
from pony_jax.model.render import seen_verts
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.cameras import transform_points
from pony_jax.ops.mesh import Mesh

_NUM_IMAGES, _SIZE_PX = 4, 128
_PADDING = 3
_HALF_TURN = np.diag([-1.0, 1.0, -1.0]).astype(np.float32)


@functools.cache
def _viewpoint() -> Viewpoint:
    azimuth = np.radians([10.0, 80.0, 200.0, 300.0])
    zero, one = np.zeros(_NUM_IMAGES), np.ones(_NUM_IMAGES)
    right = np.stack([np.cos(azimuth), zero, -np.sin(azimuth)], -1)
    forward = np.stack([np.sin(azimuth), zero, np.cos(azimuth)], -1)
    rotation = np.stack([right, np.stack([zero, one, zero], -1), forward], 1).astype(np.float32)
    shift = np.array([[0.1, 0.0, 0.5]] * _NUM_IMAGES, np.float32)
    return Viewpoint(np.degrees(azimuth), zero, rotation, shift)


@functools.cache
def _truth() -> dict[str, np.ndarray]:
    template, viewpoint = load_template("horse"), _viewpoint()
    verts = np.repeat(template.verts[None], _NUM_IMAGES, axis=0)
    clip_from_world = camera_of(viewpoint).clip_from_world
    keypoints = verts[:, template.keypoints]
    clip = transform_points(clip_from_world, verts)
    seen = seen_verts(clip, jnp.asarray(template.faces), image_size=256)
    return {
        "id": np.array([f"horse_{i}".encode() for i in range(_NUM_IMAGES)]),
        "box": np.array([[0, 64, 64, 128, 128, 256, 256, 0]] * _NUM_IMAGES, np.float32),
        "rotation": viewpoint.rotation,
        "translation_cam": viewpoint.translation_cam,
        "verts_rest": verts.astype(np.float16),
        "verts_posed": verts.astype(np.float16),
        "bones_posed": np.repeat(template.segments[None], _NUM_IMAGES, axis=0),
        "keypoints_px": np.asarray(project_px(clip_from_world, keypoints, _SIZE_PX)),
        "keypoints_visible": np.asarray(seen)[:, template.keypoints].astype(np.uint8),
    }


def _anatomy() -> dict[str, np.ndarray]:
    return {
        "faces": load_template("horse").faces,
        "bone_names": np.array(BONE_NAMES),
        "keypoint_names": np.array(KEYPOINT_NAMES),
    }


class _Split(SimpleNamespace):
    """What the comparison reads of a split: three examples that lie elsewhere in the truth."""

    index = np.array([5, 7, 9])
    ids = ("horse_2", "horse_0", "horse_3")

    def __len__(self) -> int:
        return len(self.ids)


def _compare(
    turn: np.ndarray,
    verts: np.ndarray | None = None,
    truth: dict | None = None,
    anatomy: dict | None = None,
) -> dict:
    """Scores of a model that knows the truth, but whose object frame is turned."""
    rows = np.array([2, 0, 3, 3])  # the last one fills the batch up
    template, viewpoint = load_template("horse"), _viewpoint()
    rotation = turn @ viewpoint.rotation[rows]
    verts = template.verts if verts is None else verts
    padded = np.concatenate([verts @ turn.T, np.zeros((_PADDING, 3), np.float32)])
    faces = np.concatenate([template.faces, np.full((_PADDING, 3), -1, np.int32)])
    prior = Mesh(padded, faces, np.int32(len(verts)), np.int32(len(template.faces)))
    camera = camera_of(
        viewpoint._replace(rotation=rotation, translation_cam=viewpoint.translation_cam[rows])
    )
    bones = np.random.default_rng(0).normal(size=(4, 20, 2, 3))
    prediction = Prediction(**dict.fromkeys(Prediction._fields))._replace(
        posed_verts=np.repeat(padded[None], 4, axis=0),
        posed_bones=bones,
        camera=camera,
        rotation=rotation,
        rig=Rig(**dict.fromkeys(Rig._fields))._replace(prior=prior),
    )
    truth, anatomy = truth or _truth(), anatomy or _anatomy()
    comparison = TruthComparison(_Split(), truth, anatomy, Skeleton())
    real = np.array([True, True, True, False])
    comparison.add(prediction, {"real": real, "index": np.array([5, 7, 9, 9])})
    return comparison.scores()


@functools.cache
def _exact() -> dict:
    """Scores of a model that knows the truth."""
    return _compare(np.eye(3, dtype=np.float32))


def _of_two_models() -> tuple[dict, dict]:
    """The same truth as a data set of rendered glTF states it; the second model has fewer faces."""
    template, truth = load_template("horse"), dict(_truth())
    truth["model"] = np.array([0, 1, 0, 1])
    points = pose_error.chain_points(list(BONE_NAMES))
    longest = 1 + max(map(len, points.values()))
    rows = np.stack([np.append(p, [p[-1]] * (longest - len(p))) for p in points.values()])
    faces = np.stack([template.faces] * 2)
    faces[1, -5:] = 0  # as `shared_arrays` fills up
    anatomy = _anatomy() | {
        "model_names": np.array(["one", "two"]),
        "faces": faces,
        "bone_names": np.array([BONE_NAMES] * 2),
        "chain_names": np.array(list(points)),
        "chain_points": np.stack([rows, rows]),
    }
    return truth, anatomy


def test_rendered_models_are_scored_like_synthetic_animals() -> None:
    truth, anatomy = _of_two_models()
    turn = np.eye(3, dtype=np.float32)
    expected, found = _exact(), _compare(turn, truth=truth, anatomy=anatomy)
    assert found["pose"] == expected["pose"]
    assert "share_seen_leg_pairs_swapped" in found["pose"]
    assert found["keypoints"] == expected["keypoints"]
    assert found["viewpoint"] == expected["viewpoint"]
    assert found["shape"]["aligned_chamfer_percent"]["mean"] < 0.9
    # Which bones are which is unknown for rigs without a table: then no pose is scored.
    for name in ("chain_names", "chain_points"):
        anatomy.pop(name)
    assert TruthComparison(_Split(), truth, anatomy, Skeleton())._chain_points(truth) is None


@pytest.mark.parametrize(
    ("turn", "angle_deg"), [(np.eye(3, dtype=np.float32), 0), (_HALF_TURN, 180)]
)
def test_who_knows_the_truth_scores_best(turn: np.ndarray, angle_deg: float) -> None:
    scores = _compare(turn) if angle_deg else _exact()
    assert scores["frame_change"]["angle_deg"] == pytest.approx(angle_deg, abs=0.1)
    assert scores["viewpoint"]["rotation_error_deg"]["mean"] < 0.1
    assert scores["viewpoint"]["share_head_tail_confused"]["mean"] == 0
    # What is left is the spacing of the points.
    for name in ("chamfer_percent", "aligned_chamfer_percent"):
        assert scores["shape"][name]["mean"] < 0.9
    assert scores["shape"]["f_score"]["mean"] > 0.98
    assert scores["keypoints"]["pck_0.1"]["mean"]["mean"] == 1
    assert scores["keypoints"]["pck_0.1"]["nose"]["mean"] == 1
    assert scores["pose"]["legs_raw_error_deg"]["mean"] > 10  # bones at random


def test_size_is_aligned_away_but_seen_by_the_camera() -> None:
    scores = _compare(np.eye(3, dtype=np.float32), 0.9 * load_template("horse").verts)
    assert scores["shape"]["aligned_chamfer_percent"]["mean"] < 0.9
    assert scores["shape"]["chamfer_percent"]["mean"] > 1.2


def test_the_table_names_every_score() -> None:
    scores = _exact()
    table = format_table(scores)
    assert "rotation_error_deg" in table
    assert "pck_0.1 left_hock" in table
    assert max(map(len, table.splitlines())) <= 100
    beside = format_table(scores, scores)
    assert len(beside.splitlines()) == len(table.splitlines())
    assert max(map(len, beside.splitlines())) <= 100
    assert "legs_error_deg" not in format_table(scores | {"pose": None})


def test_an_example_without_truth_is_named() -> None:
    truth = {key: values[:2] for key, values in _truth().items()}
    with pytest.raises(ValueError, match="none about 2 of 3, the first 'horse_2'"):
        TruthComparison(_Split(), truth, _anatomy(), Skeleton())


def test_photographs_have_no_truth(tmp_path: Path) -> None:
    assert load_comparison(tmp_path, "test", _Split(), Skeleton()) is None


def test_seen_vertices_are_those_of_faces_that_face_no_other() -> None:
    # A square in front of a larger one, which peeps out on the right only; padding stays unseen.
    near = [[-0.5, -0.9, 0, 1], [0.5, -0.9, 0, 1], [0.5, 0.9, 0, 1], [-0.5, 0.9, 0, 1]]
    far = [[-0.4, -0.8, 0.5, 1], [0.4, -0.8, 0.5, 1], [0.4, 0.8, 0.5, 1], [0.9, 0.0, 0.5, 1]]
    clip = jnp.array([near + far + [[0, 0, 0, 1]]], jnp.float32)
    faces = jnp.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [5, 7, 6], [-1, -1, -1]], jnp.int32)
    seen = np.asarray(seen_verts(clip, faces, image_size=64))
    assert seen[0].tolist() == [True] * 4 + [False, True, True, True, False]
