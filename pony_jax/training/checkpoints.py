"""What a work folder keeps of a run: its configuration and its last states."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict

from pony_jax.model import Capacities
from pony_jax.model.older_configs import complete_config
from pony_jax.training.errors import RunError
from pony_jax.training.step import TrainState

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
    process leaves behind is never taken for one.
    """

    def __init__(self, workdir: Path, keep: int):
        self._folder = workdir.absolute() / "checkpoints"
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
            ),
            item_names=("state", "progress"),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "progress": ocp.JsonCheckpointHandler(),
            },
        )

    def latest_step(self) -> int | None:
        """Number of updates in the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

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
                self._manager.save(step, args=args)
        except (OSError, ValueError) as error:  # the storage library reports a full disk as either
            raise RunError(
                f"step {step}: could not write a checkpoint to {self._folder}: "
                f"{_reason(error)}; make room there or choose another --workdir; earlier "
                "checkpoints are untouched"
            ) from error

    def restore(self, like: TrainState) -> TrainState:
        """The newest state, of the shapes of `like`.

        Raises `RunError` if there is no checkpoint, or it lacks an array or has another shape.
        """
        step = self._newest()
        expected = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
        _check_shapes(self._manager.item_metadata(step)["state"], expected, self._folder)
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(expected))
        )
        return TrainState(**restored["state"])

    def read_progress(self) -> Progress:
        """What was saved beside the newest state. Raises `RunError` if there is no checkpoint."""
        restored = self._manager.restore(
            self._newest(), args=ocp.args.Composite(progress=ocp.args.JsonRestore())
        )
        notes = restored["progress"]
        return Progress(
            tuple(notes["token_shape"]), Capacities(*notes["capacities"]), notes["elapsed_s"]
        )

    def _newest(self) -> int:
        step = self.latest_step()
        if step is None:
            raise RunError(
                f"expected a checkpoint in {self._folder}, found none; train first with "
                "python -m pony_jax.train"
            )
        return step


def open_workdir(workdir: str | os.PathLike[str], config: ConfigDict) -> Path:
    """Makes the folder of a run, or enters the one of an earlier run of the same configuration.

    The configuration is written to `config.json`. Raises `RunError` if the folder holds a run of
    another configuration (the message names the keys that differ) or cannot be written.
    """
    path = Path(workdir).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if (path / _CONFIG_FILE).exists():
            _check_same_config(load_config(path), config, path)
        partial = path / (_CONFIG_FILE + ".partial")
        partial.write_text(config.to_json(indent=2))
        partial.replace(path / _CONFIG_FILE)
    except OSError as error:
        raise RunError(
            f"workdir: expected a folder that can be written, got {path} "
            f"({error.strerror or error}); choose another --workdir or make room"
        ) from error
    return path


def load_config(workdir: Path) -> ConfigDict:
    """The configuration of the run in a folder. Raises `RunError` if there is none."""
    try:
        saved = ConfigDict(json.loads((workdir / _CONFIG_FILE).read_text()))
        return complete_config(saved).lock()
    except FileNotFoundError:
        raise RunError(
            f"expected a run's {_CONFIG_FILE} in {workdir}, found none; pass the --workdir of a "
            "training run"
        ) from None
    except json.JSONDecodeError as error:
        raise RunError(f"{workdir / _CONFIG_FILE}: expected JSON, got {error}") from error


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


def _reason(error: Exception) -> str:
    """The system's own words where they are buried in a library's message."""
    text = str(error)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text:
            return os.strerror(number)
    return text.strip().partition("\n")[0] or repr(error)


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keeps Orbax from logging the traceback of an error that is reported in a line."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
