"""Packs a trained model into one file that can be handed on.

    python -m pony_jax.pack --workdir=runs/photos --out=horse.pony --name=horse

The file holds the configuration, the parameters, the projections, the name of the backbone and the
hash of its weights, and a model card: say with --data, --data_license and --license what the model
was learned from and who may use it. `pony_jax.load("horse.pony")` and
`python -m pony_jax.reconstruct --model=horse.pony` read it.
"""

import dataclasses
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from pony_jax import command_line, path_flags
from pony_jax.reconstruction.head_direction import HEAD_DIRECTIONS
from pony_jax.reconstruction.learned import ModelError
from pony_jax.reconstruction.model import Model
from pony_jax.reconstruction.model_card import make_card
from pony_jax.reconstruction.pony_file import PRECISIONS, SUFFIX, read_pony, write_pony
from pony_jax.reconstruction.run_folder import read_run
from pony_jax.training.errors import RunError

_WORKDIR = path_flags.define_path("workdir", None, "Folder of the run.", required=True)
_OUT = path_flags.define_path("out", None, f"File to write, NAME{SUFFIX}.", required=True)
_NAME = flags.DEFINE_string("name", None, "Name of the category; else that of the file.")
_PRECISION = flags.DEFINE_enum("precision", "float16", PRECISIONS, "Of the stored numbers.")
_HEAD = flags.DEFINE_enum(
    "head",
    "auto",
    HEAD_DIRECTIONS,
    "At which end of the learned shape the head is: training may put it at either. auto takes the "
    "end that rises higher. Whatever is made with the model has its head at +z.",
)
_DATA = flags.DEFINE_string("data", None, "What the model was learned from; else the data set.")
_DATA_LICENSE = flags.DEFINE_string("data_license", "", "Terms of the data.")
_LICENSE = flags.DEFINE_string("license", "", "Terms of the model.")
_NOTES = flags.DEFINE_string("notes", "", "What else people should know.")
_PUSH_TO = flags.DEFINE_string(
    "push_to_hub", None, "Also upload it to OWNER/NAME on the Hugging Face Hub (extra `hub`)."
)


def pack(
    workdir: Path, out: Path, name: str, precision: str, head: str = "auto", **card: str
) -> Model:
    """Writes the run in `workdir` to the file `out`, and loads it again to be sure.

    Args:
      head: one of `HEAD_DIRECTIONS`.
      card: `data`, `data_license`, `license` and `notes` of `model_card.make_card`.

    Raises:
      ModelError: if the run cannot be read, or does not read photographs.
      ValueError: if the numbers do not fit the precision.
    """
    learned = read_run(workdir)
    learned = dataclasses.replace(
        learned, name=name, config=_without_paths(learned.config), head=head
    )
    card["data"] = card.get("data") or learned.config.data.name
    filled = make_card(learned, commit=_commit(), **card)
    write_pony(dataclasses.replace(learned, card=filled), out, precision)
    return Model(read_pony(out))


def _without_paths(config: ConfigDict) -> ConfigDict:
    """The configuration without folders of the machine that trained it."""
    config = config.copy_and_resolve_references()
    config.unlock()
    config.data.data_dir = config.compilation_cache_dir = config.start.from_run = ""
    return config.lock()


def _commit() -> str:
    """Of the code that packs, where it lies in a checkout; else ''."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main(argv: Sequence[str]) -> None:
    """Packs, and prints the card."""
    del argv
    out = Path(_OUT.value)
    if out.suffix != SUFFIX:
        raise RunError(f"--out: expected a name that ends in {SUFFIX}, got {out.name!r}")
    try:
        model = pack(
            Path(_WORKDIR.value),
            out,
            _NAME.value or out.stem,
            _PRECISION.value,
            _HEAD.value,
            data=_DATA.value or "",
            data_license=_DATA_LICENSE.value,
            license=_LICENSE.value,
            notes=_NOTES.value,
        )
        print(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")
        for key, value in model.learned.card.items():
            print(f"  {key}: {value}")
        if _PUSH_TO.value:
            from pony_jax.reconstruction.hub import push_to_hub  # needs the extra `hub`

            with tempfile.TemporaryDirectory() as folder:
                print("uploaded:", push_to_hub(model.learned, _PUSH_TO.value, Path(folder)))
    except (ModelError, ValueError) as error:
        raise RunError(str(error)) from error


if __name__ == "__main__":
    command_line.run(main)
