"""What does each compiled kernel bring?

    python -m experiments.benchmarks.kernels
    python -m experiments.benchmarks.kernels --only=mlp,none --rounds=60

Times the default training step with every kernel, with none, and with all but each in turn, the
programs taking turns in one process so that a busy neighbour slows all alike. The table has the
median over the rounds of a program's time divided by that of the program with every kernel in the
same round. A kernel stays only while leaving it out costs at least 4 %.
"""

import argparse
import contextlib
import statistics
import time

import jax
from tqdm import tqdm

from configs import horse
from experiments.benchmarks.step import (
    TOKENS,
    TrainingSteps,
    fitting_stage,
    loss_counts,
    random_batch,
)
from pony_jax.model import build_model
from pony_jax.ops.substitution import registered, without_substitutes
from pony_jax.training.environment import keep_freed_memory

_GROUPS = {
    "mlp": ["conditioned_mlp"],
    "visible surface, shaded values": ["visible_surface", "shaded_values"],
    "conv_block": ["conv_block"],
    "convolution": ["strided_convolution"],
    "norm_dense": ["norm_dense"],
    "skinning": ["bone_shares", "skin"],
    "landmarks": ["landmarks"],
    "lattice": ["cells_at_surface", "march_cells"],
}
"""Functions that are left out together."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", default="", help="rows of the table, separated by commas")
    args = parser.parse_args()
    keep_freed_memory()
    left_out = {name: names for name, names in _GROUPS.items() if set(names) <= set(registered())}
    left_out["none"] = registered()
    if args.only:
        left_out = {name: left_out[name] for name in args.only.split(",")}
    programs = _compile({"all": [], **left_out})
    seconds = _by_turns(programs, args.rounds)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {args.rounds} rounds")
    print(f"all kernels: median {1e3 * statistics.median(seconds['all']):.1f} ms")
    for name in left_out:
        ratios = [s / a for s, a in zip(seconds[name], seconds["all"], strict=True)]
        label = name if name == "none" else f"without {name}"
        print(f"{label:40s} {statistics.median(ratios):6.3f}")


def _compile(left_out: dict[str, list[str]]) -> dict[str, TrainingSteps]:
    """The default step, late in training, without some of the kernels."""
    config = horse.get_config()
    model = build_model(config, TOKENS)
    params = jax.jit(model.init_params)(jax.random.key(0))
    batch = random_batch(config, TOKENS)
    stage = fitting_stage(model, config.num_steps - 1, loss_counts(model, config, params, batch))
    programs = {}
    for name, names in tqdm(left_out.items(), desc="compiling", leave=False):
        with without_substitutes(*names) if names else contextlib.nullcontext():
            programs[name] = TrainingSteps(model, config, params, batch, stage)
    return programs


def _by_turns(programs: dict[str, TrainingSteps], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for round_number in range(rounds + 2):
        for name, steps in programs.items():
            start = time.perf_counter()
            steps()
            if round_number >= 2:  # two warm up
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
