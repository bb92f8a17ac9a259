"""What a run tells while it goes: a line of progress, TensorBoard, and `metrics.jsonl`.

Every line of `metrics.jsonl` has `kind` (train, eval), `step` (number of updates so far) and
`elapsed_s` (see `Stopwatch`); units are in the keys.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

# tensorboardX imports PyTorch wherever it is installed, which costs seconds and 200 MiB, and takes
# its absence in its stride. None makes an import fail.
_torch = sys.modules.get("torch")
sys.modules["torch"] = None  # type: ignore[assignment]
try:
    from tensorboardX import SummaryWriter
finally:
    del sys.modules["torch"]
    if _torch is not None:
        sys.modules["torch"] = _torch

_SECONDS_BETWEEN_LINES = 15.0


def say(line: str) -> None:
    """A line for the user, beside the results that go to standard output."""
    print(line, file=sys.stderr, flush=True)


class Stopwatch:
    """Seconds of training: compilation, data and checkpoints count, what is `paused` does not."""

    def __init__(self, elapsed_s: float = 0.0):
        self._start = time.perf_counter() - elapsed_s

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time that its block takes."""
        entered = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - entered


class Logs:
    """Writes one run's progress. Lines of steps that a resumed run repeats are dropped first."""

    def __init__(self, workdir: Path, *, first_step: int, num_steps: int, stopwatch: Stopwatch):
        self._stopwatch = stopwatch
        self._said: set[str] = set()
        path = workdir / "metrics.jsonl"
        _drop_lines_after(path, first_step)
        self._file = path.open("a", buffering=1)
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step)
        # A terminal sees a bar that moves; a file or a notebook a new line now and then.
        self._is_terminal = sys.stderr.isatty()
        self._shown_at_s = time.monotonic()
        self._sink = sys.stderr if self._is_terminal else open(os.devnull, "w")
        self._bar = tqdm(
            initial=first_step,
            total=num_steps,
            unit="step",
            dynamic_ncols=True,
            file=self._sink,
            smoothing=0.05,
            bar_format=(
                "step {n_fmt}/{total_fmt} {bar:20} {elapsed} gone, {remaining} left, "
                "{rate_fmt}{postfix}"
            ),
        )

    def say(self, line: str) -> None:
        """A line above the progress."""
        if self._is_terminal:
            self._bar.write(line, file=sys.stderr)
        else:
            say(line)

    def say_once(self, subject: str, text: str) -> None:
        """`say`, unless something has been said of this subject."""
        if subject not in self._said:
            self._said.add(subject)
            self.say(text)

    def advance(self) -> None:
        """Moves the progress on by a step."""
        self._bar.update()
        now = time.monotonic()
        if not self._is_terminal and now - self._shown_at_s > _SECONDS_BETWEEN_LINES:
            self._shown_at_s = now
            say(str(self._bar))

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """A record of numbers (nested ones get dotted names in TensorBoard)."""
        record = {"kind": kind, "step": step, "elapsed_s": round(self._stopwatch.elapsed_s, 3)}
        self._file.write(json.dumps(record | dict(values)) + "\n")
        for name, value in _flat(values):
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def show(self, values: Mapping[str, float]) -> None:
        """A few numbers at the end of the progress line."""
        self._bar.set_postfix_str(
            " ".join(f"{name} {value:.3g}" for name, value in values.items()), refresh=False
        )

    def close(self) -> None:
        self._bar.close()
        if self._sink is not sys.stderr:
            self._sink.close()
        self._board.close()
        self._file.close()


def peak_memory_gib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _drop_lines_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    # A process that was killed leaves half a line, a power failure anything at all.
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            if record["step"] <= step:
                kept.append(line)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line + "\n" for line in kept))
    partial.replace(path)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            yield prefix + name, value
