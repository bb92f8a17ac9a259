"""A training run from its configuration to its summary."""

import functools
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array
from ml_collections import ConfigDict

from pony_jax.data.pipeline import Split, TrainingBatches, evaluation_batches
from pony_jax.evaluation.panel import draw_panel
from pony_jax.evaluation.predictor import Predictor
from pony_jax.evaluation.protocol import evaluate_split
from pony_jax.model import NO_CAPACITIES, Pony, build_model, build_objective
from pony_jax.training.checkpoints import Checkpoints, Progress, open_workdir
from pony_jax.training.config_rules import check_config, check_data
from pony_jax.training.datasets import copy_projections, load_train_and_test
from pony_jax.training.environment import prepare_process
from pony_jax.training.lock import only_training_in
from pony_jax.training.logs import Logs, Stopwatch, peak_memory_gib, say
from pony_jax.training.optimizers import num_parameters, parameter_groups
from pony_jax.training.step import TrainState, init_state
from pony_jax.training.stepper import Stepper
from pony_jax.training.warm_start import warm_start


def train(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains, or goes on with, the run in `workdir`, and returns its summary.

    Raises `UserError`, with one line for the user, if the run cannot start or go on.
    """
    check_config(config)
    prepare_process(config.compilation_cache_dir)
    path = open_workdir(workdir, config)
    with only_training_in(path):
        return _train(config, path)


def _train(config: ConfigDict, path: Path) -> dict[str, Any]:
    train_split, test_split = load_train_and_test(config.data, say)
    copy_projections(config.data, path)
    token_shape = (train_split.token_grid, train_split.token_dim)
    check_data(config, token_shape, train_split.feature_dim)
    checkpoints = Checkpoints(path, config.checkpoint.keep)
    params_key, steps_key = run_keys(config.seed)
    model = build_model(config, token_shape)
    objective = build_objective(config)
    groups = parameter_groups(**config.optimizer, num_steps=config.num_steps)
    batches = _training_batches(config, train_split)
    state, progress = _start_or_resume(
        checkpoints, lambda: init_state(model, groups, params_key), token_shape, config
    )

    first_step = int(state.step)
    stopwatch = Stopwatch(progress.elapsed_s)
    logs = Logs(path, first_step=first_step, num_steps=config.num_steps, stopwatch=stopwatch)
    stepper = Stepper(
        model,
        functools.partial(objective.loss, model),
        groups,
        batches,
        state,
        steps_key,
        progress.capacities,
        config.num_steps,
        logs.say,
    )
    observer = _Observer(config, path, model, test_split, logs, stopwatch)

    def save() -> None:
        stepper.settle()
        progress = Progress(token_shape, stepper.capacities, stopwatch.elapsed_s)
        checkpoints.save(stepper.state, progress)

    with _stop_requests() as stop_requested:
        for num_updates in range(first_step + 1, config.num_steps + 1):
            stepper.run(num_updates - 1)
            logs.advance()
            observer.log(num_updates, stepper)
            if _is_due(num_updates, config.checkpoint.every_steps):
                save()
            observer.look(num_updates, stepper)
            if stop_requested():
                save()
                logs.close()
                say(f"stopped after {num_updates} steps; the same command goes on from there")
                return {"finished": False, "num_updates": num_updates}

    save()
    scores = observer.evaluate(config.num_steps, stepper)
    observer.draw(config.num_steps, stepper)
    logs.close()
    return _summarise(path, config.num_steps, stopwatch, scores)


def run_keys(seed: int) -> tuple[Array, Array]:
    """Keys of the parameters and of the steps, the same for every default generator of JAX."""
    params_key, steps_key = jax.random.split(jax.random.key(seed, impl="threefry2x32"))
    return params_key, steps_key


def _training_batches(config: ConfigDict, split: Split) -> TrainingBatches:
    return TrainingBatches(
        split,
        batch_size=config.data.batch_size,
        seed=config.seed,
        mirror_probability=config.data.mirror_probability,
        clip_frames=config.data.clip_frames,
    )


def _start_or_resume(
    checkpoints: Checkpoints,
    init: Callable[[], TrainState],
    token_shape: tuple[int, int],
    config: ConfigDict,
) -> tuple[TrainState, Progress]:
    """The newest state of the run, or else a fresh one, or one that another run has learned."""
    init = jax.jit(init)
    if checkpoints.latest_step() is None:
        state = init()
        say(f"model: {num_parameters(state.params):,} parameters")
        if config.start.from_run:
            state = warm_start(state, config)
            say(f"starts from {config.start.from_run}, with step {int(state.step)}")
        return state, Progress(token_shape, NO_CAPACITIES, 0.0)
    like = jax.eval_shape(init)
    state, progress = checkpoints.restore(lambda progress: like, set_aside=True)
    say(f"goes on with step {int(state.step)}")
    return state, progress


class _Observer:
    """Looks at the model while it learns: numbers, panels, scores of the test split."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        model: Pony,
        test_split: Split,
        logs: Logs,
        stopwatch: Stopwatch,
    ):
        self._config = config
        self._workdir = workdir
        self._test_split = test_split
        self._logs = logs
        self._stopwatch = stopwatch
        self._predictor = Predictor(model, NO_CAPACITIES)
        # The panel shows the same images every time.
        self._panel_batch = next(evaluation_batches(test_split, config.data.batch_size))
        self._minutes_left = sorted(
            minutes for minutes in config.log.eval_minutes if minutes * 60 > stopwatch.elapsed_s
        )
        self._logged = (0, stopwatch.elapsed_s)

    def log(self, num_updates: int, stepper: Stepper) -> None:
        """Writes the terms of the last checked step, one in `every_steps`: no waiting."""
        if not _is_due(num_updates, self._config.log.every_steps) or not stepper.last_report:
            return
        report = stepper.last_report
        steps_before, seconds_before = self._logged
        seconds = self._stopwatch.elapsed_s
        metrics = {name: float(value) for name, value in report.metrics.items()}
        values = {
            "loss": float(report.loss),
            **metrics,
            **{f"{name}_count": int(count) for name, count in report.counts._asdict().items()},
            "peak_memory_gib": round(peak_memory_gib(), 3),
        }
        if steps_before:
            values["step_ms"] = 1e3 * (seconds - seconds_before) / (num_updates - steps_before)
        self._logged = (num_updates, seconds)
        self._logs.write("train", num_updates, values)
        if steep := int(metrics.get("steep_blocks", 0)):
            self._logs.say_once(
                "steep_blocks",
                f"warning: at step {num_updates} the field is so steep in {steep} of the grid's "
                "blocks that a surface may be missed (steep_blocks in metrics.jsonl); if pieces of "
                "the shape come and go, set model.march='dense'",
            )
        shown = ("loss", "mask", "mask_inverse_distance", "rgb", "feature")
        self._logs.show({name: values[name] for name in shown if name in values})

    def look(self, num_updates: int, stepper: Stepper) -> None:
        """Draws a panel and evaluates where it is time to."""
        log = self._config.log
        if _is_due(num_updates, log.panel_every_steps):
            self.draw(num_updates, stepper)
        minutes_passed = self._stopwatch.elapsed_s / 60
        reached = [minutes for minutes in self._minutes_left if minutes <= minutes_passed]
        self._minutes_left = self._minutes_left[len(reached) :]
        last = num_updates == self._config.num_steps
        if (reached or _is_due(num_updates, log.eval_every_steps)) and not last:
            self.evaluate(num_updates, stepper)

    def draw(self, num_updates: int, stepper: Stepper) -> None:
        """Writes the panel of the first test images."""
        stepper.settle()
        params = stepper.state.params
        with self._stopwatch.paused():
            panel = draw_panel(
                self._predictor,
                params,
                num_updates,
                self._panel_batch,
                num_images=self._config.log.panel_images,
                num_body_bones=self._config.model.num_body_bones,
                hide_photographs=self._config.log.hide_photographs,
            )
            folder = self._workdir / "panels"
            folder.mkdir(exist_ok=True)
            panel.save(folder / f"{num_updates:07d}.png")
            panel.save(self._workdir / "panel.png")

    def evaluate(self, num_updates: int, stepper: Stepper) -> dict[str, Any]:
        """Scores the test split."""
        stepper.settle()
        with self._stopwatch.paused():
            scores = evaluate_split(
                self._predictor,
                stepper.state.params,
                num_updates,
                self._test_split,
                self._config.data.batch_size,
            )
        self._logs.write("eval", num_updates, scores)
        self._logs.say(
            f"step {num_updates}, {self._stopwatch.elapsed_s / 60:.1f} min of training: mask IoU "
            f"{scores['mask_iou']['mean']:.3f} on {scores['num_images']} test images"
        )
        return scores


