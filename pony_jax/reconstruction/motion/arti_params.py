"""Reads the poses that come with the original: `arti_params_*.txt`."""

from pathlib import Path

import numpy as np

from pony_jax.reconstruction.animal import Clip
from pony_jax.reconstruction.motion.source import MotionFileError
from pony_jax.reconstruction.skeleton import Skeleton

_SECONDS_PER_POSE = 0.5


def read_arti_params(
    path: str | Path, skeleton: Skeleton, *, seconds_per_pose: float = _SECONDS_PER_POSE
) -> Clip:
    """A clip that goes through the poses of a folder, or holds the one of a file.

    MagicPony@e4a8b20:scripts/visualize_results.py. A file has a line a bone, in the order of the
    model's bones: three Euler angles (x, y, z), degrees. The original goes from each pose to the
    next in five frames of a tenth of a second, changing angles linearly, as clips do.

    Args:
      path: of a file, or of a folder with files `arti_params*.txt`, taken in the order of names.
      skeleton: that the poses are for.
      seconds_per_pose: from one pose to the next.

    Raises:
      MotionFileError: in one line, for a folder without such files, and files with other things
        than three numbers a bone.
      OSError: if a file cannot be read.
    """
    path = Path(path)
    files = sorted(path.glob("arti_params*.txt")) if path.is_dir() else [path]
    if not files:
        raise MotionFileError(f"{path}: expected files arti_params*.txt in this folder, got none")
    if not seconds_per_pose > 0:
        raise MotionFileError(f"seconds_per_pose: expected above 0, got {seconds_per_pose}")
    angles = np.radians([_read_pose(file, skeleton.num_bones) for file in files])
    t = len(files)
    return Clip(
        name=path.stem,
        times_s=seconds_per_pose * np.arange(t),
        angles_rad=angles,
        root_translation=np.zeros((t, 3)),
        root_rotation=np.tile(np.eye(3), (t, 1, 1)),
    )


def _read_pose(file: Path, num_bones: int) -> list[list[float]]:
    rows = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise MotionFileError(f"{file}: expected lines of numbers, got other bytes") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        if len(row) != 3 or not np.all(np.isfinite(row)):
            raise MotionFileError(
                f"{file}: expected three finite angles (degrees) in line {number}, got "
                f"{line[:60]!r}"
            )
        rows.append(row)
    if len(rows) != num_bones:
        raise MotionFileError(
            f"{file}: expected {num_bones} lines, one a bone of this skeleton, got {len(rows)}; "
            "the file is cut or of another skeleton"
        )
    return rows
