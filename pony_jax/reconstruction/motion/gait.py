"""What a gait is made of: when hooves land, how they swing, and how the body goes along."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline


@dataclasses.dataclass(frozen=True)
class Swing:
    """A regular turn of a part of the body: `mean + amplitude * cos(2 pi (harmonic * p - phase))`.

    Angles are those of the whole part and are shared out evenly among its bones, each of which
    follows the one before it by `lag`. The phase p of the gait counts strides.

    Attributes:
      part: 'chest', 'neck', 'loin' or 'tail' (see `body_parts.BodyParts`), or 'head', the last bone
        of the neck.
      axis: 0 lowers what points forwards and raises the tail, 1 turns the far end to the left,
        2 twists.
      mean_deg, amplitude_deg: of the whole part.
      harmonic: how often in a stride.
      phase: of the largest angle, in turns.
      lag: of each further bone, in turns.
    """

    part: str
    axis: int
    mean_deg: float = 0.0
    amplitude_deg: float = 0.0
    harmonic: int = 1
    phase: float = 0.0
    lag: float = 0.0

    def angles_rad(self, phase: Float[np.ndarray, " t"], bone: int, count: int):
        """Angle of the bone number `bone` of `count`, at phases of the gait."""
        turn = np.cos(2 * np.pi * (self.harmonic * phase - self.phase - self.lag * bone))
        return np.radians(self.mean_deg + self.amplitude_deg * turn) / count


@dataclasses.dataclass(frozen=True)
class Wave:
    """A regular shift in leg lengths: `amplitude * cos(2 pi (harmonic * p - phase))`."""

    amplitude: float
    harmonic: int = 1
    phase: float = 0.0

    def at(self, phase: np.ndarray) -> np.ndarray:
        """The shift at phases of the gait."""
        return self.amplitude * np.cos(2 * np.pi * (self.harmonic * phase - self.phase))


@dataclasses.dataclass(frozen=True)
class HoofMotion:
    """How the hooves of the forelegs, or of the hind legs, move.

    Attributes:
      duty: share of the stride that a hoof is on the ground.
      lift: height of the swinging hoof, in leg lengths.
      pitch_deg: turns of the foot bone against the rest pose, hoof backwards positive: when the
        hoof lands, in the middle of the stance, when it leaves the ground, when it is highest, and
        shortly before it lands.
    """

    duty: float
    lift: float = 0.0
    pitch_deg: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def eased(self, effort: float) -> "HoofMotion":
        """The same with a share of the lift and of the turns."""
        pitch_deg = tuple(effort * pitch for pitch in self.pitch_deg)
        return dataclasses.replace(self, lift=effort * self.lift, pitch_deg=pitch_deg)

    def pitch_rad(self, phase: Float[np.ndarray, "*t"]) -> Float[np.ndarray, "*t"]:
        """Wanted turn of the foot bone at phases since the hoof landed; periodic and smooth."""
        swing = 1 - self.duty
        if swing <= 0:
            return np.zeros_like(phase)
        knots = [0, 0.5 * self.duty, self.duty, self.duty + 0.38 * swing, self.duty + 0.84 * swing]
        values = np.radians([*self.pitch_deg, self.pitch_deg[0]])
        return CubicSpline([*knots, 1.0], values, bc_type="periodic")(phase % 1.0)

    def path(
        self, phase: Float[np.ndarray, "*t"]
    ) -> tuple[Float[np.ndarray, "*t"], Float[np.ndarray, "*t"]]:
        """Place of the hoof at phases since it landed.

        Returns how far it is ahead of the middle of its stance, in strides and seen from the body,
        and its height as a share of the lift. Both move smoothly, and come to rest on the ground.
        """
        phase = phase % 1.0
        swing = np.clip((phase - self.duty) / max(1 - self.duty, 1e-9), 0.0, 1.0)
        swung = swing**3 * (10 - 15 * swing + 6 * swing**2)  # least jerk; at rest at both ends
        early = swing * (1.3 - 0.3 * swing)  # hooves are highest early in the swing
        return 0.5 * self.duty - phase + swung, 16 * (early * (1 - early)) ** 2


@dataclasses.dataclass(frozen=True)
class Gait:
    """A repeating motion of a quadruped.

    Attributes:
      name: of the clip.
      period_s: of a stride at the usual speed, seconds.
      stride: at that speed, in lengths of the shortest leg; 0 stands.
      longest_stride: that speed alone brings about; beyond, steps come faster.
      touch_down: when in a stride each leg lands, as a share.
      front, rear: of the hooves.
      vault: share of the rise and fall that straight legs would give, like a compass.
      bounce_front, bounce_rear: further rise and fall of the shoulders and of the hips.
      sway: of the whole body to the left.
      reach: share of a leg's length that it is stretched to at most.
      lower_head: bends chest, neck and head until the mouth is at the ground or a joint has turned
        as far as it may.
      swings: of spine, neck, head and tail, on top of that.
      step: places of hooves against the rest pose, forwards, in leg lengths.
    """

    name: str
    period_s: float
    front: HoofMotion
    rear: HoofMotion
    stride: float = 0.0
    longest_stride: float = 0.0
    touch_down: Mapping[str, float] = dataclasses.field(default_factory=dict)
    vault: float = 0.0
    bounce_front: Wave = Wave(0.0)
    bounce_rear: Wave = Wave(0.0)
    sway: Wave = Wave(0.0)
    reach: float = 0.99
    lower_head: bool = False
    swings: tuple[Swing, ...] = ()
    step: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def hoof(self, leg: str) -> HoofMotion:
        """The motion of the hoof of one of `LEGS`."""
        return self.front if leg.startswith("front") else self.rear

    def eased(self, effort: float) -> "Gait":
        """The same gait with a share of its lift, and of the turns of its hooves."""
        return dataclasses.replace(
            self, front=self.front.eased(effort), rear=self.rear.eased(effort)
        )
