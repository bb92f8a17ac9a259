"""The skeleton of one animal in numpy: names, a tree of joints, and how joint angles pose it."""

import dataclasses
import difflib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from pony_jax.ops import bones as model_bones

LEGS = ("front_left", "rear_left", "rear_right", "front_right")
"""Legs in the model's order. Left is the animal's own left, which is +x: it looks along +z with +y
up, and in a right-handed frame up x forward is left."""


@dataclasses.dataclass(frozen=True, eq=False)
class Skeleton:
    """Bones of one animal in its rest pose, in the order of the model's joint angles.

    The frame is the world's (right-handed, +x the animal's left, +y up, +z forward, world units). A
    bone turns about its near end, its joint, and takes along all bones below it in the tree. The
    bones without a parent hang from one root joint, which is no bone and moves the whole animal.

    Attributes:
      names: of the bones: `spine_1`, `spine_2`, `neck`, `head` from the centre forwards;
        `rear_spine_1`, `rear_spine_2`, `tail_1`, `tail_2` from the centre backwards; and
        `front_left_hip`, `front_left_knee`, `front_left_foot` from the body down, likewise for
        `rear_left`, `rear_right` and `front_right`. The joint of a bone has the bone's name.
      parents: bone that each bone hangs from; -1 for those on the root joint.
      bones_rest: (near end = joint, far end) of each bone.
      root_rest: the root joint: where the front and the rear of the spine meet.
    """

    names: tuple[str, ...]
    parents: Int[np.ndarray, " k"]
    bones_rest: Float[np.ndarray, "k 2 3"]
    root_rest: Float[np.ndarray, " 3"]

    def __post_init__(self) -> None:
        k = len(self.names)
        if len(set(self.names)) != k:
            raise ValueError(f"names: expected {k} different names, got {self.names}")
        for field, shape in {"parents": (k,), "bones_rest": (k, 2, 3), "root_rest": (3,)}.items():
            value = getattr(self, field)
            if np.shape(value) != shape:
                raise ValueError(
                    f"{field}: expected shape {shape} for {k} names, got {np.shape(value)}"
                )
            if not np.all(np.isfinite(value)):
                raise ValueError(f"{field}: expected finite numbers, got some that are not")
        self.root_first()  # raises for what is no tree

    @classmethod
    def from_model(
        cls,
        skeleton: model_bones.Skeleton,
        bones_rest: Float[np.ndarray, "k 2 3"],
        parents: Sequence[int],
    ) -> "Skeleton":
        """The skeleton of a model's rig.

        Args:
          skeleton: number and order of bones.
          bones_rest: of one animal, as `ops.bones.estimate_bones` makes them.
          parents: bone that each bone hangs from, as `ops.bones.Skeleton.parents` gives them; -1
            for those on the root joint.
        """
        bones_rest = np.asarray(bones_rest, np.float32)
        return cls(
            names=bone_names(skeleton),
            parents=np.array(parents, np.int32),
            bones_rest=bones_rest,
            root_rest=bones_rest[skeleton.root_bones[0], 0],
        )

    @property
    def num_bones(self) -> int:
        """All bones, k."""
        return len(self.names)

    def index(self, name: str) -> int:
        """Row of the bone `name`. Raises `KeyError` with near names for one that is not there."""
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=3) or list(self.names)
            raise KeyError(f"no bone is called {name!r}; expected for instance {', '.join(near)}")
        return self.names.index(name)

    def leg(self, name: str) -> tuple[int, ...]:
        """Bones of the leg `name` (one of `LEGS`) from the hip down; empty without such a leg."""
        if name not in LEGS:
            raise KeyError(f"no leg is called {name!r}; expected one of {', '.join(LEGS)}")
        rows = [i for i, bone in enumerate(self.names) if bone.startswith(f"{name}_")]
        return tuple(self.from_root(rows))

    def front(self) -> tuple[int, ...]:
        """Bones of the spine from the centre to the head's tip."""
        return self._body(("spine_", "neck", "head"))

    def rear(self) -> tuple[int, ...]:
        """Bones of the spine from the centre to the tail's tip."""
        return self._body(("rear_spine_", "tail_"))

    def _body(self, prefixes: tuple[str, ...]) -> tuple[int, ...]:
        rows = [i for i, name in enumerate(self.names) if name.startswith(prefixes)]
        return tuple(self.from_root(rows))

    def from_root(self, rows: Sequence[int]) -> list[int]:
        """The bones `rows` with every parent before its children."""
        rank = {bone: i for i, bone in enumerate(self.root_first())}
        return sorted(rows, key=rank.__getitem__)

    def root_first(self) -> list[int]:
        """All bones with every parent before its children.

        Raises:
          ValueError: if the parents do not make a tree.
        """
        order: list[int] = []
        wanted = [-1]
        while wanted:
            parent = wanted.pop()
            children = [int(i) for i in np.flatnonzero(self.parents == parent)]
            order += children
            wanted += children
        if len(order) != self.num_bones:
            lost = [self.names[i] for i in range(self.num_bones) if i not in order]
            raise ValueError(f"parents: expected a tree below -1, but {lost} do not hang from it")
        return order

    def bone_frames(self) -> Float[np.ndarray, "k 3 3"]:
        """World from bone at rest: columns right, up and forward (along the bone) of each bone.

        The axes that joint angles turn about; `ops.kinematics.bone_frames` in numpy.
        """
        along = (self.bones_rest[:, 1] - self.bones_rest[:, 0]).astype(np.float64)
        length = np.linalg.norm(along, axis=-1, keepdims=True)
        forward = along / np.maximum(length, 1e-12)
        up = np.cross(forward, [1.0, 0.0, 0.0])
        regular = np.sum(up * up, axis=-1, keepdims=True) > 1e-12
        up = np.where(regular, up, [0.0, 1.0, 0.0])
        up /= np.linalg.norm(up, axis=-1, keepdims=True)
        forward = np.where(regular, forward, [0.0, 0.0, 1.0])
        return np.stack([np.cross(up, forward), up, forward], axis=-1)

    def turns(self, angles_rad: Float[np.ndarray, "*t k 3"]) -> Float[np.ndarray, "*t k 3 3"]:
        """Rotation of each bone against its parent, in world axes at rest (identity at rest).

        Args:
          angles_rad: Euler angles (x, y, z) about the bone's own axes, radians: Rx @ Ry @ Rz.

        Raises:
          ValueError: for another number of bones, or angles that are not finite.
        """
        angles_rad = np.asarray(angles_rad, np.float64)
        if angles_rad.shape[-2:] != (self.num_bones, 3):
            raise ValueError(
                f"angles_rad: expected [..., {self.num_bones}, 3], three angles for each of the "
                f"skeleton's bones, got {list(angles_rad.shape)}"
            )
        if not np.all(np.isfinite(angles_rad)):
            raise ValueError("angles_rad: expected finite numbers, got some that are not")
        frame = self.bone_frames()
        return frame @ euler_xyz_to_matrix(angles_rad) @ np.swapaxes(frame, -1, -2)

    def world_from_rest(
        self,
        angles_rad: Float[np.ndarray, "*t k 3"],
        root_translation: Float[np.ndarray, "*t 3"] | None = None,
        root_rotation: Float[np.ndarray, "*t 3 3"] | None = None,
    ) -> Float[np.ndarray, "*t k 4 4"]:
        """Where each bone takes the points that are fixed to it.

        `ops.kinematics.posed_bone_transforms` in numpy and double precision, for any tree.

        Args:
          angles_rad: see `turns`.
          root_translation: shift of the root joint from `root_rest`, world units; None is 0.
          root_rotation: of the whole animal about the root joint, before the shift; None is none.
        """
        turns = self.turns(angles_rad)
        root = np.broadcast_to(np.eye(4), (*turns.shape[:-3], 4, 4)).copy()
        if root_rotation is not None:
            root[..., :3, :3] = root_rotation
        root[..., :3, 3] = self.root_rest - root[..., :3, :3] @ self.root_rest
        if root_translation is not None:
            root[..., :3, 3] += root_translation
        about_joint = np.broadcast_to(np.eye(4), (*turns.shape[:-2], 4, 4)).copy()
        joints = self.bones_rest[:, 0].astype(np.float64)
        about_joint[..., :3, :3] = turns
        about_joint[..., :3, 3] = joints - np.einsum("...kij,kj->...ki", turns, joints)
        transforms = np.empty_like(about_joint)
        for bone in self.root_first():
            parent = self.parents[bone]
            above = root if parent < 0 else transforms[..., parent, :, :]
            transforms[..., bone, :, :] = above @ about_joint[..., bone, :, :]
        return transforms

    def posed_bones(
        self, world_from_rest: Float[np.ndarray, "*t k 4 4"]
    ) -> Float[np.ndarray, "*t k 2 3"]:
        """Both ends of each bone after the transforms that `world_from_rest` gives."""
        rotation, shift = world_from_rest[..., :3, :3], world_from_rest[..., :3, 3]
        return np.einsum("...kij,knj->...kni", rotation, self.bones_rest) + shift[..., None, :]


