"""Scores of marked keypoints: a model that is right, one that is not, images without any."""

from types import SimpleNamespace

import numpy as np
import pytest

from pony_jax.data.keypoints import StoredKeypoints
from pony_jax.evaluation import marked_keypoints
from pony_jax.evaluation.marked_keypoints import MarkedKeypoints

_IDS = ("a", "b", "c", "d")
_VERTS = np.random.default_rng(0).uniform(-0.8, 0.8, (4, 6, 2))
_SIZE_PX = 50


class _Split(SimpleNamespace):
    """What is read of a split: three of the four examples, in another order."""

    index, ids = np.array([2, 5, 7]), ("c", "a", "d")

    def __len__(self) -> int:
        return len(self.ids)


def _stored(num_marked: int = 4) -> StoredKeypoints:
    """Two keypoints where vertices 1 and 4 are."""
    visible = np.zeros((4, 2), bool)
    visible[:num_marked] = True
    return StoredKeypoints(
        ids=_IDS,
        names=("nose", "tail"),
        px=(_VERTS[:, [1, 4]] + 1) / 2 * _SIZE_PX,
        visible=visible,
        boxes=np.array([[0.0, 0, 40, 30]] * 4),
        image_size=_SIZE_PX,
    )


def _scores(monkeypatch: pytest.MonkeyPatch, stored: StoredKeypoints, shift_px: float = 0) -> dict:
    """Of a model whose vertices are shifted to the right in image a alone."""
    verts = _VERTS.copy()
    verts[0, :, 0] += shift_px * 2 / _SIZE_PX
    seen = np.ones((4, 6), bool)
    monkeypatch.setattr(marked_keypoints, "project_verts", lambda rows: (verts[rows], seen))
    collector = MarkedKeypoints(_Split(), stored)
    batch = {"index": np.array([2, 5, 7, 7]), "real": np.array([True, True, True, False])}
    collector.add(np.array([2, 0, 3, 3]), batch)
    return collector.scores()


def test_a_model_that_is_right_has_a_pck_of_one(monkeypatch) -> None:
    scores = _scores(monkeypatch, _stored())
    assert (scores["num_images"], scores["num_pairs"]) == (3, 10_000)
    for key in ("pck_0.1", "pck_0.05", "pck_0.1_unpadded", "pck_0.05_unpadded"):
        assert scores[key]["mean"]["mean"] == scores[key]["tail"]["mean"] == 1


def test_a_shift_counts_against_the_box_of_the_mask(monkeypatch) -> None:
    """3 pixels of 40 are more than 0.05 and less than 0.1."""
    scores = _scores(monkeypatch, _stored(), shift_px=3)
    assert scores["pck_0.1"]["mean"]["mean"] == 1
    assert scores["pck_0.05"]["mean"]["mean"] < 0.7  # two thirds of the pairs have image a


def test_images_without_keypoints_take_no_part(monkeypatch) -> None:
    assert _scores(monkeypatch, _stored(num_marked=3))["num_images"] == 2
    alone = _scores(monkeypatch, _stored(num_marked=1))
    assert (alone["num_images"], alone["num_pairs"]) == (1, 0)
    assert alone["pck_0.1"]["mean"]["mean"] is None


def test_keypoints_of_another_split_are_refused() -> None:
    stored = _stored()._replace(ids=("a", "b", "c", "x"))
    with pytest.raises(ValueError, match="got none of 1 of 3, the first 'd'; load those"):
        MarkedKeypoints(_Split(), stored)
