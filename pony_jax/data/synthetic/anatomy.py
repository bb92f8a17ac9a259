"""Bones and flesh of a quadruped, as numbers: one horse, and other species as changes to it.

Object frame (x right, y up, z forward; the ground is y = 0), lengths in metres as in a horse of
1.55 m at the withers. Right is that of the camera frame, so the animal's own left is +x. Everything
is symmetric in x; limbs in pairs are written once, for +x, and mirrored.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Bone:
    """A segment from `head` (the joint it turns about) to `tail`; `parent` is an earlier bone."""

    name: str
    parent: str | None
    head: tuple[float, float, float]
    tail: tuple[float, float, float]


@dataclass(frozen=True)
class Limb:
    """A tube of elliptical cross section through `nodes`, one row each: x, y, z, and the radii
    across the animal (along x) and in the plane of symmetry. `bones` may move it; `blend` is the
    width in metres over which it melts into what it grows from."""

    name: str
    bones: tuple[str, ...]
    nodes: tuple[tuple[float, float, float, float, float], ...]
    blend: float = 0.06


SIDES = ("left", "right")

_CENTRE_BONES = (
    Bone("hips", None, (0, 1.29, -0.10), (0, 1.29, -0.74)),
    Bone("chest", "hips", (0, 1.29, -0.10), (0, 1.32, 0.52)),
    Bone("neck_low", "chest", (0, 1.32, 0.52), (0, 1.64, 0.84)),
    Bone("neck_high", "neck_low", (0, 1.64, 0.84), (0, 1.92, 1.04)),
    Bone("head", "neck_high", (0, 1.92, 1.04), (0, 1.52, 1.50)),
    Bone("tail_dock", "hips", (0, 1.40, -0.80), (0, 1.10, -0.98)),
    Bone("tail_hair", "tail_dock", (0, 1.10, -0.98), (0, 0.55, -1.00)),
)
_PAIRED_BONES = (
    Bone("upper_arm", "chest", (0.14, 1.10, 0.50), (0.14, 0.90, 0.40)),
    Bone("forearm", "upper_arm", (0.14, 0.90, 0.40), (0.13, 0.50, 0.42)),
    Bone("fore_cannon", "forearm", (0.13, 0.50, 0.42), (0.13, 0.20, 0.42)),
    Bone("fore_hoof", "fore_cannon", (0.13, 0.20, 0.42), (0.13, 0.00, 0.49)),
    Bone("thigh", "hips", (0.13, 1.20, -0.55), (0.15, 0.90, -0.40)),
    Bone("gaskin", "thigh", (0.15, 0.90, -0.40), (0.13, 0.57, -0.72)),
    Bone("hind_cannon", "gaskin", (0.13, 0.57, -0.72), (0.13, 0.20, -0.68)),
    Bone("hind_hoof", "hind_cannon", (0.13, 0.20, -0.68), (0.13, 0.00, -0.61)),
)


def mirrored(point: tuple[float, ...], side: str) -> tuple[float, ...]:
    """A point or limb node written for the left (+x), on `side`."""
    return point if side == "left" else (-point[0], *point[1:])


def without_side(name: str) -> str:
    """The name of a bone or limb without `left_` or `right_`."""
    return name.removeprefix("left_").removeprefix("right_")


def _sided(name: str | None, side: str) -> str | None:
    centre = {bone.name for bone in _CENTRE_BONES}
    return name if name is None or name in centre else f"{side}_{name}"


BONES: tuple[Bone, ...] = _CENTRE_BONES + tuple(
    Bone(
        f"{side}_{bone.name}",
        _sided(bone.parent, side),
        mirrored(bone.head, side),
        mirrored(bone.tail, side),
    )
    for side in SIDES
    for bone in _PAIRED_BONES
)
BONE_NAMES: tuple[str, ...] = tuple(bone.name for bone in BONES)
BONE_INDEX: dict[str, int] = {name: index for index, name in enumerate(BONE_NAMES)}
PARENTS: tuple[int, ...] = tuple(-1 if b.parent is None else BONE_INDEX[b.parent] for b in BONES)
SEGMENTS: Float[np.ndarray, "k 2 3"] = np.array([(bone.head, bone.tail) for bone in BONES])
"""Head and tail of every bone of the horse."""


_CENTRE_LIMBS = (
    Limb(
        "trunk",
        ("hips", "chest"),
        (
            (0, 1.27, -0.70, 0.17, 0.21),
            (0, 1.26, -0.56, 0.25, 0.275),
            (0, 1.23, -0.34, 0.275, 0.295),
            (0, 1.185, -0.10, 0.285, 0.325),
            (0, 1.165, 0.14, 0.28, 0.345),
            (0, 1.19, 0.34, 0.24, 0.345),
            (0, 1.19, 0.52, 0.185, 0.255),
        ),
    ),
    Limb(
        "withers",
        ("chest",),
        ((0, 1.46, 0.44, 0.07, 0.09), (0, 1.47, 0.24, 0.07, 0.09), (0, 1.42, 0.02, 0.06, 0.07)),
        blend=0.12,
    ),
    Limb(
        "neck",
        ("chest", "neck_low", "neck_high"),
        (
            (0, 1.26, 0.46, 0.155, 0.28),
            (0, 1.43, 0.67, 0.12, 0.235),
            (0, 1.64, 0.84, 0.10, 0.185),
            (0, 1.82, 0.97, 0.088, 0.145),
            (0, 1.92, 1.05, 0.08, 0.105),
        ),
        blend=0.12,
    ),
    Limb(
        "mane",
        ("chest", "neck_low", "neck_high"),
        (
            (0, 1.58, 0.50, 0.03, 0.05),
            (0, 1.75, 0.66, 0.04, 0.075),
            (0, 1.90, 0.82, 0.04, 0.075),
            (0, 2.02, 0.97, 0.035, 0.055),
        ),
        blend=0.04,
    ),
    Limb(
        "head",
        ("head",),
        (
            (0, 1.93, 1.06, 0.09, 0.105),
            (0, 1.835, 1.15, 0.096, 0.155),
            (0, 1.70, 1.28, 0.074, 0.112),
            (0, 1.59, 1.39, 0.060, 0.082),
            (0, 1.545, 1.43, 0.064, 0.078),
        ),
        blend=0.05,
    ),
    Limb(
        "tail",
        ("hips", "tail_dock", "tail_hair"),
        (
            (0, 1.39, -0.76, 0.045, 0.045),
            (0, 1.33, -0.90, 0.05, 0.05),
            (0, 1.08, -0.985, 0.07, 0.07),
            (0, 0.80, -1.01, 0.075, 0.075),
            (0, 0.54, -1.00, 0.035, 0.04),
        ),
        blend=0.04,
    ),
)
_PAIRED_LIMBS = (
    Limb(
        "ear",
        ("head",),
        ((0.055, 1.99, 1.04, 0.045, 0.045), (0.085, 2.14, 1.06, 0.027, 0.03)),
        blend=0.03,
    ),
    Limb(
        "foreleg",
        ("chest", "upper_arm", "forearm", "fore_cannon", "fore_hoof"),
        (
            (0.12, 1.33, 0.34, 0.08, 0.12),
            (0.14, 1.10, 0.46, 0.095, 0.14),
            (0.14, 0.92, 0.41, 0.085, 0.125),
            (0.135, 0.72, 0.41, 0.068, 0.09),
            (0.13, 0.51, 0.42, 0.057, 0.062),
            (0.13, 0.36, 0.42, 0.046, 0.049),
            (0.13, 0.20, 0.42, 0.053, 0.056),
            (0.13, 0.12, 0.445, 0.049, 0.051),
            (0.13, 0.04, 0.475, 0.068, 0.076),
        ),
        blend=0.08,
    ),
    Limb(
        "hind_leg",
        ("hips", "thigh", "gaskin", "hind_cannon", "hind_hoof"),
        (
            (0.11, 1.25, -0.55, 0.12, 0.20),
            (0.135, 1.06, -0.51, 0.11, 0.20),
            (0.145, 0.91, -0.46, 0.09, 0.15),
            (0.14, 0.74, -0.57, 0.073, 0.105),
            (0.13, 0.57, -0.71, 0.057, 0.072),
            (0.13, 0.39, -0.70, 0.047, 0.051),
            (0.13, 0.20, -0.68, 0.053, 0.057),
            (0.13, 0.12, -0.655, 0.049, 0.051),
            (0.13, 0.04, -0.625, 0.068, 0.076),
        ),
        blend=0.08,
    ),
)
_HORN = Limb(
    "horn",
    ("head",),
    (
        (0.05, 2.00, 1.07, 0.03, 0.03),
        (0.16, 2.06, 1.10, 0.03, 0.03),
        (0.20, 2.17, 1.15, 0.02, 0.02),
    ),
    blend=0.02,
)
_OSSICONE = Limb(
    "horn",
    ("head",),
    ((0.04, 2.00, 1.09, 0.028, 0.028), (0.05, 2.12, 1.08, 0.032, 0.032)),
    blend=0.02,
)
_UDDER = Limb(
    "udder", ("hips",), ((0, 0.96, -0.48, 0.11, 0.10), (0, 0.95, -0.36, 0.11, 0.10)), blend=0.08
)


@dataclass(frozen=True)
class Species:
    """A species as factors on the horse.

    `length`, `width` and `depth` map names to factors along a bone, across the animal and in its
    plane of symmetry; a name is a bone's without its side. `pitch_deg` turns bones about x (nose
    down is positive). `limbs` adds flesh (horns), given for the horse and left side; `without`
    drops limbs. `coats` names the coats of `pony_jax.data.synthetic.coat` that the species wears.
    """

    name: str
    coats: tuple[str, ...]
    length: dict[str, float] = field(default_factory=dict)
    width: dict[str, float] = field(default_factory=dict)
    depth: dict[str, float] = field(default_factory=dict)
    pitch_deg: dict[str, float] = field(default_factory=dict)
    limbs: tuple[Limb, ...] = ()
    without: tuple[str, ...] = ()

    def flesh(self) -> tuple[Limb, ...]:
        """All limbs of the horse's build that this species has, both sides."""
        centre = tuple(n for n in (*_CENTRE_LIMBS, *self.limbs) if n.nodes[0][0] == 0)
        paired = tuple(n for n in (*_PAIRED_LIMBS, *self.limbs) if n.nodes[0][0] != 0)
        both_sides = tuple(
            Limb(
                f"{side}_{limb.name}",
                tuple(_sided(bone, side) for bone in limb.bones),
                tuple(mirrored(node, side) for node in limb.nodes),
                limb.blend,
            )
            for limb in paired
            for side in SIDES
        )
        limbs = centre + both_sides
        return tuple(limb for limb in limbs if without_side(limb.name) not in self.without)

    def factors(self) -> Float[np.ndarray, "k 3"]:
        """Per bone the factors of width, depth and length."""
        known = {bone.name for bone in _CENTRE_BONES + _PAIRED_BONES}
        tables = (self.width, self.depth, self.length)
        for name in {*self.pitch_deg}.union(*tables) - known:
            raise ValueError(
                f"expected bones out of {sorted(known)} in the species {self.name}, got {name!r}; "
                "write the name of a bone without its side"
            )
        plain = [without_side(name) for name in BONE_NAMES]
        return np.array([[table.get(name, 1.0) for table in tables] for name in plain])

    def pitch_rad(self) -> Float[np.ndarray, " k"]:
        """Per bone its turn about x against the horse."""
        plain = [without_side(name) for name in BONE_NAMES]
        return np.radians([self.pitch_deg.get(name, 0.0) for name in plain])


