"""What does each idea of the paper bring? Trains without it, at half length, and scores the rest.

    python experiments/ablations.py --out=runs/ablations
    python experiments/ablations.py --out=runs/seeds --only=full --seeds=0,1,2 --steps=11000

Every run is its own process and goes on where it stopped when the command is given again. Prints a
table in Markdown, of means over the held-out images and over seeds.
"""

import argparse
import functools
import json
import operator
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

_NEVER = 2.0  # share of a run at which something starts that never starts

ABLATIONS = {
    "full": {},
    "no feature loss": {"loss.feature": 0.0, "loss.score_feature_gain": 0.0},
    "a single hypothesis": {"model.hypotheses": "lookat"},
    "hypotheses drawn evenly": {"schedule.best_share": 0.0},
    "no articulation": {
        "schedule.articulation_from": _NEVER,
        "schedule.attach_legs_from": _NEVER,
    },
    "no deformation": {"schedule.deformation_from": _NEVER},
    "no symmetry": {
        f"model.{field}_mirror": False for field in ("sdf", "feature", "texture", "deformation")
    },
}

# Column of the table: where `pony_jax.evaluate --json` writes it.
_COLUMNS = {
    "mask IoU": ("mask_iou", "mean"),
    "PSNR overlap, dB": ("psnr_overlap_db", "mean"),
    "viewpoint, median degrees": ("truth", "viewpoint", "rotation_error_deg", "median"),
    "head/tail confused": ("truth", "viewpoint", "share_head_tail_confused", "mean"),
    "aligned Chamfer, %": ("truth", "shape", "aligned_chamfer_percent", "mean"),
    "PCK@0.1": ("truth", "keypoints", "pck_0.1", "mean", "mean"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--config", default="configs/horse.py")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--only", choices=ABLATIONS, action="append", help="may be repeated")
    args, overrides = parser.parse_known_args()
    _refuse_all_but_configuration(parser, overrides)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    common = [f"--config={args.config}", f"--config.num_steps={args.steps}", *overrides]
    table = {}
    for name in args.only or ABLATIONS:
        table[name] = [
            _scores(args.out / f"{name.replace(' ', '_')}_{seed}", name, seed, common)
            for seed in seeds
        ]
    print(format_table(table))


def _refuse_all_but_configuration(parser: argparse.ArgumentParser, overrides: list[str]) -> None:
    for argument in overrides:
        if not argument.startswith("--config."):
            parser.error(f"expected --config.key=value, got {argument!r}")


def _scores(workdir: Path, name: str, seed: int, common: list[str]) -> dict[str, float]:
    """Trains a run to its end if it is not there yet, and evaluates it."""
    scores = workdir / "scores_test.json"
    if not scores.exists():
        changes = {"seed": seed, **ABLATIONS[name]}
        flags = [f"--config.{key}={value}" for key, value in changes.items()]
        _run("pony_jax.train", f"--workdir={workdir}", *common, *flags)
        _run("pony_jax.evaluate", f"--workdir={workdir}", "--split=test", f"--json={scores}")
    return columns(json.loads(scores.read_text()))


def _run(module: str, *flags: str) -> None:
    print(f"$ python -m {module} {' '.join(flags)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", module, *flags], check=True, stdout=subprocess.DEVNULL)


def columns(scores: dict[str, Any]) -> dict[str, float]:
    """The columns of one run; those of the truth only where the data set knows it."""
    paths = {
        name: path for name, path in _COLUMNS.items() if path[0] != "truth" or "truth" in scores
    }
    return {name: functools.reduce(operator.getitem, path, scores) for name, path in paths.items()}


def format_table(table: dict[str, list[dict[str, float]]]) -> str:
    """Means over seeds, with their range where there are several."""
    names = list(next(iter(table.values()))[0])
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for ablation, runs in table.items():
        cells = []
        for name in names:
            values = [run[name] for run in runs]
            spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3g}{spread}")
        lines.append(f"| {ablation} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
