"""Renders pictures of rigged animals, with masks and the truth about them.

    python -m pony_jax.data.render_rigged --model=Donkey.glb --out=DIR
    python -m pony_jax.data.render_rigged --model=synthetic/horse --out=DIR
    python -m pony_jax.extract --layout=rendered --images=DIR --dataset=donkey --data_dir=data

A model is a glTF file with a skin and animations (y up, the head towards +z), or `synthetic/` and a
species of `pony_jax.data.synthetic_quadruped`. Poses come from its animations, upright ones, at
random times; the viewpoint is anywhere around it, -5 to 25 degrees up, low more often; individuals
differ in the length and girth of limbs, trunk and neck, and in their coats; light and background
vary. Several models take turns. The same flags give the same files.

`pony_jax.data.rendered_folder` says what is written; `pony_jax.data.rigged.examples`, what the truth
is. It never reaches training.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from pony_jax import command_line, path_flags
from pony_jax.data import rendered_folder
from pony_jax.data.rigged.examples import SPLITS, make_examples, shared_arrays
from pony_jax.data.rigged.model import read_rigged_model
from pony_jax.data.rigged.poses import count_poses
from pony_jax.data.rigged.template import FORWARD, make_template
from pony_jax.data.synthetic.anatomy import SPECIES
from pony_jax.data.synthetic.template import load_template
from pony_jax.data.synthetic_quadruped import (
    SyntheticQuadrupedConfig,
    anatomy_arrays,
)
from pony_jax.data.synthetic_quadruped import make_examples as make_synthetic_examples
from pony_jax.errors import UserError

_SYNTHETIC = "synthetic/"
_MIN_SIZE, _MAX_SIZE = 32, 1024

_MODELS = flags.DEFINE_multi_string(
    "model",
    None,
    f"A .glb or .gltf file, or {_SYNTHETIC}SPECIES with a species out of {', '.join(SPECIES)}; "
    "repeat it for several files.",
)
_OUT = path_flags.define_path("out", None, "Folder to write to, empty or not there yet.")
_NUM_TRAIN = flags.DEFINE_integer("num_train", 1200, "Pictures to learn from.", 0)
_NUM_TEST = flags.DEFINE_integer("num_test", 200, "Pictures to score on.", 0)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 256, "Side of a picture, pixels.", _MIN_SIZE, _MAX_SIZE
)
_SEED = flags.DEFINE_integer("seed", 0, "Another number gives other pictures.", 0)
_FORWARD = flags.DEFINE_enum(
    "forward", "+z", list(FORWARD), "Where the animal's head points in the files; y is up."
)

Examples = Callable[[str, int], Iterator[dict[str, Any]]]
"""Makes the first so many examples of a split."""


def main(argv: Sequence[str]) -> None:
    """Renders as the flags say, and prints where to."""
    del argv
    start_s = time.monotonic()
    rendered_folder.check_free(_OUT.value)
    counts = {"train": _NUM_TRAIN.value, "test": _NUM_TEST.value}
    if not sum(counts.values()):
        raise UserError("expected pictures to render, got --num_train=0 --num_test=0")
    shared, examples = open_models(
        _MODELS.value, image_size=_IMAGE_SIZE.value, seed=_SEED.value, forward=_FORWARD.value
    )
    all_examples = itertools.chain(*(examples(split, counts[split]) for split in SPLITS))
    progress = tqdm(all_examples, desc="render", total=sum(counts.values()), unit="picture")
    number = rendered_folder.write_examples(_OUT.value, shared, progress)
    took_s = time.monotonic() - start_s
    print(f"wrote {_OUT.value}: {number} pictures in {took_s:.0f} s ({number / took_s:.1f} a second)")


def open_models(
    models: Sequence[str], *, image_size: int, seed: int, forward: str = "+z"
) -> tuple[dict[str, np.ndarray], Examples]:
    """What all examples share, and the function that makes them.

    Raises:
      UserError: for an unknown species, one beside other models, or a file that is no rigged,
        animated glTF.
      OSError: for a file that cannot be read.
    """
    synthetic = [name for name in models if name.startswith(_SYNTHETIC)]
    if synthetic:
        if len(models) > 1:
            raise UserError(
                f"--model: expected {synthetic[0]} alone, got {len(models)} models; make a data "
                "set of each"
            )
        return _open_species(synthetic[0].removeprefix(_SYNTHETIC), image_size, seed)
    templates = [make_template(read_rigged_model(name), forward) for name in models]
    for template in templates:
        counts = count_poses(template.poses)
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"{template.name}: upright poses of each animation: {said}")

    def examples(split: str, count: int) -> Iterator[dict[str, Any]]:
        return make_examples(
            templates, image_size=image_size, seed=seed, split=split, count=count
        )

    return shared_arrays(templates), examples


def _open_species(
    species: str, image_size: int, seed: int
) -> tuple[dict[str, np.ndarray], Examples]:
    if species not in SPECIES:
        raise UserError(
            f"--model: expected {_SYNTHETIC}SPECIES with one out of {', '.join(SPECIES)}, got "
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


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "out"])
    command_line.run(main)
