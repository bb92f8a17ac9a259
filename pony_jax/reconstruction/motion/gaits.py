"""Walk, trot, gallop, graze and idle, made for the proportions of one skeleton.

Hooves go over flat ground: planted while they carry, lifted in an arc while they swing. The body
is carried at the height that the legs reach, and each leg follows by inverse kinematics within the
limits of `limits`.

Footfalls and duty factors (the share of a stride that a hoof is on the ground) are those of horses:

- Hildebrand (1965), "Symmetrical gaits of horses", Science 150, and (1977), "Analysis of
  asymmetrical gaits", Journal of Mammalogy 58: the order of footfalls and duty factors.
- Clayton (1994), "Comparison of the stride kinematics of the collected, working, medium and
  extended trot in horses", Equine Veterinary Journal 26, and (1995), "Comparison of the stride
  kinematics of the collected, medium, and extended walks in horses", American Journal of
  Veterinary Research 56: stance, swing and suspension.
- Back, Schamhardt and others (1995), "Kinematic differences between the distal portions of the
  forelimbs and hind limbs of horses at the trot", American Journal of Veterinary Research 56: how
  cannons and hooves turn.
"""

from collections.abc import Sequence

from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.motion.gait import Gait, HoofMotion, Swing, Wave
from pony_jax.reconstruction.motion.limits import OutOfReachError
from pony_jax.reconstruction.motion.stepping import make_clip
from pony_jax.reconstruction.skeleton import Skeleton

_WALK = Gait(
    name="walk",
    period_s=1.1,
    stride=1.0,
    longest_stride=1.25,
    touch_down={"rear_left": 0.0, "front_left": 0.25, "rear_right": 0.5, "front_right": 0.75},
    front=HoofMotion(duty=0.62, lift=0.09, pitch_deg=(-13, -3, 20, 48, -10)),
    rear=HoofMotion(duty=0.62, lift=0.08, pitch_deg=(-12, 0, 24, 40, -10)),
    vault=0.7,
    reach=0.995,
    sway=Wave(0.012, 1, 0.0),
    swings=(
        Swing("neck", 0, mean_deg=6, amplitude_deg=5, harmonic=2, phase=0.12),
        Swing("head", 0, mean_deg=0, amplitude_deg=3, harmonic=2, phase=0.62),
        Swing("loin", 1, amplitude_deg=3),
        Swing("chest", 1, amplitude_deg=2, phase=0.5),
        Swing("tail", 1, amplitude_deg=14, phase=0.1, lag=0.12),
        Swing("tail", 0, mean_deg=4, amplitude_deg=2, harmonic=2),
    ),
)
_TROT = Gait(
    name="trot",
    period_s=0.72,
    stride=1.45,
    longest_stride=2.0,
    touch_down={"rear_left": 0.5, "front_left": 0.0, "rear_right": 0.0, "front_right": 0.5},
    front=HoofMotion(duty=0.42, lift=0.14, pitch_deg=(-13, -3, 24, 75, -14)),
    rear=HoofMotion(duty=0.42, lift=0.11, pitch_deg=(-12, 0, 28, 52, -12)),
    bounce_front=Wave(0.012, 2, 0.92),
    bounce_rear=Wave(0.012, 2, 0.92),
    reach=0.995,
    swings=(
        Swing("neck", 0, mean_deg=-6, amplitude_deg=1.5, harmonic=2, phase=0.42),
        Swing("head", 0, mean_deg=8, amplitude_deg=1, harmonic=2, phase=0.92),
        Swing("loin", 1, amplitude_deg=2, phase=0.5),
        Swing("tail", 0, mean_deg=18, amplitude_deg=4, harmonic=2, phase=0.2, lag=0.15),
        Swing("tail", 1, amplitude_deg=6, lag=0.15),
    ),
)
_GALLOP = Gait(
    name="gallop",
    period_s=0.52,
    stride=2.5,
    longest_stride=3.2,
    touch_down={"rear_right": 0.0, "rear_left": 0.12, "front_right": 0.36, "front_left": 0.5},
    front=HoofMotion(duty=0.24, lift=0.20, pitch_deg=(-12, 0, 30, 88, -14)),
    rear=HoofMotion(duty=0.24, lift=0.13, pitch_deg=(-14, 0, 32, 58, -14)),
    vault=0.35,
    bounce_front=Wave(0.03, 1, 0.06),
    bounce_rear=Wave(0.012, 1, 0.66),
    swings=(
        Swing("neck", 0, mean_deg=10, amplitude_deg=9, phase=0.62),
        Swing("head", 0, mean_deg=-8, amplitude_deg=4, phase=0.12),
        Swing("loin", 0, mean_deg=-1, amplitude_deg=6, phase=0.5),
        Swing("chest", 0, amplitude_deg=2, phase=0.5),
        Swing("tail", 0, mean_deg=34, amplitude_deg=9, phase=0.2, lag=0.15),
    ),
)
_STANDING = HoofMotion(duty=1.0)
_IDLE = Gait(
    name="idle",
    period_s=6.0,
    front=_STANDING,
    rear=_STANDING,
    bounce_front=Wave(0.002, 2),
    sway=Wave(0.012),
    reach=0.996,
    swings=(
        Swing("neck", 0, mean_deg=2, amplitude_deg=3, harmonic=2, phase=0.3),
        Swing("neck", 1, amplitude_deg=9, phase=0.2),
        Swing("head", 1, amplitude_deg=5, phase=0.25),
        Swing("head", 0, amplitude_deg=3, harmonic=3),
        Swing("loin", 1, amplitude_deg=1),
        Swing("tail", 1, amplitude_deg=16, harmonic=3, lag=0.2),
    ),
)
_GRAZE = Gait(
    name="graze",
    period_s=5.0,
    front=_STANDING,
    rear=_STANDING,
    bounce_front=Wave(0.002, 3),
    sway=Wave(0.008),
    reach=0.99,
    lower_head=True,
    step={"front_left": 0.16, "front_right": -0.10, "rear_left": -0.05, "rear_right": 0.05},
    swings=(
        Swing("neck", 0, amplitude_deg=2, harmonic=3),
        Swing("neck", 1, amplitude_deg=8, phase=0.2),
        Swing("head", 0, amplitude_deg=3, harmonic=6),
        Swing("tail", 1, amplitude_deg=14, harmonic=2, lag=0.2),
    ),
)


