"""Scores a run: python -m pony_jax.evaluate --workdir=DIR --split=test [--json=FILE] [--html=FILE].

Prints the scores as JSON, and as a table among the messages. Into the run's folder it writes
`panel_SPLIT.png`, the first images, and `evaluation_SPLIT.html` (or FILE), one page with the
scores, how they spread, and the best, median and worst images; the page needs no other file.
`--hide_photographs` keeps photographs out of both, for data that may not be passed on.

Every image is predicted a second time, mirrored (section `mirror_consistency` of the JSON). Where
the data set knows the truth, there is a section `truth` (`pony_jax.evaluation.truth`).
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from pony_jax import command_line
from pony_jax.data.pipeline import dataset_directory, evaluation_batches
from pony_jax.evaluation import table
from pony_jax.evaluation.mirror_consistency import MirrorConsistency
from pony_jax.evaluation.page import PRIOR_VIEW_PX, Gallery, render_page
from pony_jax.evaluation.panel import draw_panel
from pony_jax.evaluation.predictor import Predictor
from pony_jax.evaluation.protocol import evaluate_split
from pony_jax.evaluation.truth import format_table, load_comparison
from pony_jax.model import Prediction
from pony_jax.training.checkpoints import load_config
from pony_jax.training.datasets import load_named_split
from pony_jax.training.environment import prepare_process
from pony_jax.training.logs import say
from pony_jax.training.restored import restore_run

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_SPLIT = flags.DEFINE_string("split", "test", "Split of the run's data set.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data set is now, if it was moved.")
_JSON = flags.DEFINE_string("json", None, "File that the scores are written to as well.")
_HTML = flags.DEFINE_string("html", None, "File of the page, if not in the run's folder.")
_REFINE_STEPS = flags.DEFINE_integer(
    "refine_steps", None, "Steps that refine each pose, if not the run's; 0 = the networks alone."
)
_HIDE = flags.DEFINE_bool("hide_photographs", False, "Outlines instead of photographs.")


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
    consistency = MirrorConsistency(model.instance.skeleton)
    gallery = Gallery(split.ids, config.model.num_body_bones, _HIDE.value)
    mirrored_batches = evaluation_batches(split, config.data.batch_size, mirrored=True)

    def observe(prediction: Prediction, batch: dict[str, Any]) -> None:
        mirrored = predictor.predict(run.params, next(mirrored_batches), run.num_updates)
        consistency.add(prediction, mirrored, batch["real"])
        gallery.add(prediction, batch)
        if comparison:
            comparison.add(prediction, batch)

    scores = {
        "split": _SPLIT.value,
        "num_updates": run.num_updates,
        "refine_steps": model.refine_steps,
        **evaluate_split(
            predictor, run.params, run.num_updates, split, config.data.batch_size, observe=observe
        ),
    }
    scores["mirror_consistency"] = consistency.scores()
    say(table.format_section("mirrored images against plain ones", scores["mirror_consistency"]))
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
    panel_file = workdir / f"panel_{_SPLIT.value}.png"
    panel.save(panel_file)
    page = render_page(
        f"{workdir.resolve().name}: {config.data.name}, {_SPLIT.value}",
        {
            "training steps": f"{run.num_updates:,}",
            "images": len(split),
            "image size": f"{split.image_size} px",
            "refinement steps": model.refine_steps,
        },
        scores,
        gallery,
        predictor.render_prior(run.params, run.num_updates, PRIOR_VIEW_PX),
        comparison.rotation_errors_deg() if comparison else None,
    )
    page_file = Path(_HTML.value) if _HTML.value else workdir / f"evaluation_{_SPLIT.value}.html"
    page_file.write_text(page, encoding="utf-8")
    say(f"see {panel_file} and {page_file}")


if __name__ == "__main__":
    command_line.run(main)
