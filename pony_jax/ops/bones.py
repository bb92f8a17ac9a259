"""Bones read off a mesh: a spine from tail to head, and straight legs under it."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pony_jax.ops.numerics import order_statistics
from pony_jax.ops.substitution import substitutable

_BODY_FROM = ("z_minmax", "z_minmax_y+")
LEG_MARGIN = 0.2
"""Share of the body's width, around the plane of symmetry, in which no foot is looked for."""


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Number and order of bones.

    Bones 0 .. n/2 - 1 of the n body bones run from the head's tip to the centre, n/2 .. n - 1 from
    the tail's tip to the centre. Then come the legs (front +x, rear +x, rear -x, front -x), each
    from the foot up. A bone is (end nearer the centre, far end).

    Attributes:
      body_from: 'z_minmax' puts the tips at the extremes in z; 'z_minmax_y+' looks for them among
        the vertices that are not below the mean height by more than 0.5, so not at the feet.
      static_roots: the two bones at the centre do not turn.
    """

    num_body_bones: int = 8
    num_legs: int = 4
    num_leg_bones: int = 3
    body_from: str = "z_minmax_y+"
    static_roots: bool = False

    def __post_init__(self) -> None:
        if self.num_body_bones < 2 or self.num_body_bones % 2:
            raise ValueError(
                f"num_body_bones: expected an even number, at least 2, got {self.num_body_bones}"
            )
        if self.num_legs not in (0, 4):
            raise ValueError(f"num_legs: expected 0 or 4, got {self.num_legs}")
        if self.num_legs and self.num_leg_bones < 1:
            raise ValueError(
                f"num_leg_bones: expected at least 1 for {self.num_legs} legs, "
                f"got {self.num_leg_bones}"
            )
        if self.body_from not in _BODY_FROM:
            raise ValueError(f"body_from: expected one of {_BODY_FROM}, got {self.body_from!r}")

    @property
    def num_bones(self) -> int:
        """All bones, k."""
        return self.num_body_bones + self.num_legs * self.num_leg_bones

    @property
    def root_bones(self) -> tuple[int, int]:
        """The front and the rear body bone at the centre."""
        return self.num_body_bones // 2 - 1, self.num_body_bones - 1

    def parents(self, leg_attachments: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Parent of each bone, -1 for roots; for files and pictures, not for the posing itself.

        Args:
          leg_attachments: body bone that each leg hangs from; None leaves legs without parents.
        """
        half = self.num_body_bones // 2
        parents = [i + 1 for i in range(self.num_body_bones)]
        parents[half - 1] = parents[-1] = -1
        for leg in range(self.num_legs):
            foot = self.num_body_bones + leg * self.num_leg_bones
            parents += range(foot + 1, foot + self.num_leg_bones)
            parents.append(-1 if leg_attachments is None else int(leg_attachments[leg]))
        return tuple(parents)


def estimate_bones(
    verts: Float[Array, "b v 3"],
    valid: Bool[Array, " v"],
    skeleton: Skeleton,
    leg_attachments: Int[Array, " l"] | tuple[int, ...] | None,
    *,
    batch_statistics: bool = False,
) -> tuple[Float[Array, "b k 2 3"], Int[Array, "b l"]]:
    """Rest bones of a batch of meshes, and the body bone that each leg hangs from.

    MagicPony@e4a8b20:magicpony/geometry/skinning.py:estimate_bones. The spine is straight from the
    foremost vertex to the centre and on to the hindmost one, in the plane x = 0. A leg is straight
    from the lowest vertex of its quadrant to the far end of its body bone. No gradient flows.

    Where there is nothing to look at, bones have no length and everything stays finite: an empty
    mesh puts all of them at the origin, and a quadrant without vertices leaves its leg at the far
    end of its body bone. (The original stops in a debugger.)

    Args:
      verts: positions, rest frame.
      valid: False for padding, which takes no part.
      leg_attachments: body bone of each leg; None takes the one whose far end is nearest in z to
        the foot (the legs of a pair share the +x side's choice).
      batch_statistics: measures the width of the body, near whose middle no foot is looked for,
        over all meshes together, and takes the first mesh's attachments for all, as the original
        does. Otherwise every mesh is looked at on its own.
    """
    above_feet = skeleton.body_from == "z_minmax_y+"
    marks = _landmarks_of(verts, valid, above_feet, batch_statistics)
    body, centre = _body_bones(marks, jnp.any(valid), skeleton)
    if not skeleton.num_legs:
        return body, jnp.zeros((len(verts), 0), jnp.int32)
    feet, found = marks.feet, marks.found
    feet_z = jnp.where(found, feet[..., 2], centre[:, None, 2])
    if leg_attachments is None:
        distance = jnp.abs(feet_z[:, :2, None] - body[:, None, :, 1, 2])
        front, rear = jnp.argmin(distance, axis=-1).T
        attachments = jnp.stack([front, rear, rear, front], axis=1)
        if batch_statistics:
            attachments = jnp.broadcast_to(attachments[:1], attachments.shape)
    else:
        attachments = jnp.broadcast_to(jnp.asarray(leg_attachments), feet_z.shape)
    hips = jnp.take_along_axis(body[:, :, 1], attachments[..., None], axis=1)
    feet = jnp.where(found[..., None], feet, hips)
    legs = _straight_bones(feet, hips, skeleton.num_leg_bones)[..., ::-1, :]
    bones = jnp.concatenate([body, legs.reshape(len(verts), -1, 2, 3)], axis=1)
    return bones, attachments.astype(jnp.int32)


