"""How do time and memory of a step grow with image size, grid, batch and network width?

    python -m experiments.benchmarks.growth --plot=experiments/results/growth.png
    python -m experiments.benchmarks.growth --part=geometry --plot=FILE   # SDF and marching only

One variable at a time is moved away from the default configuration. The animal is the starting
shape with everything switched on, in buffers that hold it; images are random. Each
point has a process of its own. It compiles, resets the kernel's mark of peak memory, and calls:

- median and min ms: of the calls after the first two, gradients and update included;
- buffers MiB: what XLA has planned for intermediate values, the same in every run;
- step MiB: the highest resident memory of the calls, less what was resident before the first
  (code, inputs, parameters): buffers, scratch of kernels, and tens of MiB that the heap may waste;
- peak MiB: the highest resident memory of the calls, with all that and what a compiler leaves;
- compile s: tracing and compilation.

"x" is a number over the one in the line above. Points that need more than `--max_gib`, or that
`--budget_s` leaves no time for, say so. Most of that time is compilation: with the environment's
JAX_COMPILATION_CACHE_DIR set, a second run takes it from there. Linux only: memory is read from
/proc.
"""

import argparse
import ctypes
import functools
import multiprocessing
import operator
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from ml_collections import ConfigDict

from configs import horse
from experiments.benchmarks.step import (
    TOKENS,
    TrainingSteps,
    fitting_stage,
    loss_counts,
    random_batch,
)
from pony_jax.model import Capacities, Pony, Stage, build_model
from pony_jax.model.capacities import wanted_capacities
from pony_jax.training.environment import keep_freed_memory
from pony_jax.training.step import Outcome

_WARM_UP = 2
_SECONDS_OF_CALLS = 20.0  # after which no further one starts


class Variable(NamedTuple):
    """Something that grows.

    Attributes:
      keys: of the configuration that take its values; the first one's default is measured too.
    """

    name: str
    keys: tuple[str, ...]
    values: tuple[int, ...]


class Point(NamedTuple):
    """What one process measures.

    Attributes:
      variant: of `configs/horse.py`.
      part: 'step' or 'geometry'.
      settings: values that differ from the variant's, by configuration key.
      num_calls: timed, fewer where they take long.
      max_gib: of memory that the process may have.
    """

    variant: str
    part: str
    settings: tuple[tuple[str, int], ...]
    num_calls: int
    max_gib: float


class Measured(NamedTuple):
    median_ms: float
    min_ms: float
    buffers_mib: float
    step_mib: float
    peak_mib: float
    compile_s: float


Result = Measured | str
"""What was measured, or why nothing was."""

