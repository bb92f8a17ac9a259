"""A motion of some other skeleton, as files bring it: where every joint is, frame by frame."""

import dataclasses
import difflib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from pony_jax.errors import UserError


class MotionFileError(UserError, ValueError):
    """A motion that cannot be used: one line with what was expected, found, and what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class SourceMotion:
    """Joints of another skeleton at rest and over time, in the world of their file.

    Attributes:
      name: of the motion.
      joints: their names.
      rest_positions, rest_rotations: at rest; columns of a rotation are the joint's axes.
      times_s: of the frames, seconds; from 0 on.
      positions, rotations: in each frame.
    """

    name: str
    joints: tuple[str, ...]
    rest_positions: Float[np.ndarray, "j 3"]
    rest_rotations: Float[np.ndarray, "j 3 3"]
    times_s: Float[np.ndarray, " t"]
    positions: Float[np.ndarray, "t j 3"]
    rotations: Float[np.ndarray, "t j 3 3"]

    def __post_init__(self) -> None:
        for field in ("rest_positions", "rest_rotations", "times_s", "positions", "rotations"):
            if not np.all(np.isfinite(getattr(self, field))):
                raise MotionFileError(
                    f"motion {self.name!r}: expected finite numbers, got some in {field} that are "
                    "not; the file is damaged"
                )

    def index(self, joint: str) -> int:
        """Row of a joint. Raises `MotionFileError` with near names for one that is not there."""
        if joint not in self.joints:
            raise MotionFileError(
                f"motion {self.name!r} has no joint {joint!r}, but "
                f"{near_names(joint, self.joints)}; use a joint table for this skeleton"
            )
        return self.joints.index(joint)


def near_names(name: str, known: Iterable[str]) -> str:
    """A few names to choose from, the most similar ones first."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.4) or known[:8]
    return ", ".join(near) + (", ..." if len(near) < len(known) else "")
