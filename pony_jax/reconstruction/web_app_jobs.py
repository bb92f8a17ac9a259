"""The web app's queue: one photograph after the other, a few waiting, a few results kept.

Everything is kept in memory. Only while a job runs is there a folder, which the system's temporary
ones hold and which is removed with all that is in it.
"""

import dataclasses
import io
import re
import secrets
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging
from PIL import Image

from pony_jax.data import picture_files
from pony_jax.errors import UserError
from pony_jax.reconstruction import files
from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.motion import make_clips

Reconstruct = Callable[[Path, str], Animal]
"""An animal from a picture's file and its name, as `Model.reconstruct`."""

_KEPT_RESULTS = 8
_FORMATS = (".glb", ".html", ".bvh", ".obj", ".ply")
_SHARE_OF_RECONSTRUCTION = 0.6  # of a job's time, for the progress bar


class BusyError(UserError):
    """Too many photographs wait already."""


@dataclasses.dataclass(eq=False)
class Job:
    """A photograph on its way to an animal.

    Attributes:
      id: that nobody can guess, since it is what opens the result.
      name: of the animal: letters, digits, `-` and `_` only.
      picture: what was uploaded.
      state: `waiting`, `working`, `done` or `failed`.
      stage: what is being done, or what went wrong, in words.
      progress: 0..1.
      files: what was made, by name; `NAME.html` is the page.
      notes: what could not be made, a line each.
    """

    id: str
    name: str
    picture: bytes
    state: str = "waiting"
    stage: str = "waiting"
    progress: float = 0.0
    started_s: float | None = None
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed")


class Jobs:
    """The queue and the thread that works it off.

    Args:
      reconstruct: makes an animal; is called by one thread only.
      max_waiting: photographs that may wait while one is worked on.
      max_pixels: of a photograph.
    """

    def __init__(self, reconstruct: Reconstruct, max_waiting: int, max_pixels: int) -> None:
        self._reconstruct = reconstruct
        self._max_waiting = max_waiting
        self._max_pixels = max_pixels
        self._jobs: dict[str, Job] = {}  # oldest first
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="reconstruction").start()

    def add(self, picture: bytes, file_name: str) -> Job:
        """Queues a photograph. Raises `BusyError` if too many wait."""
        job = Job(secrets.token_urlsafe(16), safe_name(file_name), picture)
        with self._changed:
            self.check_room()
            self._jobs[job.id] = job
            over = [each.id for each in self._jobs.values() if each.is_over]
            for old in over[: max(0, len(over) - _KEPT_RESULTS)]:
                del self._jobs[old]
            self._changed.notify_all()
        return job

    def check_room(self) -> None:
        """Raises `BusyError` if too many photographs wait."""
        with self._changed:
            waiting = sum(job.state == "waiting" for job in self._jobs.values())
        if waiting >= self._max_waiting:
            raise BusyError(f"{waiting} photographs wait already; please try again in a minute")

    def find(self, id: str) -> Job | None:
        """The job of that id, unless it has been forgotten."""
        with self._changed:
            return self._jobs.get(id)

    def num_ahead(self, job: Job) -> int:
        """How many photographs come before a waiting one."""
        with self._changed:
            unfinished = [each.id for each in self._jobs.values() if not each.is_over]
        return unfinished.index(job.id) if job.id in unfinished else 0

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (job := self._next()):
                    self._changed.wait()
                job.state, job.stage, job.started_s = "working", "starting", time.monotonic()
            try:
                job.files = self._make(job)
                job.stage, job.progress, job.state = "done", 1.0, "done"
            except (UserError, OSError) as error:
                job.stage, job.state = " ".join(str(error).split()), "failed"
            except Exception:  # a fault of this project must not end the queue
                logging.exception("%s", job.name)
                job.stage = "this program has a fault; the terminal that it runs in says more"
                job.state = "failed"
            job.picture = b""

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "waiting"), None)

    def _make(self, job: Job) -> dict[str, bytes]:
        """All files of an animal."""
        with tempfile.TemporaryDirectory(prefix="pony_jax_") as folder:
            job.stage = "finding the animal, its shape and its pose"
            picture = Path(folder) / job.name
            picture.write_bytes(job.picture)
            try:
                self._check_pixels(picture)
                animal = self._reconstruct(picture, job.name)
            except UserError as error:  # the folder is nobody's business
                raise UserError(str(error).replace(str(picture), job.name)) from error
            job.progress = _SHARE_OF_RECONSTRUCTION
            _report(job, "motions", 0.2)
            clips, missing = make_clips(animal)
            job.notes += [f"without {name}: {reason}" for name, reason in missing.items()]
            _report(job, "writing the files", 0.05)
            return write_files(animal, clips, Path(folder))

    def _check_pixels(self, picture: Path) -> None:
        """Looks at the file's head alone: what is too large must not be decoded."""
        try:
            with Image.open(picture, formats=picture_files.FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError as error:
            raise UserError(f"the picture is too large: {error}") from error
        except Exception:  # whatever it is, `open_photograph` says what is wrong with it
            return
        if width * height > self._max_pixels:
            raise UserError(
                f"expected at most {self._max_pixels / 1e6:.0f} million pixels, got "
                f"{width} x {height}; make the picture smaller"
            )


def safe_name(file_name: str) -> str:
    """A name for files out of what a browser says a file is called."""
    base = re.split(r"[/\\]", file_name)[-1]
    stem = base.rpartition(".")[0] or base
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:40].strip("_") or "picture"


def write_files(animal: Animal, clips: Sequence[Clip], folder: Path) -> dict[str, bytes]:
    """The page, the `.glb`, and a `.zip` of these with all other formats; by name."""
    paths = files.export_all(animal, folder, _FORMATS, clips)
    contents = {path.name: path.read_bytes() for path in paths}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in contents.items():
            zipped.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    offered = {f"{animal.name}{suffix}" for suffix in (".html", ".glb")}
    shown = {name: data for name, data in contents.items() if name in offered}
    return shown | {f"{animal.name}.zip": archive.getvalue()}


def _report(job: Job, stage: str, share: float) -> None:
    job.stage, job.progress = stage, min(0.95, job.progress + share)
