"""Turns a gait into joint angles: hooves go over the ground, the body and the legs follow."""

import dataclasses

import numpy as np
from jaxtyping import Float

from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.motion.body_parts import body_parts
from pony_jax.reconstruction.motion.contacts import travelling
from pony_jax.reconstruction.motion.gait import Gait, Wave
from pony_jax.reconstruction.motion.head import lowered_head
from pony_jax.reconstruction.motion.legs import Leg, find_legs
from pony_jax.reconstruction.motion.limits import OutOfReachError, check_joint_limits
from pony_jax.reconstruction.motion.soles import (
    Sole,
    find_sole,
    ground_height,
    skeleton_of,
    tip_above_sole,
)
from pony_jax.reconstruction.skeleton import Skeleton

_PHASES = np.linspace(0, 1, 240, endpoint=False)
"""Where heights of the body are worked out before they are looked at frame by frame."""
_HARMONICS = 3  # of a stride, in the rise and fall of the body
_PLANNING_STEPS = 6
_EFFORTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Shares of a usual stride and lift that are tried until the joints keep their limits."""
_LOWEST_HIP = 0.6
"""Share of a leg's length: an animal that would have to crouch lower takes too long a stride."""


def make_clip(
    subject: Animal | Skeleton,
    gait: Gait,
    *,
    speed: float | None = None,
    stride: float | None = None,
    frames_per_second: float = 30.0,
    cycles: int = 1,
    in_place: bool = False,
) -> Clip:
    """A clip of whole strides; see `gaits` for the arguments and what it raises."""
    skeleton = skeleton_of(subject)
    chosen, period_s = _pace(skeleton, gait, speed, stride)
    # A stride that was asked for is taken or refused; a usual one gives way to short limbs.
    efforts = list(_EFFORTS if stride is None else _EFFORTS[:1])
    while True:
        effort = efforts.pop(0)
        period = period_s if speed is None else effort * period_s
        stepping = _Stepping(subject, skeleton, gait.eased(effort), effort * chosen, period)
        try:
            return stepping.clip(frames_per_second, cycles, in_place)
        except OutOfReachError:
            if not efforts:
                raise


def _pace(
    skeleton: Skeleton, gait: Gait, speed: float | None, stride: float | None
) -> tuple[float, float]:
    """Stride (world units) and period (seconds)."""
    for name, value in {"speed": speed, "stride": stride}.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name}: expected a positive number or None, got {value}")
    leg = min(leg.length for leg in find_legs(skeleton))
    usual = gait.stride * leg
    if stride is None and speed is not None:
        # Faster animals take longer and quicker steps, in equal parts.
        stride = min(usual * np.sqrt(speed * gait.period_s / usual), gait.longest_stride * leg)
    stride = usual if stride is None else float(stride)
    return stride, gait.period_s if speed is None else stride / speed


