"""Keypoint transfer against the original's numbers, and on hand-made cases."""

import json

import numpy as np
import pytest

from pony_jax.evaluation import keypoint_transfer as kt


@pytest.fixture
def case(golden) -> dict[str, np.ndarray]:
    return golden("model_08_keypoints")


def test_equals_original(case, equals_original) -> None:
    names = json.loads(str(case["in/names"]))
    pairs = kt.draw_pairs(len(names), num_pairs=40)
    equals_original("pairs", pairs, case["pairs"], 0)

    clip = np.einsum("iab,ivb->iva", case["in/mvp"], _homogeneous(case["in/posed_verts"]))
    verts_ndc = clip[..., :2] / clip[..., 3:]
    equals_original("uv", verts_ndc, case["uv"], 1e-6)
    keypoints_ndc = kt.to_ndc(case["in/kp"], case["in/crop_box"])
    equals_original("source keypoints", keypoints_ndc[pairs[:, 0]], case["source_kp_ndc"], 1e-12)

    carriers = kt.nearest_verts(case["uv"], case["in/vert_visible"] > 0, keypoints_ndc)
    equals_original("vertices", carriers[pairs[:, 0]], case["vert_idx"], 0)
    moved = case["uv"][pairs[:, 1, None], carriers[pairs[:, 0]]].astype(np.float64)
    moved_px = kt.to_pixels(moved, case["in/crop_box"][pairs[:, 1]])
    equals_original("transferred", moved_px, case["target_kp_px"], 1e-12)

    visible = case["in/kp_visible"] > 0
    counts = visible[pairs[:, 0]] & visible[pairs[:, 1]]
    equals_original("visible", counts, case["visible"], 0)
    for pad in (0.0, 0.05):
        errors = kt.transfer_errors(
            case["uv"].astype(np.float64),
            carriers,
            case["in/kp"],
            case["in/crop_box"],
            case["in/gt_box"],
            pairs,
            pad,
        )
        equals_original(f"errors, pad {pad}", errors, case[f"pad{pad}/errors"], 1e-12)
        for threshold in (0.05, 0.1, 0.2):
            mean = kt.pck(errors, counts, threshold).mean()
            equals_original("pck", mean, case[f"pad{pad}/pck@{threshold}"], 1e-12)


def _homogeneous(verts: np.ndarray) -> np.ndarray:
    return np.concatenate([verts, np.ones_like(verts[..., :1])], axis=-1)


def test_a_hidden_keypoint_has_no_pck(case) -> None:
    errors, counts = np.zeros((3, 2)), np.array([[True, False]] * 3)
    values = kt.pck(errors, counts)
    assert values[0] == 1
    # The original's mean is NaN then; the summary leaves the keypoint out.
    assert str(values.mean()) == json.loads(str(case["never_visible/pck"]))
    table = kt.summarise_pck(errors, counts, kt.draw_pairs(2, 3), ["seen", "hidden"])
    assert table["mean"]["mean"] == table["seen"]["mean"] == 1
    assert table["hidden"]["mean"] is None


def test_only_visible_vertices_carry_and_the_first_of_equals_does() -> None:
    verts = np.array([[[0.0, 0.0], [0.3, 0.0], [0.0, 0.3], [0.9, 0.9]]])
    visible = np.array([[False, True, True, True]])
    assert kt.nearest_verts(verts, visible, np.zeros((1, 1, 2))).tolist() == [[1]]
    assert kt.nearest_verts(verts, np.zeros((1, 4), bool), np.zeros((1, 1, 2))).tolist() == [[0]]


def test_errors_are_shares_of_the_targets_longer_side() -> None:
    # Two images of 100 px; the vertex is 5 px right of the keypoint in the second one.
    verts_ndc = np.array([[[0.0, 0.0]], [[0.1, 0.0]]])
    keypoints_px = np.full((2, 1, 2), 50.0)
    crops, boxes = np.array([[0.0, 0, 100, 100]] * 2), np.array([[0.0, 0, 10, 10], [0, 0, 20, 50]])
    pairs = np.array([[0, 1], [1, 0]])
    carriers = np.zeros((2, 1), int)
    arguments = (verts_ndc, carriers, keypoints_px, crops, boxes, pairs)
    assert kt.transfer_errors(*arguments, 0.0).tolist() == [[pytest.approx(0.1)], [0]]
    assert kt.transfer_errors(*arguments, 0.5).tolist() == [[pytest.approx(0.05)], [0]]


def test_the_interval_is_over_images() -> None:
    # One bad image of four spoils half of the pairs; pairs as such are many.
    pairs = np.array([[a, b] for a in range(4) for b in range(4) if a != b] * 100)
    errors = np.where((pairs == 0).any(axis=1), 1.0, 0.0)[:, None]
    row = kt.summarise_pck(errors, np.ones_like(errors, bool), pairs, ["nose"])["nose"]
    assert row["mean"] == 0.5
    assert row["mean_low95"] == 0
    assert row["mean_high95"] == 1


def test_one_image_has_no_pairs() -> None:
    pairs = kt.draw_pairs(1)
    table = kt.summarise_pck(np.zeros((0, 2)), np.zeros((0, 2), bool), pairs, ["a", "b"])
    assert [row["mean"] for row in table.values()] == [None] * 3
