"""Prints what a layout of `pony_jax.extract` is, who made the data, and how to get and extract it.

python -m pony_jax.data.describe --layout=coco_animals
"""

from collections.abc import Sequence

from absl import flags

from pony_jax import command_line
from pony_jax.data.layouts import LAYOUTS, describe

_LAYOUT = flags.DEFINE_enum("layout", None, list(LAYOUTS), "Which; all, if none is given.")


def main(argv: Sequence[str]) -> None:
    """Prints one layout, or all."""
    del argv
    names = [_LAYOUT.value] if _LAYOUT.value else list(LAYOUTS)
    print("\n\n\n".join(map(describe, names)))


if __name__ == "__main__":
    command_line.run(main)
