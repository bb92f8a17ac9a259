"""Runs steps one ahead of looking at what became of them."""

import functools
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array

from pony_jax.model import Capacities, Pony, Stage
from pony_jax.training.environment import retire_freed_memory
from pony_jax.training.errors import RunError
from pony_jax.training.optimizers import Group
from pony_jax.training.step import Outcome, Report, TrainState, train_step

Batch = dict[str, np.ndarray]


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
        groups: dict[str, Group],
        batches: Batches,
        state: TrainState,
        key: Array,
        capacities: Capacities,
        say: Callable[[str], None],
    ):
        self.state = state
        self.capacities = capacities
        self.last_report: Report | None = None
        self._model = model
        self._batches = batches
        self._key = key
        self._say = say
        self._step_function = jax.jit(
            functools.partial(train_step, model=model, groups=groups),
            static_argnames="stage",
            donate_argnames="state",
        )
        self._compiled: dict[Stage, Callable[..., tuple[TrainState, Report]]] = {}
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
        wanted = self._model.expected_counts(step)
        self.capacities = self.capacities.grown_to(wanted)
        stage = self._model.stage_at(step, self.capacities)
        args = (self.state, batch, np.int32(step), self._key)
        if stage not in self._compiled:
            self._compiled[stage] = self._compile(step, stage, args)
        self.state, report = self._compiled[stage](*args)
        return report

    def _compile(
        self, step: int, stage: Stage, args: tuple[Any, ...]
    ) -> Callable[..., tuple[TrainState, Report]]:
        start = time.perf_counter()
        compiled = self._step_function.lower(*args, stage=stage).compile()
        retire_freed_memory()
        seconds = time.perf_counter() - start
        self._say(f"step {step}: compiled in {seconds:.1f} s for {describe_stage(stage)}")
        return compiled


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
