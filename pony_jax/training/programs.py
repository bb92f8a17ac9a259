"""Compiled training steps; the next stage's is compiled beside the steps that come before it."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

from pony_jax.model import Stage
from pony_jax.ops.substitution import in_this_context

Args = tuple[Any, ...]


class Compiled(NamedTuple):
    """A program, and the time that its compilation took."""

    program: Callable[..., Any]
    seconds: float


class Programs:
    """The programs of a jitted function, by its static argument `stage`.

    One compilation runs in the background at a time.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self._compiled: dict[Stage, Compiled] = {}
        self._coming: tuple[Stage, Future[Compiled]] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compiler")

    def prepare(self, stage: Stage, args: Args) -> None:
        """Starts to compile for a stage, unless that is done or another compilation still runs."""
        self._collect()
        if stage not in self._compiled and self._coming is None:
            compile_stage = in_this_context(self._compile)
            future = self._thread.submit(compile_stage, stage, jax.tree.map(_like, args))
            self._coming = stage, future

    def get(self, stage: Stage, args: Args) -> Compiled:
        """The program of a stage; waits for it."""
        if self._coming is not None and self._coming[0] == stage:
            self._coming[1].result()
        self._collect()
        if stage not in self._compiled:
            self._compiled[stage] = self._compile(stage, args)
        return self._compiled[stage]

    def _collect(self) -> None:
        """Takes over what was compiled in the background. Raises what was raised there."""
        if self._coming is not None and self._coming[1].done():
            stage, future = self._coming
            self._coming = None
            self._compiled[stage] = future.result()

    def _compile(self, stage: Stage, args: Args) -> Compiled:
        start = time.perf_counter()
        program = self._function.lower(*args, stage=stage).compile()
        return Compiled(program, time.perf_counter() - start)


def _like(leaf: Any) -> jax.ShapeDtypeStruct:
    """Stands in for an argument that is given away before the compiler looks at it."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
