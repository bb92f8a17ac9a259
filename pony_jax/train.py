"""Learns a category: python -m pony_jax.train --config=configs/horse.py --workdir=DIR."""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from pony_jax import command_line, path_flags
from pony_jax.training.loop import train

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Configuration file, with a variant after a colon; --config.key=value changes a value.",
)
flags.mark_flag_as_required("config")
_WORKDIR = path_flags.define_path(
    "workdir", None, "Folder of the run; a run that is there goes on.", required=True
)


def main(argv: Sequence[str]) -> None:
    """Trains with the configuration of the flags."""
    del argv
    train(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
    command_line.run(main)
