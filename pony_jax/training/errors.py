"""How a run ends when something outside the code is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pony_jax.errors import UserError


class RunError(UserError, RuntimeError):
    """A run cannot start or go on; the message is one line for the user, who needs no traceback."""


class SettingError(UserError, ValueError):
    """A value of the configuration that cannot be used; the message names its key."""


@contextmanager
def user_files(expected: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` in its block into a `RunError` that names the file and what to do.

    Only for blocks that do nothing but read or write files of the user.

    Args:
      expected: what has to be there, such as "workdir: expected a folder that can be written".
      path: the file or folder, if the error does not name one itself.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{expected}, got {error.filename or path} ({error.strerror or error}); choose another "
            "or make room"
        ) from error