def _straight_bones(
    start: Float[Array, "*b 3"], end: Float[Array, "*b 3"], num_bones: int
) -> Float[Array, "*b n 2 3"]:
    """A straight line cut into bones (nearer `start`, nearer `end`)."""
    share = np.linspace(0, 1, num_bones + 1, dtype=np.float32)[:, None]
    joints = start[..., None, :] * (1 - share) + end[..., None, :] * share
    return jnp.stack([joints[..., :-1, :], joints[..., 1:, :]], axis=-2)


class Landmarks(NamedTuple):
    """What is looked for among the vertices of a mesh.

    Attributes:
      mean: of all valid vertices, 0 without.
      tips: foremost and hindmost vertex.
      feet: lowest vertex of each quadrant.
      found: whether the quadrant has one.
    """

    mean: Float[Array, "b 3"]
    tips: Float[Array, "b 2 3"]
    feet: Float[Array, "b 4 3"]
    found: Bool[Array, "b 4"]


def _landmarks_of(
    verts: Float[Array, "b v 3"], valid: Bool[Array, " v"], above_feet: bool, batch_statistics: bool
) -> Landmarks:
    """The landmarks of all meshes together, or of each on its own."""
    if batch_statistics or len(verts) == 1:
        return landmarks(verts, valid, above_feet=above_feet)

    def of_mesh(verts: Float[Array, "v 3"]) -> Landmarks:
        return jax.tree.map(
            lambda mark: mark[0], landmarks(verts[None], valid, above_feet=above_feet)
        )

    # One after the other, not a batch of them: the bits are those of a mesh alone, on every path.
    return lax.map(of_mesh, verts)


@substitutable
def landmarks(
    verts: Float[Array, "b v 3"], valid: Bool[Array, " v"], *, above_feet: bool
) -> Landmarks:
    """The landmarks of a batch of meshes; no gradient flows.

    Args:
      valid: False for padding.
      above_feet: tips are not looked for lower than 0.5 below the mean.
    """
    verts = lax.stop_gradient(verts)
    count = jnp.maximum(jnp.sum(valid), 1)
    mean = jnp.sum(jnp.where(valid[:, None], verts, 0.0), axis=1) / count
    return Landmarks(mean, _tips(verts, valid, mean, above_feet), *_feet(verts, valid))


def _body_bones(
    marks: Landmarks, any_valid: Bool[Array, ""], skeleton: Skeleton
) -> tuple[Float[Array, "b n 2 3"], Float[Array, "b 3"]]:
    """Body bones, and the centre that they meet in."""
    in_plane = jnp.array([0.0, 1.0, 1.0])
    # Legs pull the mean vertex below the spine, hence the lift.
    lift = jnp.where(any_valid, 0.5 if skeleton.num_legs else 0.0, 0.0)
    centre = marks.mean * in_plane + lift * jnp.array([0.0, 1.0, 0.0])
    half = skeleton.num_body_bones // 2
    front, rear = (
        _straight_bones(marks.tips[:, i] * in_plane, centre, half)[..., ::-1, :] for i in range(2)
    )
    return jnp.concatenate([front, rear], axis=1), centre


def _tips(
    verts: Float[Array, "b v 3"],
    valid: Bool[Array, " v"],
    mean: Float[Array, "b 3"],
    above_feet: bool,
) -> Float[Array, "b 2 3"]:
    """Foremost and hindmost vertex."""
    candidate = jnp.broadcast_to(valid, verts.shape[:2])
    if above_feet:
        candidate = candidate & (verts[..., 1] > mean[:, None, 1] - 0.5)
    z = verts[..., 2]
    head = jnp.argmax(jnp.where(candidate, z, -jnp.inf), axis=1)
    tail = jnp.argmin(jnp.where(candidate, z, jnp.inf), axis=1)
    return jnp.take_along_axis(verts, jnp.stack([head, tail], axis=1)[..., None], axis=1)


def _feet(
    verts: Float[Array, "b v 3"], valid: Bool[Array, " v"]
) -> tuple[Float[Array, "b 4 3"], Bool[Array, "b 4"]]:
    """Lowest vertex of each quadrant, and whether the quadrant has one."""
    x, y, z = jnp.moveaxis(verts, -1, 0)
    margin = LEG_MARGIN * _width(x, valid)
    right, left, front, rear = x > margin, x < -margin, z > 0, z < 0
    quadrants = jnp.stack([right & front, right & rear, left & rear, left & front], axis=1)
    quadrants = quadrants & valid
    lowest = jnp.argmin(jnp.where(quadrants, y[:, None], jnp.inf), axis=-1)
    feet = jnp.take_along_axis(verts, lowest[..., None], axis=1)
    return feet, jnp.any(quadrants, axis=-1)


def _width(x: Float[Array, "b v"], valid: Bool[Array, " v"]) -> Float[Array, ""]:
    """Distance between the 5 % and the 95 % quantiles of x over all meshes (a quirk)."""
    b = len(x)
    last = jnp.maximum(b * jnp.sum(valid) - 1, 0)
    position = jnp.array([0.05, 0.95]) * last
    low = jnp.floor(position).astype(jnp.int32)
    ranks = jnp.stack([low, jnp.minimum(low + 1, last)])
    a, c = order_statistics(jnp.where(valid, x, jnp.inf).reshape(-1), ranks)
    quantiles = a + (c - a) * (position - low)
    return jnp.where(jnp.any(valid), quantiles[1] - quantiles[0], 0.0)
