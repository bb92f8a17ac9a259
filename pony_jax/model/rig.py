"""The animal at rest with its skeleton, and how it is posed."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pony_jax.ops.bones import Skeleton, estimate_bones
from pony_jax.ops.kinematics import posed_bone_transforms
from pony_jax.ops.mesh import Mesh
from pony_jax.ops.skinning import pose_bones, skin, skinning_weights


@dataclasses.dataclass(frozen=True)
class RigSettings:
    """How the skeleton is put into a mesh.

    Attributes:
      skinning_temperature: see `ops.skinning.skinning_weights`; world units.
      leg_attachments: body bone that each leg hangs from; None takes the nearest along z.
      batch_statistics: see `ops.bones.estimate_bones`. With it, an animal's bones depend on the
        other images of its batch, as they do in the original.
    """

    skinning_temperature: float
    leg_attachments: tuple[int, ...] | None
    batch_statistics: bool


class Rig(NamedTuple):
    """The animals of a batch before they are posed: what a rigged file needs.

    `s` is b, or 1 while no image deforms the prior. Rows of `verts_rest` and `weights` from
    `prior.vert_count` on are padding.

    Attributes:
      prior: mesh of the category. Texture and features are looked up at its vertices.
      deformation: offset of each vertex of the prior in each image, world units; None while no
        image deforms it.
      verts_rest: vertices of the prior, deformed: where they are while no bone turns.
      bones_rest: joint (the end nearer the body's centre) and far end of each bone.
      parents: bone that each bone hangs from; -1 for the bones that hang from none.
      leg_attachments: body bone that each leg's hip lies on, whether or not it hangs from it.
      weights: share of each bone in each vertex; they sum to 1.
    """

    prior: Mesh
    deformation: Float[Array, "b v 3"] | None
    verts_rest: Float[Array, "s v 3"]
    bones_rest: Float[Array, "b k 2 3"]
    parents: Int[Array, "s k"]
    leg_attachments: Int[Array, "s l"]
    weights: Float[Array, "s v k"]


class Posed(NamedTuple):
    """The animals of a batch in their poses, world frame; see `Rig` for bones."""

    verts: Float[Array, "b v 3"]
    bones: Float[Array, "b k 2 3"]


def make_rig(
    prior: Mesh,
    deformation: Float[Array, "b v 3"] | None,
    skeleton: Skeleton,
    settings: RigSettings,
    *,
    num_images: int,
    attach_legs: bool,
) -> Rig:
    """Deforms the prior for each image and puts the skeleton into it.

    Args:
      num_images: b.
      attach_legs: legs hang from their body bones; otherwise they move on their own.
    """
    verts = prior.verts[None]
    if deformation is not None:
        verts = verts + deformation
    valid = jnp.arange(len(prior.verts)) < prior.vert_count
    bones, attachments = estimate_bones(
        verts,
        valid,
        skeleton,
        settings.leg_attachments,
        batch_statistics=settings.batch_statistics,
    )
    weights = skinning_weights(verts, bones, settings.skinning_temperature, prior.vert_count)
    return Rig(
        prior=prior,
        deformation=deformation,
        verts_rest=verts,
        bones_rest=jnp.broadcast_to(bones, (num_images, *bones.shape[1:])),
        parents=_parents(skeleton, attachments, attach_legs),
        leg_attachments=attachments,
        weights=weights,
    )


def pose(
    rig: Rig, angles_rad: Float[Array, "b k 3"] | None, skeleton: Skeleton, *, attach_legs: bool
) -> Posed:
    """Turns the bones of each animal, and its vertices with them.

    Args:
      angles_rad: Euler angles of the bones, see `ops.kinematics.posed_bone_transforms`; None leaves
        the animals at rest.
    """
    b = len(rig.bones_rest)
    verts = jnp.broadcast_to(rig.verts_rest, (b, *rig.verts_rest.shape[1:]))
    if angles_rad is None:
        return Posed(verts, rig.bones_rest)
    transforms = posed_bone_transforms(
        rig.bones_rest, angles_rad, skeleton, rig.leg_attachments, attach_legs
    )
    weights = jnp.broadcast_to(rig.weights, (b, *rig.weights.shape[1:]))
    posed = skin(verts, weights, transforms, rig.prior.vert_count)
    return Posed(posed, pose_bones(rig.bones_rest, transforms))


def _parents(
    skeleton: Skeleton, attachments: Int[Array, "s l"], attach_legs: bool
) -> Int[Array, "s k"]:
    """`Skeleton.parents` of attachments that may be traced."""
    fixed = np.array(skeleton.parents(), np.int32)
    parents = jnp.broadcast_to(fixed, (len(attachments), len(fixed)))
    if not (skeleton.num_legs and attach_legs):
        return parents
    first, step = skeleton.num_body_bones, skeleton.num_leg_bones
    return parents.at[:, first + step - 1 :: step].set(attachments)
