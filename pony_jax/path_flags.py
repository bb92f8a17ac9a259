"""Flags whose values are paths: "~" is the home folder, which shells leave alone after "="."""

import os
from typing import Any

from absl import flags

flags.disclaim_key_flags()  # so that --help lists a flag with those of the module that defines it


class _PathParser(flags.ArgumentParser):
    """Returns text, as string flags do."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        if not argument or "\0" in argument:
            raise ValueError(f"expected a path, got {argument!r}")
        return os.path.expanduser(argument)

    def flag_type(self) -> str:
        return "path"


def define_path(
    name: str, default: str | None, help: str, *, required: bool = False, **options: Any
) -> flags.FlagHolder[str | None]:
    """Defines a flag like `absl.flags.DEFINE_string`, for a path of a file or folder.

    Its value is text with the home folder written out. An empty one, as `--data_dir=$UNSET` gives,
    is refused, since it would mean the present folder.
    """
    serializer = flags.ArgumentSerializer()
    return flags.DEFINE(
        _PathParser(), name, default, help, serializer=serializer, required=required, **options
    )
