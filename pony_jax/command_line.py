"""The frame of every command line: a wrong flag or a failed run ends in one clear line.

Only what the person at the command line can put right becomes a line: a `UserError`, an error of
the operating system for one of their files, a lack of memory. Everything else is a fault of this
project and keeps its traceback. `--debug`, or PONY_JAX_DEBUG=1, shows the traceback of those as
well.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict

from pony_jax.errors import UserError
from pony_jax.training.environment import keep_freed_memory

flags.DEFINE_bool("debug", False, "Tracebacks of mistakes as well; so does PONY_JAX_DEBUG=1.")

# The system's reasons that are never this project's fault.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG}

_ENVIRONMENT = ("JAX_", "PONY_JAX_", "RASTERIZER_FFI_")
"""How the variables begin whose values JAX, the kernels and the rasteriser read on their import."""

_KEEP_FREED_MEMORY = flags.DEFINE_bool(
    "keep_freed_memory",
    True,
    "Ask glibc to keep freed memory for the next step instead of returning it to the system.",
)


def run(main: Callable[[Sequence[str]], None], *, takes_arguments: bool = False) -> None:
    """`absl.app.run` without usage texts and tracebacks where the user can put things right.

    Args:
      takes_arguments: whether there may be arguments that are no flags.
    """

    def guarded(argv: Sequence[str]) -> None:
        if _KEEP_FREED_MEMORY.value:
            keep_freed_memory()
        try:
            if len(argv) > 1 and not takes_arguments:
                raise UserError(
                    f"expected flags only, got {' '.join(argv[1:])!r}; write --name=value"
                )
            main(argv)
        except KeyboardInterrupt:
            if _is_debugging(sys.argv):
                raise
            sys.exit(128 + 2)  # as a shell reports a program that Ctrl-C has ended
        except Exception as error:
            line = explain(error, _paths_of_flags())
            if line is None or _is_debugging(sys.argv):
                raise
            _stop(line)

    app.run(guarded, flags_parser=_parse_flags)


def explain(error: Exception, user_paths: Sequence[Path]) -> str | None:
    """The line for an error that the user can put right; None for a fault of this project.

    Args:
      user_paths: files and folders that the user has named.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and _is_of_user(error, user_paths):
        return f"{error}; check that the path exists, can be read and written, and has room"
    if isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):
        return (
            f"not enough memory ({error}); make data.batch_size, data.image_size or the model's "
            "sizes smaller, or use a machine with more"
        )
    return None


def _is_of_user(error: OSError, user_paths: Sequence[Path]) -> bool:
    """Whether an error is about the user's disk, or a file that is or lies in what they named."""
    if error.errno in _DISK_ERRORS:
        return True
    for name in (error.filename, error.filename2):
        if isinstance(name, str | bytes | os.PathLike):
            path = Path(os.path.abspath(os.fsdecode(name)))
            if any(path.is_relative_to(mine) or mine.is_relative_to(path) for mine in user_paths):
                return True
    return False


def _paths_of_flags() -> list[Path]:
    """Every text among the values of flags, configurations included, as a path."""
    names = flags.FLAGS.flag_values_dict().values()
    paths = {Path(os.path.abspath(Path(text).expanduser())) for text in _texts(names)}
    return sorted(path for path in paths if path != Path(path.anchor))


def _texts(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) or hasattr(value, "to_dict"):
            yield from _texts(value.values())
        elif isinstance(value, list | tuple):
            yield from _texts(value)
        elif isinstance(value, str) and value and "\0" not in value:
            yield value


def _is_debugging(argv: Sequence[str]) -> bool:
    """Also before the flags are parsed, which may be what fails."""
    said = any(re.fullmatch("--?debug(=(true|t|1))?", argument) for argument in argv)
    return said or os.environ.get("PONY_JAX_DEBUG", "0") not in ("", "0", "false")


def _parse_flags(argv: Sequence[str]) -> list[str]:
    argv = _with_packaged_configs(argv)
    is_read_here = "config" in flags.FLAGS and flags.FLAGS["config"].flag_type() == "config object"
    names = _config_files(argv) if is_read_here else []  # the converter takes other files as well
    config_files = [Path(name.partition(":")[0]) for name in names]
    try:
        for file in config_files:
            _check_config_file(file)
            make_importable(file)
        positional = flags.FLAGS(argv)
        if config_files:
            _check_config(flags.FLAGS["config"].value, config_files[-1])
        if flags.FLAGS["verbosity"].using_default_value:
            flags.FLAGS.verbosity = logging.WARNING  # libraries tell much at INFO
        return positional
    except Exception as error:  # a configuration file is the user's own code, and may raise any
        if _is_debugging(argv):
            raise
        _stop(_describe(error, config_files))


