"""Brings the motion of another skeleton to one of ours."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.motion.bvh import read_bvh
from pony_jax.reconstruction.motion.gltf import read_gltf_motion
from pony_jax.reconstruction.motion.joint_table import JointTable, load_joint_table
from pony_jax.reconstruction.motion.legs import Leg, find_legs
from pony_jax.reconstruction.motion.soles import find_sole, skeleton_of, tip_above_sole
from pony_jax.reconstruction.motion.source import MotionFileError, SourceMotion
from pony_jax.reconstruction.skeleton import LEGS, Skeleton

_ON_GROUND = 0.03
"""Share of a leg's length: a hoof that is no higher above its rest place carries the animal."""
_LOWEST_BODY = 0.15
"""Share of a leg's length by which the body is lowered at most, so that hooves reach the ground."""


def retarget_file(
    path: str | Path,
    subject: Animal | Skeleton,
    *,
    table: str | Path | JointTable | None = None,
    clip: str | None = None,
    frames_per_second: float = 30.0,
) -> Clip:
    """The motion in a `.bvh`, `.glb` or `.gltf` file, for another animal.

    Args:
      path: of the file.
      subject: that is to move.
      table: see `load_joint_table`; None is for files whose joints have our names.
      clip: which animation of a glTF file.
      frames_per_second: of the clip, for glTF; BVH brings its own.

    Raises:
      MotionFileError: in one line, for a file that is cut or of another kind, an animation or a
        joint that is not there, and numbers that are not finite.
      OSError: if a file cannot be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".bvh", ".glb", ".gltf"):
        raise MotionFileError(f"{path}: expected a motion in .bvh, .glb or .gltf, got {suffix!r}")
    if table is None:
        table = JointTable.same_names(skeleton_of(subject))
    elif not isinstance(table, JointTable):
        table = load_joint_table(table)
    if suffix == ".bvh":
        source = read_bvh(path)
    else:
        source = read_gltf_motion(path, clip, frames_per_second=frames_per_second)
    return retarget(source, table, subject)


def retarget(source: SourceMotion, table: JointTable, subject: Animal | Skeleton) -> Clip:
    """The motion of another skeleton, for one of ours.

    Each bone turns as the joint that the table gives for it: the turn against the rest pose, in the
    world's axes (left, up, forward). The root moves as theirs, by the ratio of the lengths of legs.
    Legs with a hoof in the table are posed by inverse kinematics from where that hoof is: a hoof
    that stands in the source stands here. Since our legs are straight at rest and cannot get
    longer, the body is lowered throughout, by as much as standing hooves ask for.

    Args:
      source: what moves, standing at rest.
      table: which joint moves which bone.
      subject: that is to move. The soles of an animal's mesh keep its hooves above the ground.

    Raises:
      MotionFileError: for joints or bones that are not there, and for a source without size.
    """
    skeleton = skeleton_of(subject)
    table.check(skeleton)
    ours = table.ours_from_theirs
    turns = _world_turns(source, ours)
    scale = _scale(source, table, skeleton)
    moved = scale * (source.positions - source.rest_positions) @ ours.T
    root = source.index(table.root)
    shift, rotation = moved[:, root], turns[:, root]
    wanted = {skeleton.index(bone): source.index(name) for bone, name in table.bones.items()}
    angles = _angles(skeleton, rotation, {b: turns[:, j] for b, j in wanted.items()})
    legs = [
        leg for leg in (find_legs(skeleton) if table.hooves else ()) if leg.name in table.hooves
    ]
    goals = {}
    for leg in legs:
        places = leg.tip + moved[:, source.index(table.hooves[leg.name])]
        places[:, 1] = np.maximum(places[:, 1], leg.tip[1])  # the ground is where it stood
        pitch = np.zeros(len(moved))
        if leg.bones[-1] in wanted:
            turn = turns[:, wanted[leg.bones[-1]]]
            pitch = np.unwrap(np.arctan2(turn[:, 2, 1], turn[:, 1, 1]))
        tilted, above_ground = tip_above_sole(leg, find_sole(subject, leg), pitch)
        places += np.stack([np.zeros_like(tilted), above_ground, tilted], axis=-1)
        goals[leg.name] = places, pitch
    shift = shift - [0.0, _lowering(skeleton, legs, goals, angles, shift, rotation), 0.0]
    above = skeleton.world_from_rest(angles, shift, rotation)
    for leg in legs:
        angles[:, leg.bones] = _leg_angles(leg, *goals[leg.name], above[:, leg.attachment])
    return Clip(source.name, source.times_s - source.times_s[0], angles, shift, rotation)


def _world_turns(source: SourceMotion, ours: Float[np.ndarray, "3 3"]):
    """Turns of all joints against the rest pose, in our axes: [t, j, 3, 3]."""
    turns = source.rotations @ np.swapaxes(source.rest_rotations, -1, -2)
    return ours @ turns @ ours.T


def _scale(source: SourceMotion, table: JointTable, skeleton: Skeleton) -> float:
    """Our lengths over theirs, of the leg for which that is least."""
    ratios = []
    for leg in LEGS:
        bones = [skeleton.names[i] for i in skeleton.leg(leg) if skeleton.names[i] in table.bones]
        if not bones:
            continue
        ours, theirs = _leg_lengths(source, table, skeleton, bones, leg in table.hooves)
        if not theirs > 1e-9 or not ours > 1e-9:
            raise MotionFileError(
                f"motion {source.name!r}: expected {leg} legs with lengths, got {theirs:.3g} "
                f"there and {ours:.3g} here; does the table's up fit ({table.up})?"
            )
        ratios.append(ours / theirs)
    if not ratios:
        raise MotionFileError(
            f"motion {source.name!r}: expected a joint for one leg at least in the joint table, "
            "which says how large the animal is; got none"
        )
    return float(min(ratios))


def _leg_lengths(
    source: SourceMotion, table: JointTable, skeleton: Skeleton, bones: list[str], has_hoof: bool
) -> tuple[float, float]:
    """Ours and theirs: the height of the first bone's joint, or its distance to the last one's.

    Heights are over the lowest joint, which needs one at the ground, as a table with hooves has.
    """
    first, last = (skeleton.bones_rest[skeleton.index(bones[i]), 0] for i in (0, -1))
    places = source.rest_positions[[source.index(table.bones[bones[i]]) for i in (0, -1)]]
    if has_hoof or len(bones) == 1:
        height = source.rest_positions @ table.ours_from_theirs[1]
        theirs = places[0] @ table.ours_from_theirs[1] - height.min()
        return float(first[1] - skeleton.bones_rest[..., 1].min()), float(theirs)
    return float(np.linalg.norm(first - last)), float(np.linalg.norm(places[0] - places[1]))


def _angles(
    skeleton: Skeleton,
    root: Float[np.ndarray, "t 3 3"],
    wanted: dict[int, Float[np.ndarray, "t 3 3"]],
) -> Float[np.ndarray, "t k 3"]:
    """Euler angles for which bones have the wanted turns in the world, others none of their own."""
    frames = skeleton.bone_frames()
    worlds: dict[int, np.ndarray] = {-1: root}
    angles = np.zeros((len(root), skeleton.num_bones, 3))
    for bone in skeleton.root_first():
        above = worlds[int(skeleton.parents[bone])]
        worlds[bone] = wanted.get(bone, above)
        if bone in wanted:
            turn = np.swapaxes(above, -1, -2) @ wanted[bone]
            turn = frames[bone].T @ turn @ frames[bone]
            euler = Rotation.from_matrix(turn).as_euler("XYZ")
            angles[:, bone] = np.unwrap(euler, axis=0)
    return angles


def _lowering(skeleton: Skeleton, legs: list[Leg], goals, angles, shift, rotation) -> float:
    """How much the body must come down for all hooves on the ground to be within reach."""
    above = skeleton.world_from_rest(angles, shift, rotation)
    lowering = 0.0
    for leg in legs:
        places, _ = goals[leg.name]
        body = above[:, leg.attachment]
        hip = body[:, :3, :3] @ leg.hip + body[:, :3, 3]
        standing = places[:, 1] - leg.tip[1] <= _ON_GROUND * leg.length
        flat = np.sum((places - hip)[:, [0, 2]] ** 2, axis=-1)
        reach = np.sqrt(np.maximum((0.995 * leg.length) ** 2 - flat, 0.0))
        excess = (hip - places)[:, 1] - reach
        most = np.max(excess[standing], initial=0.0)
        lowering = max(lowering, min(most, _LOWEST_BODY * leg.length))
    return lowering


def _leg_angles(leg: Leg, places, pitch, body: Float[np.ndarray, "t 4 4"]):
    rotation, shift = body[:, :3, :3], body[:, :3, 3]
    in_body = np.einsum("tji,tj->ti", rotation, places - shift)
    body_pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 1, 1])
    return leg.solve(in_body, pitch - body_pitch, nearest=True)
