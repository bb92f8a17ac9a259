"""What a run writes about itself."""

import json
import time
from pathlib import Path

from pony_jax.training.logs import Logs, Stopwatch


def _records(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def _write(path: Path, first_step: int, steps: range) -> None:
    logs = Logs(path, first_step=first_step, num_steps=9, stopwatch=Stopwatch(100.0))
    for step in steps:
        logs.write("train", step, {"loss": 1.0 / step, "scores": {"mean": 0.5}})
    logs.close()


def test_a_record_says_kind_step_and_seconds(tmp_path: Path) -> None:
    _write(tmp_path, 0, range(1, 3))
    first = _records(tmp_path)[0]
    assert (first["kind"], first["step"], first["loss"]) == ("train", 1, 1.0)
    assert 100 <= first["elapsed_s"] < 110
    assert any((tmp_path / "tensorboard").iterdir())


def test_a_resumed_run_drops_what_it_repeats_and_half_lines(tmp_path: Path) -> None:
    _write(tmp_path, 0, range(1, 5))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    _write(tmp_path, 2, range(3, 6))
    assert [record["step"] for record in _records(tmp_path)] == [1, 2, 3, 4, 5]


def test_damaged_records_are_dropped(tmp_path: Path) -> None:
    _write(tmp_path, 0, range(1, 3))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n\0\0\0\n[1]\n3\n{"kind": "train"}\n{"step": "x"}\n\n')
    _write(tmp_path, 2, range(3, 5))
    assert [record["step"] for record in _records(tmp_path)] == [1, 2, 3, 4]


def test_a_paused_stopwatch_stands_still() -> None:
    stopwatch = Stopwatch()
    before = stopwatch.elapsed_s
    with stopwatch.paused():
        time.sleep(0.2)
    assert stopwatch.elapsed_s - before < 0.1


def test_a_warning_is_said_once(tmp_path: Path, capsys) -> None:
    logs = Logs(tmp_path, first_step=0, num_steps=9, stopwatch=Stopwatch(0.0))
    for step in (1, 2):
        logs.say_once("steep", f"warning at step {step}")
    logs.say_once("other", "another")
    logs.close()
    said = capsys.readouterr()
    assert [line for line in (said.out + said.err).splitlines() if line] == [
        "warning at step 1",
        "another",
    ]
