"""How a run ends when something outside the code is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager


class RunError(RuntimeError):
    """A run cannot start or go on; the message is one line for the user, who needs no traceback."""


@contextmanager
def as_run_error(doing: str) -> Iterator[None]:
    """Turns a `ValueError` in its block, which wrong settings or data cause, into a `RunError`."""
    try:
        yield
    except ValueError as error:
        raise RunError(f"{doing}: {error}") from error
