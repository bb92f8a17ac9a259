"""Renders pictures of rigged animals, with masks and the truth about them.

    python -m pony_jax.data.render_rigged --model=Donkey.glb --out=DIR
    python -m pony_jax.data.render_rigged --model=synthetic/horse --out=DIR
    python -m pony_jax.extract --layout=rendered --images=DIR --dataset=donkey --data_dir=data

A model is a glTF file with a skin and animations (y up, the head towards +z), or `synthetic/` and a
species of `pony_jax.data.synthetic_quadruped`. Poses come from its animations, each as often, at
random times, as long as the animal is upright. The viewpoint is anywhere around it, -5 to 25
degrees up, low more often; individuals differ in the length and girth of limbs, trunk and neck, and
in their coats; light and background vary. Several models take turns. The same flags give the same
files; pictures of one number and seed have the same background and viewpoint whatever the model.

`pony_jax.data.rendered_folder` says what is written, `pony_jax.data.rigged.examples` what is true
of each picture. The truth never reaches training.
"""

import itertools
import time
from collections.abc import Sequence

from absl import flags
from tqdm import tqdm

from pony_jax import command_line, path_flags
from pony_jax.data import rendered_folder
from pony_jax.data.rendered_models import SYNTHETIC, open_models
from pony_jax.data.rigged.examples import SPLITS
from pony_jax.data.rigged.template import FORWARD
from pony_jax.data.synthetic.anatomy import SPECIES
from pony_jax.errors import UserError

_MIN_SIZE, _MAX_SIZE = 32, 1024

_MODELS = flags.DEFINE_multi_string(
    "model",
    None,
    f"A .glb or .gltf file, or {SYNTHETIC}SPECIES with a species out of {', '.join(SPECIES)}; "
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
_CLIPS = flags.DEFINE_list(
    "clips", [], "Animations that poses are taken from, such as Walk,Gallop; if not all."
)


def main(argv: Sequence[str]) -> None:
    """Renders as the flags say, and prints where to."""
    del argv
    start_s = time.monotonic()
    rendered_folder.check_free(_OUT.value)
    counts = {"train": _NUM_TRAIN.value, "test": _NUM_TEST.value}
    if not sum(counts.values()):
        raise UserError("expected pictures to render, got --num_train=0 --num_test=0")
    shared, examples = open_models(
        _MODELS.value,
        image_size=_IMAGE_SIZE.value,
        seed=_SEED.value,
        forward=_FORWARD.value,
        clips=_CLIPS.value,
        say=print,
    )
    all_examples = itertools.chain(*(examples(split, counts[split]) for split in SPLITS))
    progress = tqdm(all_examples, desc="render", total=sum(counts.values()), unit="picture")
    number = rendered_folder.write_examples(_OUT.value, shared, progress)
    took_s = time.monotonic() - start_s
    print(
        f"wrote {_OUT.value}: {number} pictures in {took_s:.0f} s ({number / took_s:.1f} a second)"
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "out"])
    command_line.run(main)
