"""The frame of every command line: a wrong flag or a failed run ends in one clear line."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from pony_jax.training.environment import keep_freed_memory
from pony_jax.training.errors import RunError

_KEEP_FREED_MEMORY = flags.DEFINE_bool(
    "keep_freed_memory",
    True,
    "Ask glibc to keep freed memory for the next step instead of returning it to the system.",
)


def run(main: Callable[[Sequence[str]], None]) -> None:
    """`absl.app.run` without usage texts and tracebacks where the user can put things right."""

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            _stop(f"expected flags only, got {' '.join(argv[1:])!r}; write --name=value")
        if _KEEP_FREED_MEMORY.value:
            keep_freed_memory()
        try:
            main(argv)
        except RunError as error:
            _stop(str(error))
        except OSError as error:
            _stop(f"{error}; check that the path exists, can be written and has room")

    app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    for argument in argv:
        if argument.startswith("--config="):
            _check_config_file(Path(argument.removeprefix("--config=").partition(":")[0]))
    try:
        positional = flags.FLAGS(argv)
        if flags.FLAGS["verbosity"].using_default_value:
            flags.FLAGS.verbosity = logging.WARNING  # libraries tell much at INFO
        return positional
    except (flags.Error, AttributeError, OSError, TypeError, ValueError) as error:
        _stop(_describe(error))


def _check_config_file(path: Path) -> None:
    if not path.is_file():
        known = ", ".join(sorted(str(file) for file in Path("configs").glob("[!_]*.py")))
        _stop(f"--config: expected a configuration file, found none at {path}; there are {known}")


def _describe(error: BaseException) -> str:
    """What went wrong at the bottom of a chain of errors, as one line."""
    outer = str(error)
    if isinstance(error, AttributeError):  # of a locked configuration
        hint = re.search(r"Did you mean .*\?", outer)
        key = re.search(r"\w+", outer)
        return (
            f"unknown configuration key {key[0] if key else outer!r}; "
            + (f"{hint[0].lower()}; " if hint else "")
            + "configs/base.py lists every key"
        )
    while error.__context__ is not None:
        error = error.__context__
    message = re.sub(r"\s+", " ", str(error))
    flag = re.match(r"flag (--[^:=]+(:\w*)?)", outer)
    return f"{flag[0]}: {message}" if flag and flag[1] not in message else message


def _stop(message: str) -> NoReturn:
    sys.exit(f"error: {message}")
