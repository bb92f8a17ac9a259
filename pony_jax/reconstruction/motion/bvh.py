"""Reads BVH, the text format of motion capture."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from pony_jax.reconstruction.motion.source import MotionFileError, SourceMotion

_CHANNELS = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in "XYZ")


class _Joint(NamedTuple):
    name: str
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[str, ...]


def read_bvh(path: str | Path) -> SourceMotion:
    """The motion in a BVH file; at rest all of its angles are zero.

    Lengths are those of the file. An end site is the joint `PARENT_end`. A joint's channels of
    position replace its offset; those of rotation (degrees) multiply in the order they stand in.

    Raises:
      MotionFileError: for a file that is cut or no BVH, in one line.
      OSError: if the file cannot be read.
    """
    path = Path(path)
    try:
        words = _Words(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise MotionFileError(f"{path}: expected text in BVH, got other bytes") from error
    words.expect("HIERARCHY")
    words.expect("ROOT")
    joints: list[_Joint] = []
    _read_joint(words, joints, -1)
    words.expect("MOTION")
    words.expect("Frames:")
    frames = int(words.number("a number of frames"))
    words.expect("Frame")
    words.expect("Time:")
    step_s = words.number("the seconds of a frame")
    if frames < 1 or not step_s > 0:
        raise MotionFileError(
            f"{path}: expected frames of some seconds, got {frames} of {step_s} s"
        )
    values = words.rest()
    columns = sum(len(joint.channels) for joint in joints)
    if len(values) != frames * columns:
        raise MotionFileError(
            f"{path}: expected {frames} frames of {columns} numbers, got {len(values)} numbers "
            f"({len(values) / max(columns, 1):.1f} frames); the file is cut or damaged"
        )
    return _source(path.stem, joints, values.reshape(frames, columns), step_s)


class _Words:
    """The words of a file, one after the other."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self._words, self._next = path, text.split(), 0

    def take(self, wanted: str) -> str:
        if self._next >= len(self._words):
            raise MotionFileError(f"{self.path}: expected {wanted}, got the end; the file is cut")
        self._next += 1
        return self._words[self._next - 1]

    def expect(self, word: str) -> None:
        got = self.take(repr(word))
        if got != word:
            raise MotionFileError(
                f"{self.path}: expected {word!r} as word {self._next}, got {got[:40]!r}; this is "
                "not a BVH file, or a damaged one"
            )

    def number(self, wanted: str) -> float:
        word = self.take(wanted)
        try:
            return float(word)
        except ValueError:
            raise MotionFileError(
                f"{self.path}: expected {wanted} as word {self._next}, got {word[:40]!r}"
            ) from None

    def rest(self) -> np.ndarray:
        words = self._words[self._next :]
        try:
            return np.array(words, np.float64)
        except ValueError:
            raise MotionFileError(
                f"{self.path}: expected numbers after the frame time, got other words"
            ) from None


def _read_joint(words: _Words, joints: list[_Joint], parent: int) -> None:
    """Appends a joint, whose keyword has been read, and all below it."""
    name = words.take("the name of a joint")
    words.expect("{")
    words.expect("OFFSET")
    offset = tuple(words.number("an offset") for _ in range(3))
    words.expect("CHANNELS")
    count = int(words.number("a number of channels"))
    channels = tuple(words.take("a channel") for _ in range(count))
    if not set(channels) <= set(_CHANNELS):
        raise MotionFileError(
            f"{words.path}: joint {name!r}: expected channels out of {', '.join(_CHANNELS)}, "
            f"got {channels}"
        )
    me = len(joints)
    joints.append(_Joint(name, parent, offset, channels))
    while (word := words.take("JOINT, End or }")) != "}":
        if word == "JOINT":
            _read_joint(words, joints, me)
        elif word == "End":
            words.expect("Site")
            words.expect("{")
            words.expect("OFFSET")
            end = tuple(words.number("an offset") for _ in range(3))
            words.expect("}")
            joints.append(_Joint(f"{name}_end", me, end, ()))
        else:
            raise MotionFileError(
                f"{words.path}: joint {name!r}: expected JOINT, End or }}, got {word[:40]!r}; the "
                "file is damaged"
            )


def _source(name: str, joints: list[_Joint], values: np.ndarray, step_s: float) -> SourceMotion:
    t, j = len(values), len(joints)
    positions, rotations = np.zeros((t, j, 3)), np.tile(np.eye(3), (t, j, 1, 1))
    rest = np.zeros((j, 3))
    column = 0
    for i, joint in enumerate(joints):
        own = values[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        local = np.tile(np.array(joint.offset), (t, 1))
        turn_axes = ""
        for k, channel in enumerate(joint.channels):
            if channel.endswith("position"):
                local[:, "XYZ".index(channel[0])] = own[:, k]
            else:
                turn_axes += channel[0]
        turns = [k for k, c in enumerate(joint.channels) if c.endswith("rotation")]
        turn = np.eye(3)
        if turns:
            turn = Rotation.from_euler(turn_axes, own[:, turns], degrees=True).as_matrix()
        if joint.parent < 0:
            rest[i], positions[:, i], rotations[:, i] = joint.offset, local, turn
        else:
            above = rotations[:, joint.parent]
            rest[i] = rest[joint.parent] + joint.offset
            offset = np.einsum("tij,tj->ti", above, local)
            positions[:, i] = positions[:, joint.parent] + offset
            rotations[:, i] = above @ turn
    return SourceMotion(
        name=name,
        joints=tuple(joint.name for joint in joints),
        rest_positions=rest,
        rest_rotations=np.tile(np.eye(3), (j, 1, 1)),
        times_s=step_s * np.arange(t),
        positions=positions,
        rotations=rotations,
    )
