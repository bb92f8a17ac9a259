"""What the names of joints say: which part of the body they move, and where keypoints lie.

Parts are read off words that rigs of quadrupeds have in common. Keypoints and chains of bones come
from a table for each kind of rig; a skeleton of another kind has a keypoint at every joint instead,
and no chains.
"""

import re
from typing import NamedTuple

PARTS = ("trunk", "neck", "head", "ear", "tail", "leg")

_WORDS = (
    # The first that fits decides: 'FrontShoulder.L' is part of a leg, 'Neck1' is not.
    ("ear", r"ears?"),
    ("tail", r"tails?"),
    ("neck", r"neck"),
    ("head", r"head|jaw|skull|nose|muzzle|snout|eyes?|mouth|tongue|horns?|antlers?"),
    (
        "leg",
        r"legs?|foot|feet|hoof|hooves|paws?|toes?|fingers?|hands?|arms?|forearm|thigh|calf|shin|"
        r"knee|hock|ankle|wrist|elbow|cannon|pastern|fetlock|shoulder|clavicle|ffb?|upleg|ik",
    ),
)


def part_of(joint: str) -> str:
    """The part out of `PARTS` that a joint moves, by its name; `trunk` where nothing says more."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", joint)
    found = re.findall(r"[a-z]+", words.lower())
    for part, pattern in _WORDS:
        if any(re.fullmatch(pattern, word) for word in found):
            return part
    return "trunk"


class KeypointRule(NamedTuple):
    """A place on the skin: of the vertices that `joint` moves most (`is_tip`) the one farthest in
    `direction`; otherwise the one where a ray from the joint in `direction` leaves the body.
    Directions are x to the animal's left, y up, z forward."""

    joint: str
    direction: tuple[float, float, float]
    is_tip: bool = False


class Rig(NamedTuple):
    """The joints of a kind of rig. Joints in pairs are written for the left, as `{side}`."""

    sides: dict[str, str]  # what `{side}` is for left and right
    keypoints: dict[str, KeypointRule]  # with `{side}` in the name: one for each side
    front: tuple[str, ...]  # chains of joints, from the middle of the back to the head,
    rear: tuple[str, ...]  # and to the tail; `Tail+` is all joints Tail1, Tail2, ...
    fore: tuple[str, ...]  # from the shoulder to the hoof
    hind: tuple[str, ...]  # from the hip to the hoof


_OUT = (1.0, 0.0, 0.0)
_UP = (0.0, 1.0, 0.0)
_HOOF = (0.0, -1.0, 0.5)

QUATERNIUS = Rig(
    sides={"left": "L", "right": "R"},
    keypoints={
        "nose": KeypointRule("Head", (0.0, -0.3, 1.0), is_tip=True),
        "poll": KeypointRule("Head", _UP),
        "withers": KeypointRule("Neck1", _UP),
        "back": KeypointRule("Torso", _UP),
        "tail_base": KeypointRule("Tail2", _UP),
        "tail_tip": KeypointRule("Tail+", (0.0, -1.0, -0.5), is_tip=True),
        "{side}_shoulder": KeypointRule("FrontUpperLeg.{side}", _OUT),
        "{side}_knee": KeypointRule("FrontLowerLeg.{side}", _OUT),
        "{side}_fore_fetlock": KeypointRule("IKFrontLeg.{side}", _OUT),
        "{side}_fore_hoof": KeypointRule("FF.{side}", _HOOF, is_tip=True),
        "{side}_hip": KeypointRule("BackLeg.{side}", _OUT),
        "{side}_stifle": KeypointRule("BackUpperLeg.{side}", _OUT),
        "{side}_hock": KeypointRule("BackLowerLeg.{side}", _OUT),
        "{side}_hind_fetlock": KeypointRule("IKBackLeg.{side}", _OUT),
        "{side}_hind_hoof": KeypointRule("FFB.{side}", _HOOF, is_tip=True),
    },
    front=("Torso2", "Torso3", "Neck1", "Neck2", "Neck3", "Head"),
    rear=("Torso2", "Torso", "Back", "Tail+"),
    fore=("FrontUpperLeg.{side}", "FrontLowerLeg.{side}", "IKFrontLeg.{side}", "FF.{side}"),
    hind=(
        *("BackLeg.{side}", "BackUpperLeg.{side}", "BackLowerLeg.{side}"),
        *("IKBackLeg.{side}", "FFB.{side}"),
    ),
)
"""Quaternius' "Ultimate Animated Animals". One bone reaches from the shoulder to the carpus."""

_RIGS = (QUATERNIUS,)


class NamedParts(NamedTuple):
    """What a rig's table says about one skeleton; joints by their index."""

    keypoints: dict[str, tuple[int, tuple[float, float, float], bool]]
    chains: dict[str, tuple[int, ...]]  # front, rear, left_fore, ...


def name_parts(joints: tuple[str, ...]) -> NamedParts | None:
    """The first table of which the skeleton has every joint, or None."""
    return next(filter(None, (_named(rig, joints) for rig in _RIGS)), None)


def _named(rig: Rig, joints: tuple[str, ...]) -> NamedParts | None:
    index = {joint: i for i, joint in enumerate(joints)}
    keypoints: dict[str, tuple] = {}
    chains: dict[str, tuple[int, ...]] = {}
    try:
        for name, rule in rig.keypoints.items():
            for side, (full, wanted) in _of_sides(name, rig.sides).items():
                sign = -1.0 if side == "right" else 1.0
                direction = (sign * rule.direction[0], *rule.direction[1:])
                joint = _expand((rule.joint.format(side=wanted),), index)[-1]
                keypoints[full] = (joint, direction, rule.is_tip)
        for name in ("front", "rear"):
            chains[name] = _expand(getattr(rig, name), index)
        for side, wanted in rig.sides.items():
            for leg in ("fore", "hind"):
                named = tuple(joint.format(side=wanted) for joint in getattr(rig, leg))
                chains[f"{side}_{leg}"] = _expand(named, index)
    except KeyError:
        return None
    return NamedParts(keypoints, chains)


def _of_sides(name: str, sides: dict[str, str]) -> dict[str, tuple[str, str]]:
    if "{side}" not in name:
        return {"": (name, "")}
    return {side: (name.format(side=side), wanted) for side, wanted in sides.items()}


def _expand(names: tuple[str, ...], index: dict[str, int]) -> tuple[int, ...]:
    """Indices of joints; `Tail+` stands for Tail1, Tail2, ..., those that are there."""
    found: list[int] = []
    for name in names:
        if not name.endswith("+"):
            found.append(index[name])
            continue
        numbered = [j for j in index if j.startswith(name[:-1]) and j[len(name) - 1 :].isdigit()]
        if not numbered:
            raise KeyError(name)
        found += [index[j] for j in sorted(numbered, key=lambda j: int(j[len(name) - 1 :]))]
    return tuple(found)
