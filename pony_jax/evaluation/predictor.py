"""The model as a function of images: each on its own, with buffers that grow as needed."""

import functools

import jax
import numpy as np
from jaxtyping import Float

from pony_jax.evaluation.turntable import PRIOR_AZIMUTHS_DEG, render_prior
from pony_jax.model import Capacities, Pony, Prediction, Stage
from pony_jax.model.capacities import wanted_capacities
from pony_jax.model.pony import Params
from pony_jax.model.predict import predict
from pony_jax.ops.sparse_marching_tets import SparseMesh

_INPUTS = ("image", "patch_key", "patch_out")


class Predictor:
    """Predictions of a model, whatever its mesh grows to.

    Images are predicted one at a time by one program, so that the same image gives the same bits in
    any batch. (A program for a batch of another size adds its numbers in another order.)

    Attributes:
      capacities: of the padded buffers of the mesh; they only grow.
    """

    def __init__(self, model: Pony, capacities: Capacities):
        self.capacities = capacities
        self._model = model
        self._shape = jax.jit(
            lambda params, stage: model.apply({"params": params}, stage, method=Pony.shape),
            static_argnames="stage",
        )
        self._predict = jax.jit(functools.partial(predict, model), static_argnames="stage")
        self._render_prior = jax.jit(
            functools.partial(render_prior, model), static_argnames="image_size"
        )

    def predict(self, params: Params, batch: dict[str, np.ndarray], num_updates: int) -> Prediction:
        """Returns what the model sees in images after `num_updates` steps, as numpy arrays.

        Args:
          batch: `image` [b, h, h, 3], `patch_key` and `patch_out` [b, t, t, c]; one image or more.

        Raises:
          ValueError: for a batch without images.
        """
        num_images = len(batch["image"])
        if not num_images:
            raise ValueError("batch: expected one image or more, got none")
        shape, stage = self._prior_shape(params, num_updates)
        step = np.int32(_last(num_updates))
        predictions = []
        for i in range(num_images):
            inputs = {name: batch[name][i : i + 1] for name in _INPUTS}
            predictions.append(self._predict_image(params, shape, inputs, step, stage))
        return _joined(predictions)

    def render_prior(
        self, params: Params, num_updates: int, image_size: int
    ) -> dict[str, Float[np.ndarray, "h w 3"]]:
        """Returns the prior shape from four sides, by axis."""
        shape, _ = self._prior_shape(params, num_updates)
        azimuths = np.array(list(PRIOR_AZIMUTHS_DEG.values()), np.float32)
        views = self._render_prior(shape.mesh, azimuths, image_size=image_size)
        return dict(zip(PRIOR_AZIMUTHS_DEG, np.asarray(views), strict=True))

    def stage(self, num_updates: int) -> Stage:
        """Returns the stage of predictions after `num_updates` steps, in the buffers so far.

        It has no room for pixels: every image is given its own.
        """
        capacities = self.capacities._replace(pixels=0)
        return self._model.stage_at(_last(num_updates), capacities)

    def _prior_shape(self, params: Params, num_updates: int) -> tuple[SparseMesh, Stage]:
        """The whole shape of the category, and the stage whose buffers hold it."""
        step = _last(num_updates)
        wanted = self._model.expected_counts(step)
        while True:
            self.capacities = self.capacities.grown_to(wanted._replace(pixels=0))
            stage = self.stage(num_updates)
            shape = self._shape(params, stage=stage)
            wanted = Capacities(*map(int, wanted_capacities(shape)))
            if stage.capacities.covers(wanted):
                return shape, stage

    def _predict_image(
        self,
        params: Params,
        shape: SparseMesh,
        inputs: dict[str, np.ndarray],
        step: np.int32,
        stage: Stage,
    ) -> Prediction:
        """One image, with room for half of its pixels, or all of them where that is too little.

        The image alone decides which, so that it does not matter which ones came before.
        """
        num_pixels = self._model.rendering.image_size**2
        for room in (num_pixels // 2, num_pixels):
            roomy = stage._replace(capacities=stage.capacities._replace(pixels=room))
            prediction = self._predict(params, shape, inputs, step, stage=roomy)
            if int(prediction.counts.pixels) <= room:
                break
        return jax.tree.map(np.asarray, prediction)


def _joined(predictions: list[Prediction]) -> Prediction:
    """The predictions of single images as one of a batch; the prior's mesh belongs to all."""
    prior = predictions[0].rig.prior
    counts = Capacities(*map(max, zip(*(each.counts for each in predictions), strict=True)))
    of_images = [
        each._replace(rig=each.rig._replace(prior=None), counts=None) for each in predictions
    ]
    joined = jax.tree.map(lambda *rows: np.concatenate(rows), *of_images)
    return joined._replace(rig=joined.rig._replace(prior=prior), counts=counts)


def _last(num_updates: int) -> int:
    """The step whose stage the parameters were last trained in."""
    return max(num_updates - 1, 0)
