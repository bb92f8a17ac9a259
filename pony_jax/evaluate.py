"""Scores a run: python -m pony_jax.evaluate --workdir=DIR --split=test [--json=FILE].

Where the data set knows the truth, the JSON has a section `truth` (`pony_jax.evaluation.truth`).
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pony_jax import command_line
from pony_jax.data.pipeline import dataset_directory, evaluation_batches
from pony_jax.evaluation.panel import draw_panel
from pony_jax.evaluation.predictor import Predictor
from pony_jax.evaluation.protocol import evaluate_split
from pony_jax.evaluation.truth import format_table, load_comparison
from pony_jax.training.checkpoints import load_config
from pony_jax.training.datasets import load_named_split
from pony_jax.training.environment import prepare_process
from pony_jax.training.logs import say
from pony_jax.training.restored import restore_run

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_SPLIT = flags.DEFINE_string("split", "test", "Split of the run's data set.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data set is now, if it was moved.")
_JSON = flags.DEFINE_string("json", None, "File that the scores are written to as well.")
_REFINE_STEPS = flags.DEFINE_integer(
    "refine_steps", None, "Steps that refine each pose, if not the run's; 0 = the networks alone."
)
_HIDE = flags.DEFINE_bool("hide_photographs", False, "Panel with outlines, not photographs.")


def main(argv: Sequence[str]) -> None:
    """Prints the scores as JSON and writes a panel into the run's folder."""
    del argv
    workdir = Path(_WORKDIR.value).expanduser()
    config = load_config(workdir)
    prepare_process(config.compilation_cache_dir)
    run = restore_run(workdir)
    if _DATA_DIR.value:
        config.data.data_dir = _DATA_DIR.value
    split = load_named_split(config.data, _SPLIT.value, say)
    model = run.model
    if _REFINE_STEPS.value is not None:
        model = dataclasses.replace(model, refine_steps=_REFINE_STEPS.value)
    predictor = Predictor(model, run.capacities)
    directory = dataset_directory(config.data.name, Path(config.data.data_dir).expanduser())
    comparison = load_comparison(directory, _SPLIT.value, split, model.instance.skeleton)
    scores = {
        "split": _SPLIT.value,
        "num_updates": run.num_updates,
        "refine_steps": model.refine_steps,
        **evaluate_split(
            predictor,
            run.params,
            run.num_updates,
            split,
            config.data.batch_size,
            observe=comparison.add if comparison else None,
        ),
    }
    if comparison:
        scores["truth"] = comparison.scores()
        say(format_table(scores["truth"]))
    text = json.dumps(scores, indent=2)
    print(text)
    if _JSON.value:
        Path(_JSON.value).write_text(text + "\n")
    panel = draw_panel(
        predictor,
        run.params,
        run.num_updates,
        next(evaluation_batches(split, config.data.batch_size)),
        num_images=config.data.batch_size,
        num_body_bones=config.model.num_body_bones,
        hide_photographs=_HIDE.value,
    )
    panel.save(workdir / f"panel_{_SPLIT.value}.png")
    say(f"see {workdir / f'panel_{_SPLIT.value}.png'}")


if __name__ == "__main__":
    command_line.run(main)