def _is_due(num_updates: int, every_steps: int) -> bool:
    return every_steps > 0 and num_updates % every_steps == 0


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Makes Ctrl-C and SIGTERM ask for an orderly end; a second one ends at once."""
    requested = []
    handlers = {}

    def request(number: int, frame: Any) -> None:
        requested.append(number)
        for name, handler in handlers.items():
            signal.signal(name, handler)

    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            handlers[name] = signal.signal(name, request)
    except ValueError:
        pass  # only the main thread of a program may do this; a notebook's kernel may not
    try:
        yield lambda: bool(requested)
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)


def _summarise(
    path: Path, num_updates: int, stopwatch: Stopwatch, scores: dict[str, Any]
) -> dict[str, Any]:
    summary = {
        "finished": True,
        "num_updates": num_updates,
        "elapsed_s": round(stopwatch.elapsed_s, 1),
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "scores": scores,
    }
    (path / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    iou = scores["mask_iou"]
    say(
        f"done: {num_updates} steps in {stopwatch.elapsed_s / 60:.1f} min, peak memory "
        f"{summary['peak_memory_gib']} GiB\n"
        f"mask IoU on {scores['num_images']} test images: mean {iou['mean']:.3f}, quartiles "
        f"{iou['q25']:.3f} {iou['median']:.3f} {iou['q75']:.3f}\n"
        f"see {path / 'panel.png'}, {path / 'summary.json'}, {path / 'metrics.jsonl'} and "
        f"tensorboard --logdir={path / 'tensorboard'}"
    )
    return summary