_WIDTHS = ("model.hidden", "model.encoder_hidden", "model.silhouette_hidden")
VARIABLES = {
    "step": (
        Variable("image size", ("data.image_size",), (32, 64, 128, 256)),
        Variable("batch", ("data.batch_size",), (5, 10, 20)),
        Variable("width", _WIDTHS, (32, 64, 128, 256)),
        Variable("grid", ("model.fine_resolution",), (64, 128, 256)),
    ),
    "geometry": (
        Variable("grid", ("model.fine_resolution",), (32, 64, 128, 256)),
        Variable("width", _WIDTHS, (32, 64, 128, 256)),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", choices=tuple(VARIABLES), default="step")
    parser.add_argument("--variant", default="", help="of configs/horse.py; `test` is quick")
    parser.add_argument("--plot", type=Path, help="PNG file of the plot")
    parser.add_argument("--num_calls", type=int, default=10, help="timed in each point")
    parser.add_argument("--max_gib", type=float, default=24.0, help="memory of a point")
    parser.add_argument("--budget_s", type=float, default=690.0, help="time for all points")
    for variable in VARIABLES["step"]:
        flag = f"--{variable.name.replace(' ', '_')}"
        parser.add_argument(flag, type=int, nargs="*", help="values, if not the usual ones")
    args = parser.parse_args()

    def chosen(variable: Variable) -> Variable:
        values = getattr(args, variable.name.replace(" ", "_"))
        return variable if values is None else variable._replace(values=tuple(values))

    start = Point(args.variant, args.part, (), args.num_calls, args.max_gib)
    print(f"{args.part}, {jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    print(
        "| variable | value | median ms | x | min ms | buffers MiB | x | step MiB | peak MiB "
        "| compile s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    measured: dict[str, dict[int, Measured]] = {}
    variables = [chosen(variable) for variable in VARIABLES[args.part]]
    for name, value, result in measure_all(variables, start, time.monotonic() + args.budget_s):
        of_variable = measured.setdefault(name, {})
        before = list(of_variable.values())[-1] if of_variable else None
        print(format_row(name, value, result, before), flush=True)
        if isinstance(result, Measured):
            of_variable[value] = result
    if args.plot:
        plot(measured, args.part).savefig(args.plot)


def measure_all(
    variables: Iterable[Variable], start: Point, deadline: float
) -> Iterator[tuple[str, int, Result]]:
    """Name of the variable, value and result of each point.

    Args:
      start: the point that all variables start from, measured once.
      deadline: by `time.monotonic`.
    """
    config = configure(start)
    results: dict[Point, Result] = {}
    for variable in variables:
        default = operator.attrgetter(variable.keys[0])(config)
        for value in sorted({*variable.values, default}):
            settings = () if value == default else tuple((key, value) for key in variable.keys)
            point = start._replace(settings=settings)
            if point not in results:
                results[point] = measure_alone(point, deadline)
            yield variable.name, value, results[point]


def measure_alone(point: Point, deadline: float) -> Result:
    """Measures a point in a new process, which is killed at the deadline."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        return "no time left"
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(point, sender))
    process.start()
    sender.close()  # so that the end of the process ends the pipe
    try:
        return receiver.recv() if receiver.poll(left_s) else "no time left"
    except EOFError:
        process.join()
        return f"ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()


def _report(point: Point, sender: Connection) -> None:
    keep_freed_memory()
    limit = int(point.max_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        sender.send(measure(point))
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        sender.send(f"does not fit: {str(error).splitlines()[0][:60]}")


def measure(point: Point) -> Measured:
    """Measures a point in this process, whose peak of memory so far is forgotten."""
    config = configure(point)
    model = build_model(config, TOKENS)
    params = jax.jit(model.init_params)(jax.random.key(0))
    if point.part == "geometry":
        stage = fitting_stage(model, config.num_steps - 1, _shape_counts(model, params))
        start = time.perf_counter()
        call, compiled = _geometry(model, params, stage)
    else:
        batch = random_batch(config)
        stage = fitting_stage(
            model, config.num_steps - 1, loss_counts(model, config, params, batch)
        )
        start = time.perf_counter()
        steps = TrainingSteps(model, config, params, batch, stage)
        call, compiled = functools.partial(_whole_step, steps), steps.compiled
    compile_s = time.perf_counter() - start

    ctypes.CDLL(None).malloc_trim(0)  # what the compiler has freed is not for the step to take
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before_mib = _memory_mib("VmRSS")
    seconds = list(_timed(call, point.num_calls))
    peak_mib = _memory_mib("VmHWM")
    return Measured(
        median_ms=1e3 * statistics.median(seconds),
        min_ms=1e3 * min(seconds),
        buffers_mib=compiled.memory_analysis().temp_size_in_bytes / 2**20,
        step_mib=peak_mib - before_mib,
        peak_mib=peak_mib,
        compile_s=compile_s,
    )


def configure(point: Point) -> ConfigDict:
    """The configuration that a point stands for."""
    config = horse.get_config(point.variant)
    config.update_from_flattened_dict(dict(point.settings))
    return config


def _whole_step(steps: TrainingSteps) -> None:
    outcome = Outcome(int(steps().outcome))
    if outcome != Outcome.APPLIED:
        raise RuntimeError(f"expected a training step that is applied, got {outcome.name}")


def _geometry(
    model: Pony, params: dict, stage: Stage
) -> tuple[Callable[[], Any], jax.stages.Compiled]:
    """The SDF on the grid and marching tetrahedra, forward and back to the parameters."""

    def size(params: dict) -> jax.Array:
        shape = model.apply({"params": params}, stage, method=Pony.shape)
        return jnp.sum(shape.mesh.verts**2)

    compiled = jax.jit(jax.value_and_grad(size)).lower(params).compile()
    return lambda: jax.block_until_ready(compiled(params)), compiled


def _shape_counts(model: Pony, params: dict) -> Callable[[Stage], Capacities]:
    """What the prior shape wants of its buffers; it sees no pixels."""

    @functools.partial(jax.jit, static_argnums=0)
    def count(stage: Stage) -> Capacities:
        return wanted_capacities(model.apply({"params": params}, stage, method=Pony.shape))

    return count


def _timed(call: Callable[[], Any], num_calls: int) -> Iterator[float]:
    """Seconds of each call after two that warm up; at least one."""
    for _ in range(_WARM_UP):
        call()
    end = time.perf_counter() + _SECONDS_OF_CALLS
    for i in range(num_calls):
        start = time.perf_counter()
        if i and start > end:
            return
        call()
        yield time.perf_counter() - start


def _memory_mib(field: str) -> float:
    """A line of this process's status: VmRSS resident now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def format_row(name: str, value: int, result: Result, before: Measured | None) -> str:
    """A line of the table; `before` is what the line above has measured of the same variable."""
    if isinstance(result, str):
        return f"| {name} | {value} | {result} |" + " |" * 7
    times, memory = (
        f"{getattr(result, field) / getattr(before, field):.2f}" if before else ""
        for field in ("median_ms", "buffers_mib")
    )
    return (
        f"| {name} | {value} | {result.median_ms:.1f} | {times} | {result.min_ms:.1f} | "
        f"{result.buffers_mib:.0f} | {memory} | {result.step_mib:.0f} | {result.peak_mib:.0f} | "
        f"{result.compile_s:.1f} |"
    )


def plot(measured: Mapping[str, Mapping[int, Measured]], part: str) -> Figure:
    """Time above, memory of buffers below, a column a variable, both axes logarithmic."""
    figure = Figure(figsize=(2.8 * len(measured), 4.6), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(measured), sharey="row", sharex="col", squeeze=False)
    for column, (name, of_variable) in zip(axes.T, measured.items(), strict=True):
        values = list(of_variable)
        for axis, field in zip(column, ("median_ms", "buffers_mib"), strict=True):
            heights = [getattr(each, field) for each in of_variable.values()]
            axis.loglog(values, heights, "o-", color="#4a7fb5")
            axis.grid(alpha=0.3)
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
        column[-1].set_xlabel(name)
        column[-1].set_xticks(values, labels=map(str, values))
    axes[0, 0].set_ylabel(f"{part}: median ms")
    axes[1, 0].set_ylabel(f"{part}: buffers MiB")
    return figure


if __name__ == "__main__":
    main()
