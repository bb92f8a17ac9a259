"""Steps, their verdicts, and going on after a failed one."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest

from pony_jax.model import NO_CAPACITIES, Capacities
from pony_jax.training.errors import RunError
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.step import TrainState, init_state
from pony_jax.training.stepper import Stepper
from tests.training.tiny_model import TinyModel

_GROUPS = parameter_groups(prior_learning_rate=1e-2, instance_learning_rate=1e-2)


class _TinyBatches:
    def batch(self, step: int) -> dict[str, np.ndarray]:
        return {"x": np.full(3, np.sin(step), np.float32)}

    def iterate(self, first_step: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            yield self.batch(first_step)
            first_step += 1


def _run(
    model: TinyModel, num_steps: int, *, first: TrainState | None = None
) -> tuple[Stepper, list[str]]:
    lines: list[str] = []
    key = jax.random.key(1)
    state = first or init_state(model, _GROUPS, key)
    stepper = Stepper(
        model,
        model.loss,
        _GROUPS,
        _TinyBatches(),
        state,
        key,
        NO_CAPACITIES,
        num_steps,
        lines.append,
    )
    for step in range(int(state.step), num_steps):
        stepper.run(step)
    stepper.settle()
    return stepper, lines


def _assert_same(state: TrainState, other: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, state, other)


def test_compiles_once_a_stage_ahead_of_its_first_step() -> None:
    _, lines = _run(TinyModel(), 8)
    compiled = [line.split(":")[0] for line in lines if "compiled" in line]
    assert compiled == ["step 0", "step 3", "step 5"]


def test_going_on_from_the_middle_gives_the_same_bits() -> None:
    whole, _ = _run(TinyModel(), 8)
    half, _ = _run(TinyModel(), 4)
    rest, _ = _run(TinyModel(), 8, first=half.state)
    _assert_same(whole.state, rest.state)
    assert int(whole.state.step) == 8


@pytest.mark.parametrize("num_steps", [3, 8])  # found out after the last step, and in between
def test_a_buffer_that_is_too_small_grows_and_the_step_is_repeated(num_steps: int) -> None:
    plain, _ = _run(TinyModel(), num_steps)
    grown, lines = _run(TinyModel(verts_wanted=100), num_steps)
    assert grown.capacities == NO_CAPACITIES.grown_to(Capacities(100, 8, 16, 4, 4))
    assert sum("buffers grow" in line for line in lines) == 1
    assert "step 2: the mesh wants 100 vertices" in " ".join(lines)
    _assert_same(plain.state, grown.state)


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_last_good_state() -> None:
    good, _ = _run(TinyModel(), 4)
    key = jax.random.key(1)
    model = TinyModel(nan_at=4)
    stepper = Stepper(
        model,
        model.loss,
        _GROUPS,
        _TinyBatches(),
        init_state(model, _GROUPS, key),
        key,
        NO_CAPACITIES,
        8,
        lambda line: None,
    )
    with pytest.raises(RunError, match=r"step 4: expected finite .* got loss nan, .*mask nan"):
        for step in range(8):
            stepper.run(step)
    _assert_same(stepper.state, good.state)


def test_an_empty_mesh_is_reported_and_training_goes_on() -> None:
    stepper, lines = _run(TinyModel(empty_at=2), 5)
    assert next(line for line in lines if "empty" in line).startswith("step 2: warning")
    assert int(stepper.state.step) == 5
