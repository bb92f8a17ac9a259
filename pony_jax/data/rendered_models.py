"""Models of animals by what a command line calls them, as something that makes examples."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pony_jax.data.rigged.examples import make_examples, shared_arrays
from pony_jax.data.rigged.model import RiggedModel, read_rigged_model
from pony_jax.data.rigged.poses import count_poses
from pony_jax.data.rigged.scene import make_renderer
from pony_jax.data.rigged.template import make_template
from pony_jax.data.synthetic.anatomy import SPECIES
from pony_jax.data.synthetic.template import load_template
from pony_jax.data.synthetic_quadruped import SyntheticQuadrupedConfig, anatomy_arrays
from pony_jax.data.synthetic_quadruped import make_examples as make_synthetic_examples
from pony_jax.errors import UserError

SYNTHETIC = "synthetic/"
"""How the names of the synthetic animals begin; then comes a species."""

Examples = Callable[[str, int], Iterator[dict[str, Any]]]
"""Makes the first so many examples of a split."""


def open_models(
    models: Sequence[str],
    *,
    image_size: int,
    seed: int,
    forward: str = "+z",
    clips: Sequence[str] = (),
    say: Callable[[str], None],
) -> tuple[dict[str, np.ndarray], Examples]:
    """What all examples share, and the function that makes them.

    Args:
      models: paths of glTF files, or one of `SYNTHETIC` and a species.
      image_size: side of a picture, pixels.
      seed: another one gives other pictures.
      forward: where the animals' heads point in the files, out of `template.FORWARD`.
      clips: the animations of the files that poses are taken from; none for all.
      say: is told how many upright poses each animation has.

    Raises:
      UserError: for an unknown species, one beside other models, or a file that is no rigged,
        animated glTF.
      OSError: for a file that cannot be read.
    """
    synthetic = [name for name in models if name.startswith(SYNTHETIC)]
    if synthetic:
        if len(models) > 1:
            raise UserError(
                f"--model: expected {synthetic[0]} alone, got {len(models)} models; make a data "
                "set of each"
            )
        if clips:
            raise UserError(f"expected --clips with glTF files only, got it with {synthetic[0]}")
        return _open_species(synthetic[0].removeprefix(SYNTHETIC), image_size, seed)
    opened = [_with_clips(read_rigged_model(os.path.expanduser(name)), clips) for name in models]
    templates = [make_template(model, forward) for model in opened]
    renderers = [make_renderer(template, image_size) for template in templates]
    for template in templates:
        counts = count_poses(template.poses)
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        say(f"{template.name}: upright poses of each animation: {said}")

    def examples(split: str, count: int) -> Iterator[dict[str, Any]]:
        return make_examples(templates, renderers, seed=seed, split=split, count=count)

    return shared_arrays(templates), examples


def _with_clips(model: RiggedModel, clips: Sequence[str]) -> RiggedModel:
    missing = [name for name in clips if name not in model.clips]
    if missing:
        raise UserError(
            f"--clips: expected animations of {model.name} out of {', '.join(model.clips)}, got "
            f"{missing[0]!r}"
        )
    return model._replace(clips={n: m for n, m in model.clips.items() if not clips or n in clips})


def _open_species(
    species: str, image_size: int, seed: int
) -> tuple[dict[str, np.ndarray], Examples]:
    if species not in SPECIES:
        raise UserError(
            f"--model: expected {SYNTHETIC}SPECIES with one out of {', '.join(SPECIES)}, got "
            f"{species!r}"
        )
    try:
        config = SyntheticQuadrupedConfig(name="rendered", species=species, image_size=image_size)
    except ValueError as error:
        raise UserError(f"--image_size: {error}") from error

    def examples(split: str, count: int) -> Iterator[dict[str, Any]]:
        for index, example in make_synthetic_examples(config, split, count, seed):
            yield example | {"id": f"{split}_{index:05d}"}

    return anatomy_arrays(load_template(species)), examples
