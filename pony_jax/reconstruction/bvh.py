"""BVH: the skeleton and one motion of it, for programs of animation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.joint_names import ROOT, JointNamesError, joint_names
from pony_jax.reconstruction.skeleton import Skeleton

_ROTATIONS = "Xrotation Yrotation Zrotation"


def write_bvh(
    animal: Animal,
    path: Path,
    clips: Sequence[Clip] = (),
    *,
    frames_per_second: float = 30.0,
    names: Mapping[str, str] | None = None,
) -> list[Path]:
    """Writes a file a clip; returns them.

    One clip goes to `NAME.bvh`, several go to `NAME_CLIP.bvh`; without any, `NAME.bvh` holds the
    pose of the photograph as its only frame. Offsets are world units, angles degrees, channels in
    the order in which their matrices multiply (Rx Ry Rz); at rest all are zero.

    Args:
      frames_per_second: clips are sampled evenly, since BVH has one time a frame.
      names: names of joints that differ from ours, see `joint_names`.

    Raises:
      ValueError: for clips of another skeleton or two of one name, wrong names, or a rate that is
        not positive.
    """
    if not frames_per_second > 0:
        raise ValueError(f"frames_per_second: expected more than 0, got {frames_per_second}")
    # Spaces end a name in BVH.
    named = joint_names(animal.skeleton, names)
    spaced = [name for name in named.values() if len(name.split()) != 1]
    if spaced:
        raise JointNamesError(f"joint names: expected names without spaces in BVH, got {spaced}")
    if not clips:
        motion = _motion(animal.skeleton, _still(animal), frames_per_second)
        texts = {path: _header(animal.skeleton, named) + motion}
    else:
        files = [path] if len(clips) == 1 else [_file_of(path, clip.name) for clip in clips]
        if len(set(files)) != len(files):
            raise ValueError(f"clips: expected different names, got {[c.name for c in clips]}")
        header = _header(animal.skeleton, named)
        texts = {
            file: header + _motion(animal.skeleton, clip, frames_per_second)
            for file, clip in zip(files, clips, strict=True)
        }
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    return list(texts)


def _file_of(path: Path, clip: str) -> Path:
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in clip)
    return path.with_name(f"{path.stem}_{safe}{path.suffix}")


def _still(animal: Animal) -> Clip:
    """The pose of the photograph."""
    return Clip(
        name="photograph",
        times_s=np.zeros(1),
        angles_rad=animal.angles_rad[None],
        root_translation=np.zeros((1, 3)),
        root_rotation=np.eye(3)[None],
    )


def _header(skeleton: Skeleton, named: Mapping[str, str]) -> str:
    lines = ["HIERARCHY"]

    def offset(indent: str, vector: np.ndarray) -> str:
        return f"{indent}OFFSET " + " ".join(f"{x:.6f}" for x in vector)

    def add(bone: int, depth: int) -> None:
        indent = "\t" * depth
        is_root = bone < 0
        ours = ROOT if is_root else skeleton.names[bone]
        lines.append(f"{indent}{'ROOT' if is_root else 'JOINT'} {named[ours]}")
        lines.append(f"{indent}{{")
        inside = indent + "\t"
        if is_root:
            lines.append(offset(inside, skeleton.root_rest))
            lines.append(f"{inside}CHANNELS 6 Xposition Yposition Zposition {_ROTATIONS}")
        else:
            parent = skeleton.parents[bone]
            above = skeleton.root_rest if parent < 0 else skeleton.bones_rest[parent, 0]
            lines.append(offset(inside, skeleton.bones_rest[bone, 0] - above))
            lines.append(f"{inside}CHANNELS 3 {_ROTATIONS}")
        children = np.flatnonzero(skeleton.parents == bone).tolist()
        for child in children:
            add(child, depth + 1)
        if not children:
            near, far = skeleton.bones_rest[bone]
            lines.append(f"{inside}End Site")
            lines.append(f"{inside}{{")
            lines.append(offset(inside + "\t", far - near))
            lines.append(f"{inside}}}")
        lines.append(f"{indent}}}")

    add(-1, 0)
    return "\n".join(lines) + "\n"


def _motion(skeleton: Skeleton, clip: Clip, frames_per_second: float) -> str:
    if clip.angles_rad.shape[1] != skeleton.num_bones:
        raise ValueError(
            f"clip {clip.name!r}: expected angles of {skeleton.num_bones} bones, got "
            f"{clip.angles_rad.shape[1]}; make the clip for this skeleton"
        )
    times_s = np.arange(round(clip.times_s[-1] * frames_per_second) + 1) / frames_per_second
    turns = skeleton.turns(clip.angles_rad)[:, _below(skeleton, -1)]
    turns = np.concatenate([clip.root_rotation[:, None], turns], axis=1)
    degrees = [_degrees_at(times_s, clip.times_s, joint) for joint in np.moveaxis(turns, 1, 0)]
    shift = [np.interp(times_s, clip.times_s, axis) for axis in clip.root_translation.T]
    position = skeleton.root_rest + np.stack(shift, axis=-1)
    rows = np.concatenate([position, *degrees], axis=1)
    lines = ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / frames_per_second:.8f}"]
    lines += [" ".join(f"{x:.6f}" for x in row) for row in rows.tolist()]
    return "\n".join(lines) + "\n"


def _below(skeleton: Skeleton, bone: int) -> list[int]:
    """The bones below `bone` in the order in which a BVH names them, depth first."""
    order = []
    for child in np.flatnonzero(skeleton.parents == bone).tolist():
        order += [child, *_below(skeleton, child)]
    return order


def _degrees_at(
    times_s: Float[np.ndarray, " n"],
    key_times_s: Float[np.ndarray, " t"],
    rotations: Float[np.ndarray, "t 3 3"],
) -> Float[np.ndarray, "n 3"]:
    """Angles of one joint between its frames, on the shortest way."""
    keys = Rotation.from_matrix(rotations)
    if len(key_times_s) > 1:
        keys = Slerp(key_times_s, keys)(np.minimum(times_s, key_times_s[-1]))
    return keys.as_euler("XYZ", degrees=True)