class _Stepping:
    """One gait of one animal, at one stride and period."""

    def __init__(
        self,
        subject: Animal | Skeleton,
        skeleton: Skeleton,
        gait: Gait,
        stride: float,
        period_s: float,
    ) -> None:
        self.skeleton, self.gait, self.stride, self.period_s = skeleton, gait, stride, period_s
        self.legs = find_legs(skeleton)
        self.soles = {leg.name: find_sole(subject, leg) for leg in self.legs}
        self.ground = ground_height(list(self.soles.values()))
        self.leg_length = min(leg.length for leg in self.legs)
        self.corrections = {leg.name: np.zeros((len(_PHASES), 3)) for leg in self.legs}

    def clip(self, frames_per_second: float, cycles: int, in_place: bool) -> Clip:
        """The clip, checked against the limits of the joints."""
        if not (np.isfinite(frames_per_second) and frames_per_second > 0):
            raise ValueError(f"frames_per_second: expected above 0, got {frames_per_second}")
        if cycles < 1 or cycles != int(cycles):
            raise ValueError(f"cycles: expected a whole number, at least 1, got {cycles}")
        frames = max(4, round(frames_per_second * self.period_s))
        phase = np.arange(frames) / frames
        angles, shift, rotation = self._poses(phase)
        # The last frame is the first again, bit by bit.
        rows = np.append(np.tile(np.arange(frames), int(cycles)), 0)
        clip = Clip(
            self.gait.name,
            np.arange(len(rows)) / frames * self.period_s,
            angles[rows],
            shift[rows],
            rotation[rows],
        )
        return clip if in_place else travelling(clip, self.stride / self.period_s)

    def _poses(self, phase: np.ndarray):
        """Joint angles, shift and rotation of the body at phases, seen from the moving body."""
        angles = self._body_angles(phase)
        bodies = self._carriers(angles)
        shift, rotation = self._carry(phase, bodies, self._plan_heights())
        root = _root_transform(self.skeleton, shift, rotation)
        for leg in self.legs:
            angles[:, leg.bones], _ = self._leg_angles(leg, phase, root @ bodies[leg.name])
        check_joint_limits(self.skeleton, angles)
        return angles, shift, rotation

    def _body_angles(self, phase: np.ndarray) -> Float[np.ndarray, "t k 3"]:
        parts = body_parts(self.skeleton)
        rows = parts._asdict() | {"head": parts.neck[-1:]}
        angles = np.zeros((len(phase), self.skeleton.num_bones, 3))
        for swing in self.gait.swings:
            bones = rows[swing.part]
            for i, bone in enumerate(bones):
                angles[:, bone, swing.axis] += swing.angles_rad(phase, i, len(bones))
        if self.gait.lower_head:
            angles[..., 0] += lowered_head(self.skeleton, self.ground)
        return angles

    def _hoof_places(self, leg: Leg, phase: np.ndarray, pitch: np.ndarray):
        """Where the tip of a leg belongs when its foot bone has a pitch, seen from the body."""
        hoof, gait = self.gait.hoof(leg.name), self.gait
        ahead, height = hoof.path(phase - gait.touch_down.get(leg.name, 0.0))
        # Steps are taken around a place between the hip and where the hoof stands at rest.
        middle = 0.5 * (leg.hip[2] + leg.tip[2]) if self.stride else leg.tip[2]
        tilted, above = tip_above_sole(leg, self.soles[leg.name], pitch)
        z = middle + gait.step.get(leg.name, 0.0) * self.leg_length + self.stride * ahead + tilted
        y = self.ground + hoof.lift * self.leg_length * height + above
        places = np.stack([np.full_like(z, leg.tip[0]), y, z], axis=-1)
        corrections = self.corrections[leg.name].T
        return places + np.stack([np.interp(phase, _PHASES, c, period=1.0) for c in corrections], 1)

    def _pitch(self, leg: Leg, phase: np.ndarray) -> np.ndarray:
        hoof = self.gait.hoof(leg.name)
        return hoof.pitch_rad(phase - self.gait.touch_down.get(leg.name, 0.0))

    def _leg_angles(
        self,
        leg: Leg,
        phase: np.ndarray,
        world_from_body: Float[np.ndarray, "t 4 4"],
        *,
        nearest: bool = False,
    ) -> tuple[Float[np.ndarray, "t 3 3"], Float[np.ndarray, " t"]]:
        """Angles of a leg's bones, and the pitch of its hoof; `nearest` as for `Leg.solve`."""
        rotation, shift = world_from_body[:, :3, :3], world_from_body[:, :3, 3]
        body_pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 1, 1])
        wanted = self._pitch(leg, phase)
        pitch = wanted
        for _ in range(4):  # how the hoof is tilted says how high it must be, and the reverse
            places = self._hoof_places(leg, phase, pitch)
            in_body = np.einsum("tji,tj->ti", rotation, places - shift)
            angles = leg.solve(in_body, wanted - body_pitch, nearest=nearest)
            pitch = angles[:, :, 0].sum(axis=1) + body_pitch
        return angles, pitch

    def _carriers(self, angles: Float[np.ndarray, "t k 3"]) -> dict[str, np.ndarray]:
        """Where the bone that each leg hangs from takes its points, if the root does not move."""
        transforms = self.skeleton.world_from_rest(angles)
        still = np.broadcast_to(np.eye(4), (len(angles), 4, 4))
        return {
            leg.name: still if leg.attachment < 0 else transforms[:, leg.attachment]
            for leg in self.legs
        }

    def _carry(
        self, phase: np.ndarray, bodies: dict[str, np.ndarray], heights: list["_Height"]
    ) -> tuple[Float[np.ndarray, "t 3"], Float[np.ndarray, "t 3 3"]]:
        """Shift and rotation of the body that put shoulders and hips at their heights."""
        wanted = np.stack([height.at(phase) for height in heights], axis=-1)
        depth = np.array([_middle_hip(pair)[2] for pair in self._pairs()])
        depth = depth - self.skeleton.root_rest[2]
        lift, pitch = np.zeros(len(phase)), np.zeros(len(phase))
        sway = self.leg_length * self.gait.sway.at(phase)
        for _ in range(4):
            shift = np.stack([sway, lift, np.zeros_like(lift)], axis=-1)
            rotation = _rotation_about_x(pitch)
            error = wanted - self._hip_places(bodies, shift, rotation)[..., 1]
            turn = (error[:, 1] - error[:, 0]) / (depth[0] - depth[1])
            pitch = pitch + turn
            lift = lift + error[:, 0] + turn * depth[0]
        return shift, rotation

    def _pairs(self) -> list[list[Leg]]:
        """Forelegs and hind legs."""
        return [[leg for leg in self.legs if leg.is_front is front] for front in (True, False)]

    def _hip_places(
        self, bodies: dict[str, np.ndarray], shift: np.ndarray, rotation: np.ndarray
    ) -> Float[np.ndarray, "t 2 3"]:
        """Where the shoulders and the hips are, in the middle between left and right."""
        root = _root_transform(self.skeleton, shift, rotation)
        places = []
        for pair in self._pairs():
            # Both legs of a pair hang from the same bone.
            above = root @ bodies[pair[0].name]
            places.append(above[:, :3, :3] @ _middle_hip(pair) + above[:, :3, 3])
        return np.stack(places, axis=1)

    def _plan_heights(self) -> list["_Height"]:
        """Heights of shoulders and hips in a stride: as high as the legs reach, made smooth.

        How the body is held moves the hips forwards and backwards, how straight a leg is tilts its
        hoof, and the skin of a hoof follows other bones a bit; all of these change how high the
        hips may be. So this is done several times, and `corrections` is found on the way.
        """
        angles = self._body_angles(_PHASES)
        bodies = self._carriers(angles)
        hips = np.stack([_middle_hip(pair) for pair in self._pairs()])
        hips = np.broadcast_to(hips, (len(_PHASES), 2, 3))
        pitches = {leg.name: self._pitch(leg, _PHASES) for leg in self.legs}
        for _ in range(_PLANNING_STEPS):
            heights = [
                self._plan_height(pair, hips[:, i], pitches) for i, pair in enumerate(self._pairs())
            ]
            carried = self._carry(_PHASES, bodies, heights)
            hips = self._hip_places(bodies, *carried)
            root = _root_transform(self.skeleton, *carried)
            for leg in self.legs:
                solved = self._leg_angles(leg, _PHASES, root @ bodies[leg.name], nearest=True)
                angles[:, leg.bones], pitches[leg.name] = solved
            transforms = self.skeleton.world_from_rest(angles, *carried)
            for leg in self.legs:
                self.corrections[leg.name] = _skin_offset(leg, self.soles[leg.name], transforms)
        return heights

    def _plan_height(
        self, pair: list[Leg], hips: Float[np.ndarray, "n 3"], pitches: dict[str, np.ndarray]
    ) -> "_Height":
        highest = np.min([self._highest_hip(leg, hips, pitches[leg.name]) for leg in pair], axis=0)
        spectrum = np.fft.rfft(highest)[1 : _HARMONICS + 1] * 2 / len(_PHASES) * self.gait.vault
        front = pair[0].is_front
        wave = self.gait.bounce_front if front else self.gait.bounce_rear
        free = _Height(0.0, spectrum, self.leg_length, wave)
        return dataclasses.replace(free, base=float(np.min(highest - free.at(_PHASES))))

    def _highest_hip(
        self, leg: Leg, hips: Float[np.ndarray, "n 3"], pitch: np.ndarray
    ) -> np.ndarray:
        """How high a leg lets its hip be, at `_PHASES`."""
        places = self._hoof_places(leg, _PHASES, pitch)
        flat = np.sum((places - hips)[:, [0, 2]] ** 2, axis=-1)
        square = (self.gait.reach * leg.length) ** 2 - flat
        if square.min() <= (_LOWEST_HIP * leg.length) ** 2:
            raise OutOfReachError(
                f"stride: expected one that the {leg.name} leg of length {leg.length:.3g} can take "
                f"in a {self.gait.name}, got {self.stride:.3g}; take a shorter one"
            )
        return places[:, 1] + np.sqrt(square)


