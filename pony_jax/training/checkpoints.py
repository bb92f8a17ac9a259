"""What a work folder keeps of a run: its configuration and its last states."""

import errno
import itertools
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict

from pony_jax.model import Capacities
from pony_jax.model.older_configs import complete_config
from pony_jax.training.errors import RunError, user_files
from pony_jax.training.logs import say
from pony_jax.training.manifest import find_damage, has_manifest, write_manifest
from pony_jax.training.step import TrainState

BACKBONE_FILE = "backbone.npz"
"""In the folder of a converted run: parameters of its backbone, a `modules.vit.ViT`, by path."""

_CONFIG_FILE = "config.json"
_MAY_DIFFER = ("log.", "checkpoint.", "data.data_dir", "compilation_cache_dir")
"""Beginnings of keys that do not change what is learned."""


class Progress(NamedTuple):
    """What a run needs beside its state to go on as if it had not stopped.

    Attributes:
      token_shape: side and channels of the token maps that the model was built for.
      capacities: of the padded buffers; their sizes decide the order of sums.
      elapsed_s: seconds of training so far (`logs.Stopwatch`).
    """

    token_shape: tuple[int, int]
    capacities: Capacities
    elapsed_s: float


class Checkpoints:
    """The states kept in a work folder, newest last.

    A checkpoint appears under its final name only when all of it is written, so whatever a killed
    process leaves behind is never taken for one. One that was damaged later is passed over.
    """

    def __init__(self, workdir: Path, keep: int):
        self._folder = workdir.absolute() / "checkpoints"
        self._keep = keep
        self._manager: ocp.CheckpointManager | None = None  # made when there is something to save

    def latest_step(self) -> int | None:
        """Number of updates in the newest checkpoint, whole or not; None if there is none."""
        return max(self._steps(), default=None)

    def save(self, state: TrainState, progress: Progress) -> None:
        """Writes a checkpoint. Raises `RunError` if that fails; older ones stay."""
        step = int(state.step)
        if step == self.latest_step():
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state._asdict()),
            progress=ocp.args.JsonSave(progress._asdict()),
        )
        try:
            with _quiet_library():
                self._open_manager().save(step, args=args, force=True)
            write_manifest(self._folder / str(step))
        except (OSError, ValueError) as error:  # the storage library reports a full disk as either
            reason = _reason_of_system(error)
            if reason is None:
                raise
            raise RunError(
                f"step {step}: could not write a checkpoint to {self._folder}: {reason}; make room "
                "there or choose another --workdir; earlier checkpoints are untouched"
            ) from error

    def restore(
        self, like: Callable[[Progress], TrainState], *, set_aside: bool = False
    ) -> tuple[TrainState, Progress]:
        """The newest whole state, and what was saved beside it.

        Says a line for each newer checkpoint that is damaged.

        Args:
          like: a state of the shapes that are expected.
          set_aside: renames damaged ones, so that the run can save checkpoints of these steps.

        Raises:
          RunError: if there is no checkpoint or no whole one, or it lacks an array or has another
            shape.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._steps(), reverse=True):
            folder = self._folder / str(step)
            reason = find_damage(folder)
            if reason is None:
                try:
                    progress = _read_progress(folder)
                    saved = _read_metadata(folder)
                except _DamagedError as error:
                    reason = str(error)
            if reason is None:
                expected = jax.tree.map(ocp.utils.to_shape_dtype_struct, like(progress)._asdict())
                _check_shapes(saved, expected, self._folder)
                try:
                    state = TrainState(**_read_state(folder, expected))
                except _DamagedError as error:
                    reason = str(error)
            if reason is None:
                for step, reason in damaged.items():
                    self._report(step, reason, set_aside)
                return state, progress
            damaged[step] = reason
        if not damaged:
            raise RunError(
                f"expected a checkpoint in {self._folder}, found none; train first with "
                "python -m pony_jax.train"
            )
        reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
        raise RunError(
            f"expected a whole checkpoint in {self._folder}, found only damaged ones ({reasons}); "
            f"copy them again, or delete them with rm -r {shlex.quote(str(self._folder))} and "
            "train anew"
        )

    def _report(self, step: int, reason: str, set_aside: bool) -> None:
        folder = self._folder / str(step)
        if set_aside:
            folder = _rename_to_free_name(folder)
        say(
            f"warning: checkpoint {self._folder / str(step)} is damaged ({reason}) and was passed "
            f"over; delete it with rm -r {shlex.quote(str(folder))}"
        )

    def _steps(self) -> list[int]:
        """Numbers of the folders that are called as checkpoints are."""
        if not self._folder.is_dir():
            return []
        folders = [path.name for path in self._folder.iterdir() if path.is_dir()]
        return [int(name) for name in folders if re.fullmatch("0|[1-9][0-9]*", name)]

    def _open_manager(self) -> ocp.CheckpointManager:
        if self._manager is None:
            self._manager = ocp.CheckpointManager(
                self._folder,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=self._keep,
                    enable_async_checkpointing=False,
                    cleanup_tmp_directories=True,
                ),
                item_names=("state", "progress"),
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(),
                    "progress": ocp.JsonCheckpointHandler(),
                },
            )
        return self._manager


class _DamagedError(Exception):
    """Files of a checkpoint that cannot be read; the message says why in a few words."""


@contextmanager
def _reading(what: str, folder: Path) -> Iterator[None]:
    """Turns whatever the storage library raises about damaged files into a `_DamagedError`.

    Not where `find_damage` has compared every byte of the checkpoint, nor for a lack of memory.
    """
    is_listed = has_manifest(folder)
    try:
        with _quiet_library():
            yield
    except Exception as error:
        if is_listed or isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise  # every byte is as it was written: the fault lies elsewhere
        raise _DamagedError(f"{what}: {str(error).strip().partition(chr(10))[0]}") from error


def _read_progress(folder: Path) -> Progress:
    with _reading("progress", folder):
        notes = json.loads((folder / "progress" / "metadata").read_text())
        capacities = Capacities(*map(int, notes["capacities"]))
        side, channels = map(int, notes["token_shape"])
        return Progress((side, channels), capacities, float(notes["elapsed_s"]))


def _read_metadata(folder: Path) -> Any:
    """Names and shapes of the arrays."""
    with _reading("state", folder), ocp.StandardCheckpointer() as reader:
        return reader.metadata(folder / "state").item_metadata.tree


def _read_state(folder: Path, expected: Any) -> Any:
    with _reading("state", folder), ocp.StandardCheckpointer() as reader:
        return reader.restore(folder / "state", expected)


def _rename_to_free_name(folder: Path) -> Path:
    """Renames 8 to 8.damaged, or to 8.damaged2 and so on."""
    for number in itertools.count(1):
        free = folder.with_name(f"{folder.name}.damaged{number if number > 1 else ''}")
        if not free.exists():
            with user_files("checkpoints: expected a folder that can be renamed", folder):
                return folder.rename(free)
    raise AssertionError


def open_workdir(workdir: str | os.PathLike[str], config: ConfigDict) -> Path:
    """Makes the folder of a run, or enters the one of an earlier run of the same configuration.

    The configuration is written to `config.json`. Raises `RunError` if the folder holds a run of
    another configuration (the message names the keys that differ) or cannot be written.
    """
    path = Path(os.path.expanduser(workdir))
    with user_files("workdir: expected a folder that can be written", path):
        path.mkdir(parents=True, exist_ok=True)
        if (path / _CONFIG_FILE).exists():
            _check_same_config(load_config(path), config, path)
        partial = path / (_CONFIG_FILE + ".partial")
        partial.write_text(config.to_json(indent=2))
        partial.replace(path / _CONFIG_FILE)
    return path


def load_config(workdir: Path) -> ConfigDict:
    """The configuration of the run in a folder.

    Raises `RunError` if there is none, or it is damaged or of another version.
    """
    file = workdir / _CONFIG_FILE
    try:
        with user_files("expected a configuration that can be read", file):
            content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    except ValueError as error:  # neither JSON nor UTF-8
        raise RunError(
            f"{file}: expected a configuration as JSON, it is damaged ({error}); copy it again, or "
            "delete it and run the training command, which writes it anew"
        ) from error
    if content is None:
        raise RunError(
            f"expected a run's {_CONFIG_FILE} in {workdir}, found none; pass the --workdir of a "
            "training run"
        )
    if not isinstance(content, dict):
        raise RunError(f"{file}: expected settings by name, got a {type(content).__name__}")
    return complete_config(ConfigDict(content)).lock()


def differing_keys(there: ConfigDict, here: ConfigDict) -> dict[str, str]:
    """The dotted keys whose values differ, each with both values in words."""
    saved, wanted = _flat(there), _flat(here)
    return {
        key: f"{key}: {saved.get(key, 'absent')} there, {wanted.get(key, 'absent')} here"
        for key in sorted(saved.keys() | wanted.keys())
        if saved.get(key) != wanted.get(key)
    }


def _check_same_config(saved: ConfigDict, config: ConfigDict, path: Path) -> None:
    differing = [
        text
        for key, text in differing_keys(saved, config).items()
        if not key.startswith(_MAY_DIFFER)
    ]
    if differing:
        raise RunError(
            f"{path} holds a run of another configuration ({'; '.join(differing)}); choose another "
            "--workdir, or pass the values of the run to go on with it"
        )


def _flat(config: ConfigDict) -> dict[str, Any]:
    """Values by dotted key, in the form that JSON gives them."""
    flat = {}

    def visit(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                visit(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    visit(json.loads(config.to_json()), "")
    return flat


def _check_shapes(saved: Any, expected: Any, folder: Path) -> None:
    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(ocp.utils.serialize_tree(tree, True))
        return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}

    there, here = shapes(saved), shapes(expected)
    for path in sorted(there.keys() | here.keys()):
        if there.get(path) != here.get(path):
            raise RunError(
                f"checkpoint in {folder}: expected {path} of shape {here.get(path, 'absent')}, "
                f"found {there.get(path, 'absent')}; it was written by another version or "
                "configuration: choose another --workdir"
            )


def _reason_of_system(error: Exception) -> str | None:
    """The system's own words, also where they are buried in a library's message."""
    text = str(error)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO):
        if os.strerror(number) in text:
            return os.strerror(number)
    return text.strip().partition("\n")[0] if isinstance(error, OSError) else None


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keeps Orbax from logging the traceback of an error that is reported in a line."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
