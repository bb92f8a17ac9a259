"""One training step: loss, gradients, update, and a verdict on whether the update may stand."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from pony_jax.model import Capacities, Pony, Stage
from pony_jax.training.optimizers import (
    Group,
    Params,
    gradient_norms,
    init_optimizer,
    update_params,
)

Loss = Callable[
    [Params, dict[str, Array], Int[Array, ""], Array, Stage], tuple[Array, dict[str, Any]]
]
"""Parameters, batch, step, key, stage -> loss and `{'metrics': ..., 'counts': ...}`."""


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
      moments: of each group of parameters (`optimizers.parameter_groups`).
      step: number of updates so far, which is the number of the next step.
    """

    params: Params
    moments: dict[str, optax.OptState]
    step: Int[Array, ""]


class Outcome(enum.IntEnum):
    """What became of a step. Only the first two changed the state."""

    APPLIED = 0
    APPLIED_EMPTY = 1  # the shape has no surface; only terms without an image gave gradients
    OVERFLOW = 2  # a padded buffer was too small
    NOT_FINITE = 3  # a loss or gradient was not finite
    OUT_OF_TURN = 4  # a step before it was not applied


class Report(NamedTuple):
    """A step as seen from outside; `outcome` is one of `Outcome`."""

    outcome: Int[Array, ""]
    loss: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]
    counts: Capacities


def init_state(model: Pony, groups: dict[str, Group], key: Array) -> TrainState:
    """The state before the first step."""
    params = model.init_params(key)
    return TrainState(params, init_optimizer(params, groups), jnp.int32(0))


def train_step(
    state: TrainState,
    batch: dict[str, Array],
    step: Int[Array, ""],
    key: Array,
    *,
    loss: Loss,
    groups: dict[str, Group],
    stage: Stage,
) -> tuple[TrainState, Report]:
    """One update, or the old state bit for bit if the update must not stand.

    The host can hand out steps ahead of knowing what became of the ones before: a step whose number
    is not the state's own is not applied, so after a failure all later ones fall through.

    Args:
      step: number of the step that `batch` belongs to.
      loss: of a model, see `pony_jax.model.Objective.loss`.
      key: of the run; the step's own randomness is drawn from it and the step.
    """

    def loss_of(params: Params) -> tuple[Array, dict[str, Any]]:
        return loss(params, batch, step, jax.random.fold_in(key, step), stage)

    (value, aux), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    norms = gradient_norms(grads, groups)
    counts = Capacities(*aux["counts"])
    outcome = _outcome(state, step, jnp.stack([value, *norms.values()]), counts, stage)
    applied = outcome <= Outcome.APPLIED_EMPTY
    params, moments = update_params(
        state.params, grads, state.moments, groups, stage, step, applied
    )
    state = TrainState(params, moments, state.step + applied)
    return state, Report(outcome, value, aux["metrics"] | norms, counts)


def _outcome(
    state: TrainState,
    step: Int[Array, ""],
    must_be_finite: Float[Array, " n"],
    counts: Capacities,
    stage: Stage,
) -> Int[Array, ""]:
    """An overflow goes before a value that is not finite: a cut mesh may well cause that."""
    fits = jnp.array(True)
    for wanted, capacity in zip(counts, stage.capacities, strict=True):
        fits &= wanted <= capacity
    return jnp.select(
        [state.step != step, ~fits, ~jnp.all(jnp.isfinite(must_be_finite)), counts.faces == 0],
        [Outcome.OUT_OF_TURN, Outcome.OVERFLOW, Outcome.NOT_FINITE, Outcome.APPLIED_EMPTY],
        Outcome.APPLIED,
    ).astype(jnp.int32)
