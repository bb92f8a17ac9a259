"""Programs of stages: compiled once, in the background where there is time."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.model import NO_CAPACITIES, Stage
from pony_jax.ops.skinning import skin
from pony_jax.ops.substitution import without_substitutes
from pony_jax.training.programs import Programs

_FIRST = Stage(8, False, False, False, NO_CAPACITIES)
_SECOND = _FIRST._replace(articulation=True)


class _Recorded:
    """A function of an array and a stage, and the threads that have traced it."""

    def __init__(self):
        self.traced: list[tuple[Stage, bool]] = []
        self.programs = Programs(
            jax.jit(self._double_or_square, static_argnames="stage", donate_argnames="x")
        )

    def _double_or_square(self, x, step, stage):
        in_main_thread = threading.current_thread() is threading.main_thread()
        self.traced.append((stage, in_main_thread))
        if stage.grid_resolution == 0:
            raise ValueError("no grid")
        return (x * x if stage.articulation else 2 * x) + step

    def __call__(self, stage):
        args = (jnp.arange(3.0), np.int32(1))
        return self.programs.get(stage, args).program(*args)

    def prepare(self, stage):
        self.programs.prepare(stage, (jnp.arange(3.0), np.int32(1)))


def test_a_stage_is_compiled_once_and_ahead_of_time_if_it_was_prepared():
    function = _Recorded()
    np.testing.assert_array_equal(function(_FIRST), [1, 3, 5])
    for _ in range(3):
        function.prepare(_SECOND)
        np.testing.assert_array_equal(function(_FIRST), [1, 3, 5])
    np.testing.assert_array_equal(function(_SECOND), [1, 2, 5])
    function.prepare(_SECOND)
    assert function.traced == [(_FIRST, True), (_SECOND, False)]


def test_a_stage_that_was_not_foreseen_is_compiled_at_once():
    function = _Recorded()
    function.prepare(_SECOND)
    np.testing.assert_array_equal(function(_FIRST), [1, 3, 5])
    np.testing.assert_array_equal(function(_SECOND), [1, 2, 5])
    assert sorted(function.traced) == [(_FIRST, True), (_SECOND, False)]


def test_what_fails_in_the_background_is_raised():
    function = _Recorded()
    broken = _FIRST._replace(grid_resolution=0)
    function.prepare(broken)
    with pytest.raises(ValueError, match="no grid"):
        function(broken)


def test_what_is_compiled_in_the_background_is_substituted_as_it_would_be_here():
    def function(verts, weights, transforms, *, stage):
        return skin(verts, weights, transforms)

    args = jnp.zeros((1, 5, 3)), jnp.zeros((1, 5, 2)), jnp.zeros((1, 2, 4, 4))
    programs = Programs(jax.jit(function, static_argnames="stage"))
    with without_substitutes():
        programs.prepare(_FIRST, args)
        assert "pony_jax_" not in programs.get(_FIRST, args).program.as_text()
    programs.prepare(_SECOND, args)
    assert "pony_jax_" in programs.get(_SECOND, args).program.as_text()