def bone_names(skeleton: model_bones.Skeleton) -> tuple[str, ...]:
    """Names of a model's bones, in its order; see `Skeleton.names`."""
    half = skeleton.num_body_bones // 2
    spine = [f"spine_{i + 1}" for i in range(half - 2)]
    front = [*spine, *["neck", "head"][max(0, 2 - half) :]]
    rear = [f"rear_spine_{i + 1}" for i in range(half // 2)]
    rear += [f"tail_{i + 1}" for i in range(half - half // 2)]
    names = [*reversed(front), *reversed(rear)]  # the model counts from the tips
    n = skeleton.num_leg_bones
    knees = ["knee"] if n == 3 else [f"knee_{i + 1}" for i in range(n - 2)]
    parts = ["hip", *knees, "foot"][:n] if n != 2 else ["hip", "knee"]
    for leg in LEGS[: skeleton.num_legs]:
        names += [f"{leg}_{part}" for part in reversed(parts)]  # and from the feet
    return tuple(names)


def euler_xyz_to_matrix(angles_rad: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Rx(a) @ Ry(b) @ Rz(c) for angles (a, b, c), radians: `ops.rotations` in double precision."""
    (ca, cb, cc), (sa, sb, sc) = (np.moveaxis(f(angles_rad), -1, 0) for f in (np.cos, np.sin))
    entries = [
        [cb * cc, -cb * sc, sb],
        [ca * sc + sa * sb * cc, ca * cc - sa * sb * sc, -sa * cb],
        [sa * sc - ca * sb * cc, sa * cc + ca * sb * sc, ca * cb],
    ]
    return np.stack([np.stack(row, axis=-1) for row in entries], axis=-2)
