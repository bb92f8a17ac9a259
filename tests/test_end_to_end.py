"""The whole way: data is made, training is killed, goes on, ends where it would have, is scored."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pony_jax.training.restored import restore_run

_ROOT = Path(__file__).parents[1]
_NUM_STEPS = 8


def _start(module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"pony_jax.{module}", *arguments],
        cwd=_ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out, err


@pytest.mark.slow
def test_train_kill_resume_evaluate(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    # Both runs share their data and their compiled programs.
    shared = (
        "--config=configs/horse.py:test",
        f"--config.data.data_dir={tmp_path / 'data'}",
        f"--config.compilation_cache_dir={tmp_path / 'cache'}",
    )

    process = _start("train", f"--workdir={killed}", *shared)
    while not (killed / "checkpoints" / "6").exists() and process.poll() is None:
        time.sleep(0.1)  # the next stage compiles for seconds now, so the kill comes in time
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err

    _, err = _finish(_start("train", f"--workdir={killed}", *shared))
    assert "goes on with step 6" in err
    _finish(_start("train", f"--workdir={whole}", *shared))
    _assert_same_parameters(killed, whole)
    _check_logs(killed)

    scores_file = tmp_path / "scores.json"
    out, _ = _finish(_start("evaluate", f"--workdir={killed}", f"--json={scores_file}"))
    scores = json.loads(out)
    assert scores == json.loads(scores_file.read_text())
    assert (scores["num_updates"], scores["num_images"]) == (_NUM_STEPS, 4)
    assert 0 < scores["mask_iou"]["mean"] < 1
    assert 0 < scores["truth"]["viewpoint"]["rotation_error_deg"]["median"] <= 180
    assert 0 < scores["mirror_consistency"]["mask_iou"]["mean"] <= 1
    alone = scores["networks_alone"]
    assert 0 < alone["mask_iou"]["mean"] < 1
    assert alone["truth"]["keypoints"].keys() == scores["truth"]["keypoints"].keys()
    page = (killed / "evaluation_test.html").read_text()
    assert f"{scores['mask_iou']['mean']:.3f}" in page and "PCK@0.1" in page
    # The scores at the end of training are those of the saved state.
    summary = json.loads((killed / "summary.json").read_text())
    assert summary["scores"]["mask_iou"] == scores["mask_iou"]
    for name in ("panel.png", "panel_test.png"):
        assert Image.open(killed / name).size[0] == 1280


@pytest.mark.slow
def test_train_on_clips_with_flow(tmp_path: Path) -> None:
    shared = (
        "--config=configs/horse.py:test",
        f"--config.data.data_dir={tmp_path / 'data'}",
        f"--config.compilation_cache_dir={tmp_path / 'cache'}",
        "--config.data.name=synthetic_quadruped/horse_sequences_tiny",
        "--config.data.batch_size=4",
        "--config.loss.flow=10.0",
        "--config.num_steps=4",
        "--config.model.refine_steps=0",
        # One stage, to compile but one program; the best hypotheses, which frames may share.
        *(
            f"--config.schedule.{name}={share}"
            for name, share in [
                ("articulation_from", 0.0),
                ("attach_legs_from", 0.0),
                ("deformation_from", 0.0),
                ("fine_grid_from", 1.0),
                ("best_from", 0.0),
                ("best_full", 0.0),
            ]
        ),
        "--config.log.every_steps=1",
    )
    workdir = tmp_path / "clips"
    # Nothing here depends on how fast the programs are; the test above has them as users do.
    cheap = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    _finish(
        _start("train", f"--workdir={workdir}", *shared, "--config.data.clip_frames=2", **cheap)
    )
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    flow = [record["flow"] for record in records if record["kind"] == "train"]
    assert np.all(np.isfinite(flow)) and max(flow) > 0
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["finished"] and summary["scores"]["num_images"] == 4


def _assert_same_parameters(first: Path, second: Path) -> None:
    runs = [restore_run(path) for path in (first, second)]
    assert [run.num_updates for run in runs] == [_NUM_STEPS, _NUM_STEPS]
    leaves = [_named_leaves(run.params) for run in runs]
    assert leaves[0].keys() == leaves[1].keys()
    for name, values in leaves[0].items():
        np.testing.assert_array_equal(values, leaves[1][name], err_msg=name)


def _named_leaves(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
    leaves = {}
    for name, value in tree.items():
        path = f"{prefix}/{name}"
        leaves |= _named_leaves(value, path) if isinstance(value, dict) else {path: value}
    return leaves


def _check_logs(workdir: Path) -> None:
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if record["kind"] == "train"]
    assert steps == [2, 4, 6, 8]  # each once, though the run was killed
    elapsed = [record["elapsed_s"] for record in records]
    assert elapsed == sorted(elapsed)
    assert {"loss", "mask", "rgb", "feature"} <= records[0].keys()
