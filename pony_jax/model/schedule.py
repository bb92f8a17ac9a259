"""When things happen during training."""

import dataclasses

from jaxtyping import Array, Float, Int

from pony_jax.model.capacities import Capacities
from pony_jax.model.stage import Stage
from pony_jax.ops.schedules import linear_ramp

Step = Int[Array, ""] | int


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in steps.

    Hypothesis probabilities are uniform until `uniform_until`, then blend into the softmax until
    `softmax_from`, but for a `uniform_share`: an image counts by the probability of the hypothesis
    that renders it, and one that counts nothing cannot learn that it is wrong. From `best_from` on
    the best hypothesis is drawn more and more often, up to `best_share` of a batch at `best_full`.
    The gain of the softmax grows with the step to `max_gain` at `max_gain_at`, from at least 1.
    Cameras stand at the middle of their elevations until `elevation_from`: a hypothesis that is
    wrong about near and far can hide it in another elevation. The grid has `coarse_resolution`
    layers along its longest side, and `fine_resolution` from `fine_grid_from` on.
    """

    uniform_until: int
    softmax_from: int
    uniform_share: float
    best_from: int
    best_full: int
    best_share: float
    max_gain: float
    max_gain_at: int
    elevation_from: int
    articulation_from: int
    attach_legs_from: int
    articulation_loss_from: int
    deformation_from: int
    fine_grid_from: int
    coarse_resolution: int
    fine_resolution: int

    def stage_at(self, step: int, capacities: Capacities) -> Stage:
        """Returns the stage that training step `step` runs in."""
        return Stage(
            grid_resolution=self.resolution_at(step),
            articulation=step >= self.articulation_from,
            deformation=step >= self.deformation_from,
            attach_legs=step >= self.attach_legs_from,
            capacities=capacities,
        )

    def resolution_at(self, step: int) -> int:
        """Returns the layers of the lattice along its longest side at training step `step`."""
        return self.fine_resolution if step >= self.fine_grid_from else self.coarse_resolution

    def temperature_gain_at(self, step: Step) -> Float[Array, ""]:
        """Returns the gain of the hypotheses' softmax: a line from the origin, but at least 1."""
        start = self.max_gain_at / self.max_gain
        return linear_ramp(step, start, self.max_gain_at, 1.0, self.max_gain)

    def uniform_mix_at(self, step: Step) -> Float[Array, ""]:
        """Returns the share of the hypotheses' probabilities that is uniform."""
        return linear_ramp(step, self.uniform_until, self.softmax_from, 1.0, self.uniform_share)

    def best_share_at(self, step: Step) -> Float[Array, ""]:
        """Returns the share of a training batch that draws its best hypothesis."""
        return linear_ramp(step, self.best_from, self.best_full, 0.0, self.best_share)
