"""The model as a function of images: compiles once a stage and grows buffers as needed."""

import jax
import numpy as np
from jaxtyping import Array, Float

from pony_jax.model import Capacities, Pony, Prediction, Stage

PRIOR_AZIMUTHS_DEG = {"+z": 0.0, "-x": 90.0, "-z": 180.0, "+x": 270.0}
"""Views of the prior shape, by the object axis that they look from.

Not by parts of the body: which end the head is at is the model's own choice."""


class Predictor:
    """Predictions of a model, whatever its mesh grows to.

    Attributes:
      capacities: of the padded buffers; they only grow.
    """

    def __init__(self, model: Pony, capacities: Capacities):
        self.capacities = capacities
        self._model = model
        self._predict = jax.jit(model.predict, static_argnames="stage")
        self._render_prior = jax.jit(model.render_prior, static_argnames=("stage", "image_size"))

    def predict(self, params: dict, batch: dict[str, np.ndarray], num_updates: int) -> Prediction:
        """What the model sees in a batch after `num_updates` training steps, as numpy arrays."""
        inputs = {key: batch[key] for key in ("image", "patch_key", "patch_out")}
        while True:
            stage = self.stage(num_updates)
            prediction = self._predict(params, inputs, np.int32(_last(num_updates)), stage=stage)
            counts = Capacities(*map(int, prediction.counts))
            if self.capacities.covers(counts):
                return jax.tree.map(np.asarray, prediction)
            self.capacities = self.capacities.grown_to(counts)

    def render_prior(
        self, params: dict, num_updates: int, image_size: int
    ) -> dict[str, Float[np.ndarray, "h w 3"]]:
        """The prior shape from four sides, by axis. Call `predict` first: it sizes the buffers."""
        azimuths = np.array(list(PRIOR_AZIMUTHS_DEG.values()), np.float32)
        views: Array = self._render_prior(
            params, self.stage(num_updates), azimuths, image_size=image_size
        )
        return dict(zip(PRIOR_AZIMUTHS_DEG, np.asarray(views), strict=True))

    def stage(self, num_updates: int) -> Stage:
        """The stage that predictions after `num_updates` steps are made in."""
        step = _last(num_updates)
        self.capacities = self.capacities.grown_to(self._model.expected_counts(step))
        return self._model.stage_at(step, self.capacities)


def _last(num_updates: int) -> int:
    """The step whose stage the parameters were last trained in."""
    return max(num_updates - 1, 0)
