"""Runs steps one ahead of looking at what became of them."""

import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array

from pony_jax.model import Capacities, Pony, Stage
from pony_jax.training.errors import RunError
from pony_jax.training.optimizers import Group
from pony_jax.training.programs import Programs
from pony_jax.training.step import Loss, Outcome, Report, TrainState, train_step

Batch = dict[str, np.ndarray]

# So many steps before a stage begins, its compilation does: a minute of the default run's steps.
_COMPILE_AHEAD = 500


@runtime_checkable
class Batches(Protocol):
    """Random access to the batches of training."""

    def batch(self, step: int) -> Batch:
        """The batch of a step."""

    def iterate(self, first_step: int) -> Any:
        """The batches from a step on, made ahead of time."""


class Stepper:
    """Holds the state and moves it forward.

    The device works on step n while the host reads the verdict on step n - 1, so neither waits. A
    step that was not applied (`step.Outcome`) makes the one after it fall through; then the buffer
    is grown and both are repeated, or the run ends.

    Attributes:
      state: after the last step handed out.
      capacities: of the padded buffers; they only grow.
      last_report: of the last step that was checked.
    """

    def __init__(
        self,
        model: Pony,
        loss: Loss,
        groups: dict[str, Group],
        batches: Batches,
        state: TrainState,
        key: Array,
        capacities: Capacities,
        num_steps: int,
        say: Callable[[str], None],
    ):
        self.state = state
        self.capacities = capacities
        self.last_report: Report | None = None
        self._model = model
        self._batches = batches
        self._key = key
        self._say = say
        self._last_step = num_steps - 1
        self._programs = Programs(
            jax.jit(
                functools.partial(train_step, loss=loss, groups=groups),
                static_argnames="stage",
                donate_argnames="state",
            )
        )
        self._begun: set[Stage] = set()
        self._stream = iter(batches.iterate(int(state.step)))
        self._unchecked: tuple[int, Report] | None = None

    def run(self, step: int) -> None:
        """Hands out `step`, then checks the one before it. Raises `RunError` as `settle` does."""
        batch = next(self._stream)
        report = self._dispatch(step, batch)
        if self._unchecked is not None and self._check(*self._unchecked):
            report = self._dispatch(step, batch)
        self._unchecked = (step, report)

    def settle(self) -> None:
        """Waits for the last step, so that `state` is final.

        Raises `RunError` naming step and terms if a loss or gradient is not finite.
        """
        if self._unchecked is not None:
            self._check(*self._unchecked)
            self._unchecked = None

    def _check(self, step: int, report: Report) -> bool:
        """Makes sure that a step is applied; whether it had to be repeated."""
        repeated = False
        while (outcome := Outcome(int(report.outcome))) is Outcome.OVERFLOW:
            repeated = True
            wanted = Capacities(*map(int, report.counts))
            grown = self.capacities.grown_to(wanted)
            self._say(
                f"step {step}: the mesh wants {_describe(wanted)}; buffers grow from "
                f"{_describe(self.capacities)} to {_describe(grown)} and the step is repeated"
            )
            self.capacities = grown
            report = self._dispatch(step, self._batches.batch(step))
        if outcome is Outcome.NOT_FINITE:
            raise RunError(_describe_not_finite(step, report))
        if outcome is Outcome.APPLIED_EMPTY:
            self._say(f"step {step}: warning: the shape is empty; images give no gradient")
        self.last_report = report
        return repeated

    def _dispatch(self, step: int, batch: Batch) -> Report:
        stage = self._stage_at(step)
        self.capacities = stage.capacities
        args = (self.state, batch, np.int32(step), self._key)
        program, seconds = self._programs.get(stage, args)
        if stage not in self._begun:
            self._begun.add(stage)
            self._say(f"step {step}: compiled in {seconds:.1f} s for {describe_stage(stage)}")
        self.state, report = program(*args)
        coming = self._stage_at(min(step + _COMPILE_AHEAD, self._last_step))
        self._programs.prepare(coming, (self.state, *args[1:]))
        return report

    def _stage_at(self, step: int) -> Stage:
        """The stage of a step, if no buffer has to grow until then."""
        capacities = self.capacities.grown_to(self._model.expected_counts(step))
        return self._model.stage_at(step, capacities)


def describe_stage(stage: Stage) -> str:
    """One line about a stage, for people."""
    switches = {
        "articulation": stage.articulation,
        "attached legs": stage.attach_legs,
        "deformation": stage.deformation,
    }
    on = [name for name, is_on in switches.items() if is_on] or ["rigid"]
    return f"grid {stage.grid_resolution}, {', '.join(on)}, {_describe(stage.capacities)}"


def _describe(sizes: Capacities) -> str:
    return (
        f"{sizes.verts:,} vertices, {sizes.faces:,} faces, {sizes.pixels:,} pixels, "
        f"{sizes.blocks:,} blocks, {sizes.points:,} grid points"
    )


def _describe_not_finite(step: int, report: Report) -> str:
    terms = {"loss": report.loss, **report.metrics}
    values = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.items())
    return (
        f"step {step}: expected finite losses and gradients, got {values}; the last checkpoint is "
        "good; lower a learning rate or the weight of the term at fault"
    )
