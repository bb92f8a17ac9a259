"""Where the camera stands: hypotheses read off an image's tokens, and the camera of one of them."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pony_jax.model.schedule import Schedule, Step
from pony_jax.ops.cameras import Camera, camera_from_pose
from pony_jax.ops.viewpoint import (
    Hypotheses,
    choose_hypothesis,
    decode_hypotheses,
    hypothesis_probabilities,
    mirrored_outputs,
    orientation_matrix,
)


@dataclasses.dataclass(frozen=True)
class CameraModel:
    """Where cameras may stand, and what tells where they do.

    Attributes:
      distance: of the object's origin from the camera, world units.
      max_shift_xy: largest shift of the object to the side, world units.
      max_shift_z: largest shift in depth, world units.
      hypotheses, hypothesis_side, level_horizon, max_turn_deg: `kind`, `side`, `zero_y` and
        `max_turn_deg` of `ops.viewpoint.decode_hypotheses`.
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
    tokens: str
    mirror_tokens: bool

    def read(self, head: Callable[[Array], Array], batch: dict[str, Array]) -> Hypotheses:
        """Returns the hypotheses that a head reads off the tokens of a batch.

        Args:
          head: tokens [b, t, t, c] -> raw outputs [b, p], `Instance.viewpoint`.
        """
        tokens = batch[self.tokens]
        if self.mirror_tokens:
            both = head(jnp.concatenate([tokens, tokens[:, :, ::-1]]))
            raw, mirrored = jnp.split(both, 2)
            raw = (raw + mirrored_outputs(mirrored, self.hypotheses)) / 2
        else:
            raw = head(tokens)
        return decode_hypotheses(
            raw,
            kind=self.hypotheses,
            side=self.hypothesis_side,
            zero_y=self.level_horizon,
            max_trans_xy=self.max_shift_xy,
            max_trans_z=self.max_shift_z,
            max_turn_deg=self.max_turn_deg,
        )

    def rotations(self, hypotheses: Hypotheses) -> Float[Array, "b m 3 3"]:
        """Returns rotations whose rows are the animal's right, up and forward, camera frame."""
        return orientation_matrix(hypotheses.orientation, self.hypotheses)

    def camera(
        self, rotation: Float[Array, "b 3 3"], translation_cam: Float[Array, "b 3"]
    ) -> Camera:
        """Returns the cameras that see the object so turned and shifted (`camera_from_pose`)."""
        return camera_from_pose(
            rotation, translation_cam, distance=self.distance, fov_y_deg=self.fov_y_deg
        )

    def camera_of(self, hypotheses: Hypotheses, chosen: Int[Array, " b"]) -> Camera:
        """Returns the camera of the hypothesis `chosen[i]` of each image i."""
        rotation = self.rotations(hypotheses)[jnp.arange(len(chosen)), chosen]
        return self.camera(rotation, hypotheses.translation_cam)


def probabilities_at(hypotheses: Hypotheses, schedule: Schedule, step: Step) -> Float[Array, "b m"]:
    """Returns the probability of each hypothesis after `step` training steps."""
    return hypothesis_probabilities(
        hypotheses.logits,
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
