"""At which end of a learned shape the head is, and animals turned so that it is at +z.

Training from photographs does not say which end of the prior shape becomes the head: both fit the
pictures equally well. All names, sides and gaits are for a head at +z, so an animal whose head is
at the other end is turned half a turn about y before anybody sees it.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from pony_jax.reconstruction.animal import Animal, TriangleMesh
from pony_jax.reconstruction.skeleton import Skeleton

HEAD_DIRECTIONS = ("auto", "+z", "-z")
"""Where a model's head may be said to be; `auto` is `higher_end` of its prior shape."""

_HALF_TURN = np.diag(np.array([-1, 1, -1], np.float32))
_END = 0.3
"""Share of the body's length at each end in which its highest point is looked for."""


def higher_end(prior_verts: Float[np.ndarray, "v 3"]) -> str:
    """Which end of a shape along z rises higher, '+z' or '-z' ('+z' if both are as high).

    The head of a standing quadruped is above its tail, and the ends leave out what is between.
    """
    y, z = prior_verts[:, 1], prior_verts[:, 2]
    margin = _END * np.ptp(z)
    front, rear = y[z > z.max() - margin].max(), y[z < z.min() + margin].max()
    return "+z" if front >= rear else "-z"


def with_head_forwards(animal: Animal, head: str = "auto") -> Animal:
    """The animal with its head at +z.

    Args:
      head: where its head is, one of `HEAD_DIRECTIONS`.
    """
    if head == "auto":
        head = higher_end(animal.prior_verts)
    return turned_about(animal) if head == "-z" else animal


def turned_about(animal: Animal) -> Animal:
    """The same animal half a turn about y, and its camera with it, so that no picture changes.

    What was the front is the rear and what was left is right: bones change places with those at the
    other end, so that row i has the same name as before.
    """
    skeleton, order = _turned_skeleton(animal.skeleton)
    cam_from_world = animal.camera.cam_from_world.copy()
    cam_from_world[:3, :3] = cam_from_world[:3, :3] @ _HALF_TURN
    hypotheses = animal.hypotheses
    return dataclasses.replace(
        animal,
        rest_mesh=_turned_mesh(animal.rest_mesh),
        posed_mesh=_turned_mesh(animal.posed_mesh),
        prior_verts=animal.prior_verts @ _HALF_TURN,
        skeleton=skeleton,
        skin_weights=animal.skin_weights[:, order],
        angles_rad=_turned_angles(animal, skeleton, order),
        camera=dataclasses.replace(animal.camera, cam_from_world=cam_from_world),
        hypotheses=dataclasses.replace(hypotheses, rotations=_HALF_TURN @ hypotheses.rotations),
        albedo=lambda points: animal.albedo(points @ _HALF_TURN),
    )


def _turned_mesh(mesh: TriangleMesh) -> TriangleMesh:
    return dataclasses.replace(mesh, verts=mesh.verts @ _HALF_TURN)


def _turned_skeleton(skeleton: Skeleton) -> tuple[Skeleton, Int[np.ndarray, " k"]]:
    """The skeleton at the other end, and which bone of the old one each of its bones is."""
    order = np.arange(skeleton.num_bones)
    for one, other in (
        (skeleton.front(), skeleton.rear()),
        (skeleton.leg("front_left"), skeleton.leg("rear_right")),
        (skeleton.leg("front_right"), skeleton.leg("rear_left")),
    ):
        order[list(one)], order[list(other)] = other, one
    old_parents = skeleton.parents[order]
    turned = dataclasses.replace(
        skeleton,
        # Pairs change places, so `order` also says where an old bone is now.
        parents=np.where(old_parents < 0, -1, order[old_parents]).astype(np.int32),
        bones_rest=skeleton.bones_rest[order] @ _HALF_TURN,
        root_rest=skeleton.root_rest @ _HALF_TURN,
    )
    return turned, order


def _turned_angles(
    animal: Animal, turned: Skeleton, order: Int[np.ndarray, " k"]
) -> Float[np.ndarray, "k 3"]:
    """Joint angles of the turned bones: some of a bone's own axes point the other way now."""
    old_frames, new_frames = animal.skeleton.bone_frames()[order], turned.bone_frames()
    signs = np.sign(np.einsum("kij,ii,kij->kj", new_frames, _HALF_TURN, old_frames))
    about = np.stack(
        [signs[:, 1] * signs[:, 2], signs[:, 0] * signs[:, 2], signs[:, 0] * signs[:, 1]]
    )
    return animal.angles_rad[order] * about.T.astype(animal.angles_rad.dtype)