def _with_packaged_configs(argv: Sequence[str]) -> list[str]:
    """`configs/horse.py` is the one that was installed, where there is none in this folder."""
    names = set(_config_files(argv))
    found = {}
    for name in names:
        installed = Path(__file__).parent / name.partition(":")[0]
        if not Path(name.partition(":")[0]).is_file() and installed.is_file():
            found[name] = str(Path(__file__).parent / name)
    return [
        next(
            (
                argument.removesuffix(name) + file
                for name, file in found.items()
                if argument in (name, f"--config={name}", f"-config={name}")
            ),
            argument,
        )
        for argument in argv
    ]


def make_importable(config_file: Path) -> None:
    """Lets the files of a folder `configs` import each other, wherever that folder lies."""
    folder = config_file.absolute().parent
    if folder.name == "configs" and str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))


def _config_files(argv: Sequence[str]) -> Iterator[str]:
    """The values of --config, as --config=FILE or --config FILE."""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            yield value if equals else following


def _check_config_file(path: Path) -> None:
    if not path.is_file():
        folders = (Path(), Path(__file__).parent)
        files = next(filter(None, ([*f.glob("configs/[!_]*.py")] for f in folders)), [])
        known = ", ".join(sorted(map(str, files)))
        raise UserError(
            f"--config: expected a configuration file, found none at {path}"
            + (f"; there are {known}" if known else "")
        )
    if path.suffix != ".py":
        raise UserError(f"--config: expected a configuration file (.py), got {path}")


def _check_config(config: Any, path: Path) -> None:
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config: expected a ConfigDict from get_config() in {path}, got "
            f"{type(config).__name__}; see configs/horse.py"
        )


def _describe(error: BaseException, config_files: Sequence[Path]) -> str:
    """What went wrong at the bottom of a chain of errors, as one line."""
    outer = str(error)
    if isinstance(error, AttributeError) and "Did you mean" in outer:  # of a locked configuration
        hint = re.search(r"Did you mean .*\?", outer)
        key = re.search(r"\w+", outer)
        return (
            f"unknown configuration key {key[0] if key else outer!r}; "
            + (f"{hint[0].lower()}; " if hint else "")
            + "configs/base.py lists every key"
        )
    flag = re.match(r"flag (--[^:=]+(:\w*)?)", outer)
    while error.__context__ is not None:
        error = error.__context__
    message = str(error)
    if isinstance(error, KeyError) and config_files and not _line_of(error, config_files):
        return f"unknown configuration key {message}; configs/base.py lists every key"
    if not isinstance(error, UserError | flags.Error | ValueError):
        place = _line_of(error, config_files)
        message = f"{type(error).__name__}: {message}{place}"
    of_config = bool(config_files) and not isinstance(error, flags.Error)
    name = flag[1] if flag else "--config" if of_config else ""
    return message if not name or name in message else f"{name}: {message}"


def _line_of(error: BaseException, files: Sequence[Path]) -> str:
    """The line of the user's file that an error comes from."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(Path(frame.filename).resolve() == file.resolve() for file in files):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""


def _stop(message: str) -> NoReturn:
    sys.exit(f"error: {' '.join(message.split())}")


def explain_import(error: BaseException) -> str | None:
    """The line for a variable of the environment that has no such value; None for other errors."""
    if not isinstance(error, ValueError):
        return None
    said = str(error).lower()
    for name, value in os.environ.items():
        if name.startswith(_ENVIRONMENT) and name.lower() in said:
            return f"{error}; the environment has {name}={value}: correct or unset it"
    return None


def _show_import_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    line = explain_import(error)
    if line is None or _is_debugging(sys.argv):
        sys.__excepthook__(kind, error, trace)
    else:
        print("error:", " ".join(line.split()), file=sys.stderr)


# What a program imports next reads these variables, before `run` is there to catch an error.
_main_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _main_spec is not None and _main_spec.name.startswith("pony_jax."):
    sys.excepthook = _show_import_error
