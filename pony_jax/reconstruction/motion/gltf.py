"""Reads the skeleton and one animation of a glTF file."""

from pathlib import Path

import numpy as np
import pygltflib
from jaxtyping import Float

from pony_jax.data.gltf_file import GltfError, GltfFile, naming_damage, open_gltf
from pony_jax.reconstruction.motion.source import MotionFileError, SourceMotion, near_names


def read_gltf_motion(
    path: str | Path, clip: str | None = None, *, frames_per_second: float = 30.0
) -> SourceMotion:
    """One animation of a `.glb` or `.gltf` file. All nodes are joints.

    At rest, joints of a skin stand as they are bound to it; other nodes as the file places them.

    Args:
      clip: name of the animation, or what follows `|` in it. None takes the only one.
      frames_per_second: at which it is looked at.

    Raises:
      MotionFileError: for a file that is cut or no glTF, or an animation that is not in it.
      OSError: if the file cannot be read.
    """
    path = Path(path)
    try:
        file = open_gltf(path)
        with naming_damage(path):
            animation = _find_animation(path, file.document, clip)
            return _motion(file, animation, frames_per_second)
    except GltfError as error:
        raise MotionFileError(str(error)) from error


def _find_animation(path: Path, document: pygltflib.GLTF2, clip: str | None) -> pygltflib.Animation:
    animations = {
        animation.name or f"{i}": animation for i, animation in enumerate(document.animations)
    }
    if not animations:
        raise GltfError(f"{path}: expected animations, got a file without; nothing moves")
    if clip is None and len(animations) == 1:
        return next(iter(animations.values()))
    found = [a for name, a in animations.items() if clip in (name, name.split("|")[-1])]
    if len(found) != 1:
        short = [name.split("|")[-1] for name in animations]
        raise GltfError(
            f"{path}: expected the name of an animation out of {near_names(clip or '', short)}, "
            f"got {clip!r}"
        )
    return found[0]


def _motion(
    file: GltfFile, animation: pygltflib.Animation, frames_per_second: float
) -> SourceMotion:
    """The animation, looked at in even steps."""
    times_s, parts = file.animated_parts(animation, frames_per_second)
    matrices, rotations = file.worlds(parts)
    rest_positions, rest_rotations = _bound(file)
    return SourceMotion(
        name=(animation.name or file.path.stem).split("|")[-1],
        joints=tuple(node.name or f"node_{i}" for i, node in enumerate(file.document.nodes)),
        rest_positions=rest_positions,
        rest_rotations=rest_rotations,
        times_s=times_s,
        positions=matrices[..., :3, 3],
        rotations=rotations,
    )


def _bound(file: GltfFile) -> tuple[Float[np.ndarray, "j 3"], Float[np.ndarray, "j 3 3"]]:
    """The rest pose with the joints of the first skin where they are bound to it."""
    (matrices,), (rotations,) = file.worlds(file.rest_parts())
    positions, rotations = matrices[:, :3, 3].copy(), rotations.copy()
    skins = file.document.skins
    if not skins or skins[0].inverseBindMatrices is None:
        return positions, rotations
    # Bind matrices are against the mesh, which stands in the world as its node does.
    holders = [i for i, node in enumerate(file.document.nodes) if node.skin == 0]
    mesh = matrices[holders[0]] if holders else np.eye(4)
    bind = mesh @ np.linalg.inv(file.inverse_bind_matrices(skins[0]))
    joints = skins[0].joints[: len(bind)]
    positions[joints] = bind[:, :3, 3]
    linear = bind[:, :3, :3]
    rotations[joints] = linear / np.linalg.norm(linear, axis=1, keepdims=True)
    return positions, rotations
