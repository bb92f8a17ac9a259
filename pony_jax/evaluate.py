"""Scores a run: python -m pony_jax.evaluate --workdir=DIR --split=test [--json=FILE] [--html=FILE].

Prints the scores as JSON, and as a table among the messages. Into the run's folder it writes
`panel_SPLIT.png`, the first images, and `evaluation_SPLIT.html` (or FILE), one page with the
scores, how they spread, and the best, median and worst images; the page needs no other file.
`--hide_photographs` keeps photographs out of both, for data that may not be passed on.

Every image is predicted a second time, mirrored (section `mirror_consistency` of the JSON). Where
the data set knows the truth, there is a section `truth` (`pony_jax.evaluation.truth`); where people
have marked keypoints, `keypoints` (`pony_jax.evaluation.marked_keypoints`). What the
networks alone score, without refinement, stands beside in every table, and in the JSON under
`networks_alone`.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from pony_jax import command_line, path_flags
from pony_jax.data.keypoints import load_keypoints
from pony_jax.data.pipeline import evaluation_batches
from pony_jax.data.shards import dataset_directory
from pony_jax.evaluation import table
from pony_jax.evaluation.marked_keypoints import MarkedKeypoints
from pony_jax.evaluation.mirror_consistency import MirrorConsistency
from pony_jax.evaluation.page import PRIOR_VIEW_PX, Gallery, render_page
from pony_jax.evaluation.panel import draw_panel
from pony_jax.evaluation.predictor import Predictor
from pony_jax.evaluation.protocol import evaluate_split
from pony_jax.evaluation.truth import format_table, load_comparison
from pony_jax.model import Prediction
from pony_jax.training.config_rules import check_data
from pony_jax.training.datasets import load_named_split
from pony_jax.training.environment import prepare_process
from pony_jax.training.errors import RunError
from pony_jax.training.logs import say
from pony_jax.training.restored import Run, load_run_config, restore_run

_WORKDIR = path_flags.define_path("workdir", None, "Folder of the run.", required=True)
_SPLIT = flags.DEFINE_string("split", "test", "Split of the run's data set.")
_DATA_DIR = path_flags.define_path("data_dir", None, "Where the data set is now, if it was moved.")
_JSON = path_flags.define_path("json", None, "File that the scores are written to as well.")
_HTML = path_flags.define_path("html", None, "File of the page, if not in the run's folder.")
_REFINE_STEPS = flags.DEFINE_integer(
    "refine_steps",
    None,
    "Steps of refinement, if not the run's; 0 = the networks alone.",
    lower_bound=0,
)
_HIDE = flags.DEFINE_bool("hide_photographs", False, "Outlines instead of photographs.")


def main(argv: Sequence[str]) -> None:
    """Scores a run, prints and writes the scores, and draws panel and page."""
    del argv
    for name in filter(None, (_JSON.value, _HTML.value)):
        if not Path(name).parent.is_dir():
            raise RunError(f"expected a folder to write {name} into, found none; make it first")
    workdir = Path(_WORKDIR.value)
    prepare_process(load_run_config(workdir).compilation_cache_dir)
    evaluation = _Evaluation(_restore(workdir))
    scores = evaluation.score()
    text = json.dumps(scores, indent=2)
    print(text)
    if _JSON.value:
        Path(_JSON.value).write_text(text + "\n")
    panel_file = workdir / f"panel_{_SPLIT.value}.png"
    evaluation.draw_panel().save(panel_file)
    page_file = Path(_HTML.value) if _HTML.value else workdir / f"evaluation_{_SPLIT.value}.html"
    page_file.write_text(evaluation.render_page(workdir.resolve().name, scores), encoding="utf-8")
    say(f"see {panel_file} and {page_file}")


def _restore(workdir: Path) -> Run:
    """The run, with its data set and its number of refinement steps as the flags have them."""
    run = restore_run(workdir)
    if _DATA_DIR.value:
        run.config.data.data_dir = _DATA_DIR.value
    if _REFINE_STEPS.value and not run.config.model.silhouette_hidden:
        raise RunError(
            f"--refine_steps: expected 0 for a run without a silhouette head, got "
            f"{_REFINE_STEPS.value}; train one with model.silhouette_hidden"
        )
    if _REFINE_STEPS.value is not None:
        refinement = dataclasses.replace(run.model.refinement, steps=_REFINE_STEPS.value)
        run = run._replace(model=run.model.clone(refinement=refinement))
    return run


class _Evaluation:
    """A run and a split of its data set, and everything that looks at the predictions."""

    def __init__(self, run: Run):
        data, skeleton = run.config.data, run.model.instance.skeleton
        self._run = run
        self._split = split = load_named_split(data, _SPLIT.value, say)
        check_data(run.config, (split.token_grid, split.token_dim), split.feature_dim)
        if (split.token_grid, split.token_dim) != run.token_shape:
            raise RunError(
                f"data: expected tokens of side and channels {run.token_shape}, as the run was "
                f"trained with, found {(split.token_grid, split.token_dim)} in {data.name}; "
                "extract its features as those of the training data"
            )
        self._predictor = Predictor(run.model, run.capacities)
        self._alone = None
        if run.model.refinement.steps:
            without = dataclasses.replace(run.model.refinement, steps=0)
            self._alone = Predictor(run.model.clone(refinement=without), run.capacities)
        directory = dataset_directory(data.name, Path(os.path.expanduser(data.data_dir)))
        comparison = load_comparison(directory, _SPLIT.value, self._split, skeleton)
        stored = load_keypoints(directory, _SPLIT.value)
        self._scorers, self._scorers_alone = {}, {}  # by their sections
        if comparison:
            self._scorers["truth"] = comparison
            self._scorers_alone["truth"] = comparison.without_predictions()
        if stored:
            for scorers in (self._scorers, self._scorers_alone):
                scorers["keypoints"] = MarkedKeypoints(split, stored)
        self._consistency = MirrorConsistency(skeleton)
        self._gallery = Gallery(self._split.ids, skeleton.num_body_bones, _HIDE.value)

    def score(self) -> dict[str, Any]:
        """The scores as they are written; those of sections are shown as a table as well."""
        run, predictor, split = self._run, self._predictor, self._split
        batch_size = run.config.data.batch_size
        mirrored_batches = evaluation_batches(split, batch_size, mirrored=True)

        def observe(prediction: Prediction, batch: dict[str, np.ndarray]) -> None:
            mirrored = predictor.predict(run.params, next(mirrored_batches), run.num_updates)
            self._consistency.add(prediction, mirrored, batch["real"])
            self._gallery.add(prediction, batch)
            for scorer in self._scorers.values():
                scorer.add(prediction, batch)

        scores = {
            "split": _SPLIT.value,
            "num_updates": run.num_updates,
            "refine_steps": run.model.refinement.steps,
            **evaluate_split(
                predictor, run.params, run.num_updates, split, batch_size, observe=observe
            ),
        }
        consistency = scores["mirror_consistency"] = self._consistency.scores()
        say(table.format_section("mirrored images against plain ones", consistency))
        scores |= {section: scorer.scores() for section, scorer in self._scorers.items()}
        alone = {}
        if self._alone:
            alone = scores["networks_alone"] = self._score_alone(self._alone)
        images = table.image_section(alone) if alone else None
        say(table.format_section("images", table.image_section(scores), images))
        if "truth" in scores:
            say(format_table(scores["truth"], alone.get("truth")))
        if "keypoints" in scores:
            means = table.keypoint_means(scores["keypoints"])
            beside = table.keypoint_means(alone["keypoints"]) if alone else None
            say(table.format_section("marked keypoints, by transfer", means, beside))
        return scores

    def _score_alone(self, predictor: Predictor) -> dict[str, Any]:
        """The scores of the images and against the truth without refinement."""
        run, scorers = self._run, self._scorers_alone

        def observe(prediction: Prediction, batch: dict[str, np.ndarray]) -> None:
            for scorer in scorers.values():
                scorer.add(prediction, batch)

        scores = evaluate_split(
            predictor,
            run.params,
            run.num_updates,
            self._split,
            run.config.data.batch_size,
            observe=observe,
        )
        return scores | {section: scorer.scores() for section, scorer in scorers.items()}

    def draw_panel(self) -> Image.Image:
        """The first images of the split."""
        run, batch_size = self._run, self._run.config.data.batch_size
        return draw_panel(
            self._predictor,
            run.params,
            run.num_updates,
            next(evaluation_batches(self._split, batch_size)),
            num_images=batch_size,
            num_body_bones=run.config.model.num_body_bones,
            hide_photographs=_HIDE.value,
        )

    def render_page(self, run_name: str, scores: dict[str, Any]) -> str:
        """The page of what `score` has seen."""
        run, split, truth = self._run, self._split, self._scorers.get("truth")
        return render_page(
            f"{run_name}: {run.config.data.name}, {_SPLIT.value}",
            {
                "training steps": f"{run.num_updates:,}",
                "images": len(split),
                "image size": f"{split.image_size} px",
                "refinement steps": run.model.refinement.steps,
            },
            scores,
            self._gallery,
            self._predictor.render_prior(run.params, run.num_updates, PRIOR_VIEW_PX),
            truth.rotation_errors_deg() if truth else None,
        )


if __name__ == "__main__":
    command_line.run(main)
