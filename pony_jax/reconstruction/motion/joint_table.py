"""Which joint of another skeleton moves which bone of ours: tables in JSON."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pony_jax.reconstruction.joint_names import ROOT
from pony_jax.reconstruction.motion.source import MotionFileError, near_names
from pony_jax.reconstruction.skeleton import LEGS, Skeleton

_FOLDER = Path(__file__).parent / "tables"
_AXES = {f"{sign}{axis}": i for i, axis in enumerate("xyz") for sign in "+-"}


@dataclasses.dataclass(frozen=True)
class JointTable:
    """How another skeleton corresponds to ours.

    Attributes:
      root: their joint that carries the whole animal, near the middle of its back.
      bones: their joint by the name of our bone. A bone that is left out keeps its angle to the one
        it hangs from.
      hooves: their joint at the hoof of each leg (of `LEGS`). Such a leg is posed by where its hoof
        is, so that it stays on the ground; others take over the turns of their bones.
      up, forward: axes of their world, `+y` and so on: towards the sky, and from tail to head.
    """

    root: str
    bones: Mapping[str, str]
    hooves: Mapping[str, str] = dataclasses.field(default_factory=dict)
    up: str = "+y"
    forward: str = "+z"

    @classmethod
    def same_names(cls, skeleton: Skeleton) -> "JointTable":
        """For files that have our own names, as exported ones do."""
        return cls(root=ROOT, bones={name: name for name in skeleton.names})

    @property
    def ours_from_theirs(self) -> Float[np.ndarray, "3 3"]:
        """Rotation from their world's axes to ours (left, up, forward)."""
        up, forward = _axis(self.up), _axis(self.forward)
        return np.stack([np.cross(up, forward), up, forward])

    def check(self, skeleton: Skeleton) -> None:
        """Raises `MotionFileError` for a bone that the skeleton has not."""
        for bone in self.bones:
            if bone not in skeleton.names:
                raise MotionFileError(
                    f"joint table: the animal has no bone {bone!r}, but "
                    f"{near_names(bone, skeleton.names)}; correct the table"
                )


def _axis(name: str) -> Float[np.ndarray, " 3"]:
    return np.eye(3)[_AXES[name]] * (1 if name[0] == "+" else -1)


def table_names() -> tuple[str, ...]:
    """The tables that come with the project."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def load_joint_table(table: str | Path) -> JointTable:
    """A table by the name of one that comes with the project, or from a JSON file.

    The file holds an object with the fields of `JointTable`; `description` is for people.

    Raises:
      MotionFileError: for an unknown name, or a file that holds no such table.
      OSError: if the file cannot be read.
    """
    path = _FOLDER / f"{table}.json" if str(table) in table_names() else Path(table)
    if not path.suffix:
        raise MotionFileError(
            f"joint table: expected the path of a JSON file or one of {', '.join(table_names())}, "
            f"got {str(table)!r}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MotionFileError(f"{path}: expected a joint table in JSON, got {error}") from error
    return _table(content, path)


def _table(content: object, path: Path) -> JointTable:
    fields = {field.name for field in dataclasses.fields(JointTable)}
    if not isinstance(content, dict) or not {"root", "bones"} <= set(content):
        raise MotionFileError(f"{path}: expected an object with 'root' and 'bones', see JointTable")
    content = {key: value for key, value in content.items() if key != "description"}
    for key, value in content.items():
        if key not in fields:
            raise MotionFileError(
                f"{path}: expected fields out of {sorted(fields)}, got {key!r}; correct the table"
            )
        texts = [*value, *value.values()] if isinstance(value, dict) else [value]
        is_mapping = key in ("bones", "hooves")
        if isinstance(value, dict) is not is_mapping or not all(isinstance(x, str) for x in texts):
            wanted = "an object of names" if is_mapping else "a text"
            raise MotionFileError(f"{path}: {key}: expected {wanted}, got {value!r}")
    table = JointTable(**content)
    for key in ("up", "forward"):
        if getattr(table, key) not in _AXES:
            raise MotionFileError(
                f"{path}: {key}: expected one of {', '.join(_AXES)}, got {getattr(table, key)!r}"
            )
    if table.up[1] == table.forward[1]:
        raise MotionFileError(
            f"{path}: expected different axes up and forward, got {table.up} and {table.forward}"
        )
    for leg in table.hooves:
        if leg not in LEGS:
            raise MotionFileError(
                f"{path}: hooves: expected legs out of {', '.join(LEGS)}, got {leg!r}"
            )
    return table
