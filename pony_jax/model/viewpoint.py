"""Where the camera stands: hypotheses read off an image's tokens, and the camera of one of them."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pony_jax.model.schedule import Schedule, Step
from pony_jax.ops.cameras import Camera, camera_from_pose
from pony_jax.ops.viewpoint import (
    Hypotheses,
    choose_hypothesis,
    decode_hypotheses,
    elevated,
    hypothesis_probabilities,
    mirrored_outputs,
    num_hypotheses,
    num_viewpoint_outputs,
    orientation_matrix,
)


class Viewpoints(NamedTuple):
    """Hypotheses of where each image was taken from; all of an image share one translation.

    Attributes:
      scores: regress the reconstruction loss: small is good. 0 for a single hypothesis.
      rotations: rows are the animal's left, up and forward vectors, camera space.
      translation_cam: offset from (0, 0, -distance), camera space, world units.
    """

    scores: Float[Array, "b m"]
    rotations: Float[Array, "b m 3 3"]
    translation_cam: Float[Array, "b 3"]


@dataclasses.dataclass(frozen=True)
class CameraModel:
    """Where cameras may stand, and what tells where they do.

    Attributes:
      distance: of the object's origin from the camera, world units.
      max_shift_xy: largest shift of the object to the side, world units.
      max_shift_z: largest shift in depth, world units.
      hypotheses, hypothesis_side, level_horizon, max_turn_deg: `kind`, `side`, `zero_y` and
        `max_turn_deg` of `ops.viewpoint.decode_hypotheses`.
      elevation_deg: lowest and highest elevation of the camera above the animal's horizon, read
        off each image for all of its hypotheses, once `Schedule.elevation_from` has passed; until
        then it is the middle of the two. The same number twice reads nothing. Forward
        vectors cannot say it: from above, the side view of an animal is no turn of a level one's.
      tokens: token map that viewpoints are read from, 'patch_key' or 'patch_out'.
      mirror_tokens: whether the mirrored tokens are read as well, so that a mirror image has the
        mirrored viewpoint.
    """

    distance: float
    fov_y_deg: float
    max_shift_xy: float
    max_shift_z: float
    hypotheses: str
    hypothesis_side: str
    level_horizon: bool
    max_turn_deg: tuple[float, float, float]
    elevation_deg: tuple[float, float]
    tokens: str
    mirror_tokens: bool

    @property
    def num_outputs(self) -> int:
        """How many numbers the viewpoint head makes: the hypotheses', then the elevation."""
        return num_viewpoint_outputs(self.hypotheses) + self._reads_elevation

    @property
    def num_hypotheses(self) -> int:
        """How many hypotheses each image has."""
        return num_hypotheses(self.hypotheses)

    @property
    def _reads_elevation(self) -> bool:
        return self.elevation_deg[0] != self.elevation_deg[1]

    def read(
        self,
        head: Callable[[Array], Array],
        batch: dict[str, Array],
        *,
        read_elevation: Bool[Array, ""] | bool,
    ) -> Viewpoints:
        """Returns the hypotheses that a head reads off the tokens of a batch.

        Args:
          head: tokens [b, t, t, c] -> `num_outputs` raw outputs [b, p], `Instance.viewpoint`.
          read_elevation: whether the elevation is read yet, see `elevation_deg`.
        """
        tokens = batch[self.tokens]
        num_elevations = int(self._reads_elevation)
        if self.mirror_tokens:
            both = head(jnp.concatenate([tokens, tokens[:, :, ::-1]]))
            raw, mirrored = jnp.split(both, 2)
            width = raw.shape[1] - num_elevations  # a mirror image was taken from the same height
            of_mirror = mirrored_outputs(mirrored[:, :width], self.hypotheses)
            raw = (raw + jnp.concatenate([of_mirror, mirrored[:, width:]], axis=-1)) / 2
        else:
            raw = head(tokens)
        width = raw.shape[1] - num_elevations
        hypotheses = self._decode(raw[:, :width])
        rotations = orientation_matrix(hypotheses.orientation, self.hypotheses)
        lowest, highest = np.deg2rad(self.elevation_deg).astype(np.float32)
        if num_elevations:
            of_range = jnp.where(read_elevation, (jnp.tanh(raw[:, width:]) + 1) / 2, 0.5)
            elevation_rad = lowest + (highest - lowest) * of_range
            rotations = elevated(rotations, elevation_rad)
        elif lowest:
            rotations = elevated(rotations, jnp.full(rotations.shape[:2], lowest))
        return Viewpoints(hypotheses.logits, rotations, hypotheses.translation_cam)

    def _decode(self, raw: Float[Array, "b p"]) -> Hypotheses:
        return decode_hypotheses(
            raw,
            kind=self.hypotheses,
            side=self.hypothesis_side,
            zero_y=self.level_horizon,
            max_trans_xy=self.max_shift_xy,
            max_trans_z=self.max_shift_z,
            max_turn_deg=self.max_turn_deg,
        )

    def camera(
        self, rotation: Float[Array, "b 3 3"], translation_cam: Float[Array, "b 3"]
    ) -> Camera:
        """Returns the cameras that see the object so turned and shifted (`camera_from_pose`)."""
        return camera_from_pose(
            rotation, translation_cam, distance=self.distance, fov_y_deg=self.fov_y_deg
        )

    def camera_of(self, viewpoints: Viewpoints, chosen: Int[Array, " b"]) -> Camera:
        """Returns the camera of the hypothesis `chosen[i]` of each image i."""
        rotation = viewpoints.rotations[jnp.arange(len(chosen)), chosen]
        return self.camera(rotation, viewpoints.translation_cam)


def probabilities_at(
    scores: Float[Array, "b m"], schedule: Schedule, step: Step
) -> Float[Array, "b m"]:
    """Returns the probability of each hypothesis after `step` training steps; see `Viewpoints`."""
    return hypothesis_probabilities(
        scores,
        temperature_gain=schedule.temperature_gain_at(step),
        uniform_mix=schedule.uniform_mix_at(step),
    )


def choose(
    probabilities: Float[Array, "b m"], schedule: Schedule, step: Step, key: Array | None
) -> Int[Array, " b"]:
    """Returns the hypothesis to render for each image.

    Args:
      key: draws as training does, see `Schedule`; None takes the most probable one.
    """
    if key is None:
        return jnp.argmax(probabilities, axis=-1)
    best_share = schedule.best_share_at(step)
    return choose_hypothesis(key, probabilities, best_share=best_share, training=True)
