"""Keeps two trainings out of one work folder, where each would overwrite the other's files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pony_jax.training.errors import RunError, user_files

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

_FILE = "training.lock"


@contextmanager
def only_training_in(workdir: Path) -> Iterator[None]:
    """Holds the work folder for this process; the system lets go of it however the process ends.

    Raises `RunError` if another training holds it. Where files cannot be locked, as on some network
    drives, nothing is held.
    """
    if fcntl is None:
        yield
        return
    path = workdir / _FILE
    with user_files("workdir: expected a folder that can be written", path):
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"workdir: expected a folder that no other training writes to, got {workdir}, "
                "where one is running; wait for its end or stop it, or choose another --workdir"
            ) from error
        except OSError:
            pass
        yield