def walk(
    subject: Animal | Skeleton,
    *,
    speed: float | None = None,
    stride: float | None = None,
    frames_per_second: float = 30.0,
    cycles: int = 1,
    in_place: bool = False,
) -> Clip:
    """A walk: four beats, left hind, left fore, right hind, right fore; duty factor 0.62.

    Two or three hooves are always on the ground. Shoulders and hips rise over the leg that carries
    them; the head nods twice a stride.

    Args:
      subject: what is to walk. The hooves of an animal roll on the soles of its mesh; those of a
        skeleton are points.
      speed: world units per second. None takes the usual rhythm of the stride.
      stride: way from one landing of a hoof to the next, world units. None takes what is usual for
        the length of the shortest leg, more for a higher speed, and less (with less lift) where
        that would turn a joint beyond its limits.
      frames_per_second: about; a stride gets a whole number of frames.
      cycles: strides in the clip.
      in_place: the animal stays where it is and the ground is to move, for viewers that repeat
        clips; otherwise it moves ahead by a stride a cycle.

    Returns:
      A clip that repeats: its last frame is its first, except for the way ahead.

    Raises:
      ValueError: for a skeleton without four straight legs of three bones, a stride that the legs
        cannot take, or numbers that are not positive.
    """
    return make_clip(
        subject,
        _WALK,
        speed=speed,
        stride=stride,
        frames_per_second=frames_per_second,
        cycles=cycles,
        in_place=in_place,
    )


def trot(
    subject: Animal | Skeleton,
    *,
    speed: float | None = None,
    stride: float | None = None,
    frames_per_second: float = 30.0,
    cycles: int = 1,
    in_place: bool = False,
) -> Clip:
    """A trot: two beats of diagonal pairs with a moment off the ground; duty factor 0.42.

    The body is lowest while a pair carries it, and head and back are held still.

    Arguments, result and errors are those of `walk`.
    """
    return make_clip(
        subject,
        _TROT,
        speed=speed,
        stride=stride,
        frames_per_second=frames_per_second,
        cycles=cycles,
        in_place=in_place,
    )


def gallop(
    subject: Animal | Skeleton,
    *,
    speed: float | None = None,
    stride: float | None = None,
    frames_per_second: float = 30.0,
    cycles: int = 1,
    in_place: bool = False,
) -> Clip:
    """A transverse gallop on the left lead: four beats, then all hooves off the ground.

    Right hind, left hind, right fore, left fore (the leading leg), duty factor 0.24; the loin bends
    and stretches, and the neck swings against the forehand.

    Arguments, result and errors are those of `walk`.
    """
    return make_clip(
        subject,
        _GALLOP,
        speed=speed,
        stride=stride,
        frames_per_second=frames_per_second,
        cycles=cycles,
        in_place=in_place,
    )


def idle(
    subject: Animal | Skeleton,
    *,
    frames_per_second: float = 30.0,
    cycles: int = 1,
) -> Clip:
    """Standing: weight goes from side to side, the head looks around, the tail swings.

    All hooves stay where they stand at rest.

    Args:
      subject: as for `walk`.
      frames_per_second: about; a cycle gets a whole number of frames.
      cycles: repetitions in the clip.

    Returns:
      A clip that repeats: its last frame is its first.

    Raises:
      ValueError: for a skeleton without four straight legs of three bones, or numbers that are not
        positive.
    """
    return make_clip(
        subject,
        _IDLE,
        frames_per_second=frames_per_second,
        cycles=cycles,
    )


def graze(
    subject: Animal | Skeleton,
    *,
    frames_per_second: float = 30.0,
    cycles: int = 1,
) -> Clip:
    """Grazing: forelegs apart, the mouth at the ground or as low as neck and legs let it be.

    All hooves stay where they are; the head moves over the grass and nibbles.

    Args:
      subject: as for `walk`.
      frames_per_second: about; a cycle gets a whole number of frames.
      cycles: repetitions in the clip.

    Returns:
      A clip that repeats: its last frame is its first.

    Raises:
      ValueError: for a skeleton without four straight legs of three bones, or numbers that are not
        positive.
    """
    return make_clip(
        subject,
        _GRAZE,
        frames_per_second=frames_per_second,
        cycles=cycles,
    )


GAITS = {"walk": walk, "trot": trot, "gallop": gallop, "graze": graze, "idle": idle}
"""Every gait by its name."""


def make_clips(
    animal: Animal, names: Sequence[str] = tuple(GAITS)
) -> tuple[list[Clip], dict[str, str]]:
    """The gaits `names` of an animal, and why it cannot make the others, by name."""
    clips, missing = [], {}
    for name in names:
        try:
            clips.append(GAITS[name](animal))
        except OutOfReachError as error:
            missing[name] = " ".join(str(error).split())
    return clips, missing