@dataclasses.dataclass(frozen=True, eq=False)
class _Height:
    """Height of shoulders or hips over a stride."""

    base: float
    spectrum: np.ndarray  # of the rise and fall that the legs cause
    leg_length: float
    wave: Wave

    def at(self, phase: np.ndarray) -> np.ndarray:
        turns = 2j * np.pi * np.arange(1, len(self.spectrum) + 1) * phase[:, None]
        rise = (np.exp(turns) @ self.spectrum).real
        return self.base + rise + self.leg_length * self.wave.at(phase)


def _skin_offset(
    leg: Leg, sole: Sole, transforms: Float[np.ndarray, "t k 4 4"]
) -> Float[np.ndarray, "t 3"]:
    """From where the skin of a sole is to where it would be if it followed its foot bone alone."""
    foot = transforms[:, leg.bones[-1]]
    rigid = np.einsum("tij,nj->tni", foot[:, :3, :3], sole.points) + foot[:, None, :3, 3]
    skinned = sole.posed(transforms)
    offset = np.mean(rigid - skinned, axis=1)
    offset[:, 1] = rigid[..., 1].min(axis=1) - skinned[..., 1].min(axis=1)
    return offset


def _rotation_about_x(angle: np.ndarray) -> Float[np.ndarray, "t 3 3"]:
    zero, one = np.zeros_like(angle), np.ones_like(angle)
    c, s = np.cos(angle), np.sin(angle)
    return np.moveaxis(np.array([[one, zero, zero], [zero, c, -s], [zero, s, c]]), -1, 0)


def _middle_hip(pair: list[Leg]) -> Float[np.ndarray, " 3"]:
    return np.mean([leg.hip for leg in pair], axis=0)


def _root_transform(
    skeleton: Skeleton, shift: Float[np.ndarray, "t 3"], rotation: Float[np.ndarray, "t 3 3"]
) -> Float[np.ndarray, "t 4 4"]:
    """Where the root joint takes what hangs from it."""
    transform = np.tile(np.eye(4), (len(shift), 1, 1))
    transform[:, :3, :3] = rotation
    root = skeleton.root_rest.astype(np.float64)
    transform[:, :3, 3] = root - rotation @ root + shift
    return transform