_LEG_BONES = tuple(bone.name for bone in _PAIRED_BONES)
_UPPER_LEG = ("upper_arm", "thigh")

SPECIES: dict[str, Species] = {
    species.name: species
    for species in (
        Species("horse", coats=("bay", "chestnut", "black", "grey", "pinto")),
        Species(
            "zebra",
            coats=("zebra",),
            length={"neck_low": 0.88, "neck_high": 0.88, "tail_hair": 0.8, "chest": 0.95},
            width={"hips": 1.06, "chest": 1.04, "tail_dock": 0.8, "tail_hair": 0.7},
            depth={"neck_low": 1.08, "neck_high": 1.12, "tail_dock": 0.8, "tail_hair": 0.7},
        ),
        Species(
            "cow",
            coats=("holstein", "brown_cow"),
            length={
                **dict.fromkeys(_LEG_BONES, 0.82),
                "neck_low": 0.72,
                "neck_high": 0.62,
                "head": 0.92,
                "hips": 1.06,
                "chest": 1.06,
            },
            width={
                "hips": 1.12,
                "chest": 1.18,
                "head": 1.3,
                "neck_low": 1.15,
                "neck_high": 1.2,
                "tail_dock": 0.65,
                "tail_hair": 0.65,
            },
            depth={"chest": 1.06, "tail_dock": 0.65, "tail_hair": 0.65},
            pitch_deg={"neck_low": 32.0, "neck_high": 12.0, "head": -28.0},
            limbs=(_HORN, _UDDER),
            without=("mane",),
        ),
        Species(
            "giraffe",
            coats=("giraffe",),
            length={
                **dict.fromkeys(_LEG_BONES, 1.5),
                **dict.fromkeys(_UPPER_LEG, 1.2),
                "hips": 0.85,
                "chest": 0.85,
                "neck_low": 2.3,
                "neck_high": 2.1,
                "head": 0.9,
            },
            width={"tail_dock": 0.6, "tail_hair": 0.6, "neck_high": 1.1},
            depth={"neck_low": 0.85, "neck_high": 0.95, "tail_dock": 0.6, "tail_hair": 0.6},
            pitch_deg={
                "hips": -8.0,
                "chest": -4.0,
                "neck_low": -14.0,
                "neck_high": -4.0,
                "head": 22.0,
            },
            limbs=(_OSSICONE,),
        ),
    )
}
