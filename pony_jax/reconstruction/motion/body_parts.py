"""Which bones of the body carry legs, and which swing freely as neck and tail."""

from typing import NamedTuple

from pony_jax.reconstruction.skeleton import LEGS, Skeleton


class BodyParts(NamedTuple):
    """Rows of the bones of the body, from the centre outwards.

    Attributes:
      chest: from the centre to the bone that the forelegs hang from.
      neck: in front of the forelegs; the last one is the head.
      loin: from the centre to the bone that the hind legs hang from.
      tail: behind the hind legs.
    """

    chest: tuple[int, ...]
    neck: tuple[int, ...]
    loin: tuple[int, ...]
    tail: tuple[int, ...]


def body_parts(skeleton: Skeleton) -> BodyParts:
    """Sorts the bones of the body by the legs that hang from them."""
    carriers = _leg_carriers(skeleton)
    front, rear = skeleton.front(), skeleton.rear()
    return BodyParts(
        chest=tuple(i for i in front if i in carriers),
        neck=tuple(i for i in front if i not in carriers),
        loin=tuple(i for i in rear if i in carriers),
        tail=tuple(i for i in rear if i not in carriers),
    )


def _leg_carriers(skeleton: Skeleton) -> set[int]:
    """Bones that legs hang from, and those between them and the root joint."""
    found: set[int] = set()
    for name in LEGS:
        for hip in skeleton.leg(name)[:1]:
            parent = int(skeleton.parents[hip])
            while parent >= 0:
                found.add(parent)
                parent = int(skeleton.parents[parent])
    return found
