"""Masks of photographs by a trained model, for those who have none."""

from PIL import Image

from pony_jax.reconstruction.model import Model


class ModelMasks:
    """Finds the animals of a model's category; a maker of masks for `features.made_masks`."""

    def __init__(self, model: Model, name: str):
        """`name` says in the masks which model made them."""
        self._model = model
        self.name = name

    def __call__(self, picture: Image.Image) -> list[Image.Image]:
        """Masks (L) of the animals in an RGB picture, largest first."""
        return self._model.find_masks(picture)
