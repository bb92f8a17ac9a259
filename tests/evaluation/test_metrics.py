"""Metrics on cases whose answer is known."""

import numpy as np
import pytest

from pony_jax.evaluation import metrics


def _mask(*rows: str) -> np.ndarray:
    return np.array([[float(c == "#") for c in row] for row in rows], np.float32)[None, ..., None]


def test_mask_iou_counts_pixels() -> None:
    true = _mask("##..", "##..")
    assert metrics.mask_iou(true, true) == [1.0]
    assert metrics.mask_iou(_mask(".##.", ".##."), true) == [pytest.approx(2 / 6)]
    assert metrics.mask_iou(_mask("..##", "..##"), true) == [0.0]


def test_mask_iou_thresholds_coverage_at_a_half() -> None:
    true = _mask("##")
    rendered = np.array([[0.51, 0.5]], np.float32)[None, ..., None]
    assert metrics.mask_iou(rendered, true) == [0.5]


def test_mask_iou_of_two_empty_masks_is_one() -> None:
    assert metrics.mask_iou(_mask("..."), _mask("...")) == [1.0]
    assert metrics.mask_iou(_mask("..."), _mask("#..")) == [0.0]


def test_psnr_of_a_constant_error() -> None:
    target = np.full((2, 2, 2, 3), 0.4, np.float32)
    image = target + np.array([0.1, 0.01], np.float32)[:, None, None, None]
    everywhere = np.ones((2, 2, 2, 1), np.float32)
    np.testing.assert_allclose(metrics.psnr_db(image, target, everywhere), [20, 40], atol=1e-3)


def test_psnr_looks_at_its_region_only() -> None:
    target = np.zeros((1, 1, 2, 3), np.float32)
    image = np.array([[[[0.1] * 3, [1.0] * 3]]], np.float32)
    region = _mask("#.")
    assert metrics.psnr_db(image, target, region) == pytest.approx(20, abs=1e-3)
    assert metrics.psnr_db(target, target, region) == pytest.approx(100)


def test_an_empty_region_has_no_error() -> None:
    error = np.ones((1, 1, 2, 3), np.float32)
    assert np.isnan(metrics.region_mean(error, _mask(".."))).all()
    assert np.isnan(metrics.psnr_db(error, error, _mask(".."))).all()


def test_region_mean_is_over_pixels_and_channels() -> None:
    error = np.array([[[[1.0, 3.0], [100.0, 100.0]]]], np.float32)
    assert metrics.region_mean(error, _mask("#.")) == [2.0]


def test_summary_leaves_out_what_is_undefined() -> None:
    summary = metrics.summarise(np.array([1.0, 2.0, 3.0, np.nan]))
    assert summary["mean"] == 2.0
    assert summary["median"] == 2.0
    assert (summary["q25"], summary["q75"]) == (1.5, 2.5)
    assert metrics.summarise(np.array([np.nan]))["mean"] is None


def test_bootstrap_interval_covers_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    summary = metrics.summarise(values)
    half_width = (summary["mean_high95"] - summary["mean_low95"]) / 2
    assert half_width == pytest.approx(1.96 * 2.0 / np.sqrt(400), rel=0.15)
    assert summary["mean_low95"] < summary["mean"] < summary["mean_high95"]
    assert metrics.summarise(values) == summary  # the same in every run
