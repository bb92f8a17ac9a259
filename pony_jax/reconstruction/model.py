"""A trained model as a person uses it: a photograph in, an animal out."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from absl import logging
from jaxtyping import Float, Shaped
from PIL import Image

from pony_jax.data.mask_files import read_mask
from pony_jax.data.photographs import CROP_SCALE, Crop, crop_around, crop_square, fit_mask
from pony_jax.data.picture_files import BadPhotographError, open_photograph
from pony_jax.evaluation.predictor import Predictor
from pony_jax.features.square_views import Square
from pony_jax.features.token_reader import TokenReader
from pony_jax.model import Prediction
from pony_jax.model.pony import Params
from pony_jax.model.texture_tuning import fine_tune_texture
from pony_jax.reconstruction.animal import Animal
from pony_jax.reconstruction.find_animals import Found, box_of_mask, find_animals
from pony_jax.reconstruction.from_prediction import albedo_function, animal_from_prediction
from pony_jax.reconstruction.head_direction import with_head_forwards
from pony_jax.reconstruction.learned import Learned, ModelError

Source = str | os.PathLike[str] | Image.Image | Shaped[np.ndarray, "..."]
"""A photograph or a mask: the path of a file, a picture of Pillow's, or an array (row 0 on top)."""

_MAX_CROPS = 4
_SETTLED = 0.97
"""Overlap of two crops that are taken for the same."""

_SAME_ANIMAL = 0.7
"""Overlap of the crop by the silhouette with the crop by the classifier, at the least."""


class Model:
    """A trained model; `pony_jax.load` makes it.

    Attributes:
      learned: parameters, configuration and model card.
    """

    def __init__(self, learned: Learned, weights: Path | None = None):
        """Checks the parameters; the backbone is loaded when it is first needed.

        Args:
          weights: of the backbone, if not those it publishes.

        Raises:
          ModelError: if the parameters are not those of the configuration.
        """
        self.learned = learned
        self._weights = weights
        self._pony = learned.build()
        learned.check_params(self._pony)

    @property
    def name(self) -> str:
        """Of the category, for example `horse`."""
        return self.learned.name

    def reconstruct(
        self,
        source: Source,
        mask: Source | None = None,
        refine: bool = True,
        name: str | None = None,
        *,
        finetune_texture: bool = False,
    ) -> Animal:
        """The animal in a photograph.

        The same photograph gives the same numbers, whatever was reconstructed before.

        Args:
          source: the photograph, turned upright by its EXIF orientation.
          mask: of the animal, of the photograph's proportions (of a file, what is animal in it is
            found by `data.mask_files.RULE`; else it is what is brighter than half). None finds the
            animal; if there are several, the largest is taken and a warning logged.
          refine: whether pose and colours are fitted to the picture after the networks' first look.
          name: of the animal; None takes that of the file.
          finetune_texture: whether the texture network itself is fitted to the picture's colours:
            the side that is seen shows them more exactly, what is not seen may get worse.

        Raises:
          BadPhotographError: if the photograph or the mask cannot be used, or shows no animal.
          ModelError: if the model cannot read photographs, or cannot find animals without a mask.
        """
        name = name or _name_of(source)
        picture = open_photograph(source)
        if mask is not None:
            crop = _masked_crop(picture, mask)
            return self._reconstruct(crop, name, refine, finetune_texture)
        found = self._find(picture, name)
        if len(found) > 1:
            logging.warning("%s: found %d animals, took the largest", name, len(found))
        return self._reconstruct(self._crop(picture, found[0]), name, refine, finetune_texture)

    def reconstruct_each(
        self,
        source: Source,
        refine: bool = True,
        name: str | None = None,
        *,
        finetune_texture: bool = False,
    ) -> list[Animal]:
        """All animals in a photograph, largest first, with numbers behind their names.

        Raises as `reconstruct` does.
        """
        name = name or _name_of(source)
        picture = open_photograph(source)
        found = self._find(picture, name)
        names = [name] if len(found) == 1 else [f"{name}_{i + 1}" for i in range(len(found))]
        return [
            self._reconstruct(self._crop(picture, each), name, refine, finetune_texture)
            for name, each in zip(names, found, strict=True)
        ]

    def reconstruct_all(
        self,
        sources: Iterable[Source],
        masks: Iterable[Source | None] | None = None,
        refine: bool = True,
    ) -> Iterator[Animal]:
        """The animal of each photograph, in turn; see `reconstruct`."""
        sources = list(sources)
        masks = [None] * len(sources) if masks is None else masks
        for source, mask in zip(sources, masks, strict=True):
            yield self.reconstruct(source, mask, refine)

    def find_masks(self, source: Source, name: str | None = None) -> list[Image.Image]:
        """Masks (L, 255 = animal) of all animals in a photograph, as large as it, largest first.

        They are what the networks take for the animal, so a photograph without one has none.

        Raises:
          BadPhotographError: if the photograph cannot be read.
          ModelError: if the model has no head for silhouettes, or cannot find animals.
        """
        name = name or _name_of(source)
        if not self._pony.instance.silhouette_hidden:
            raise ModelError(
                f"{name}: expected a model that predicts silhouettes, got {self.name} without; "
                "train one with model.silhouette_hidden"
            )
        picture = open_photograph(source)
        masks = []
        for found in self._find_any(picture, name):
            crop = self._crop(picture, found)
            probability = Image.fromarray(self._silhouette(self._inputs(crop.image)))
            x0, y0, side = (int(number) for number in crop.box[1:4])
            smooth = probability.resize((side, side), Image.Resampling.BILINEAR)
            is_animal = np.where(np.asarray(smooth) > 0.5, 255, 0).astype(np.uint8)
            mask = Image.new("L", picture.size)
            mask.paste(Image.fromarray(is_animal), (x0, y0))
            masks.append(mask)
        return masks

    # How it is done

    def _find(self, picture: Image.Image, name: str) -> list[Found]:
        found = self._find_any(picture, name)
        if not found:
            raise BadPhotographError(
                f"{name}: expected a picture of a {self.name}, found none in it; give a mask of "
                "the animal if there is one"
            )
        return found

    def _find_any(self, picture: Image.Image, name: str) -> list[Found]:
        classifier = self.learned.foreground_classifier()
        if classifier is None:
            raise ModelError(
                f"{name}: expected a mask, since this model has no foreground classifier to find "
                "the animal with; give a mask, or extract the data set again and train on it"
            )
        return find_animals(picture, self._reader, classifier)

    def _crop(self, picture: Image.Image, found: Found) -> Crop:
        """The crop as those that the model was trained on, by its own silhouette of the animal.

        The silhouette is finer than the classifier's cells, but it was learned from crops alone:
        where it leads far away, it is wrong.
        """
        square = first = _whole_pixels(found.square(CROP_SCALE))
        for _ in range(_MAX_CROPS):
            crop = crop_square(picture, Image.new("L", picture.size), *square)
            silhouette = self._silhouette(self._inputs(crop.image))
            nearer = None if silhouette is None else box_of_mask(silhouette > 0.5, Square(*square))
            if nearer is None:
                break
            next_square = _whole_pixels(nearer.square(CROP_SCALE))
            if Square(*square).overlap(Square(*next_square)) > _SETTLED:
                break
            square = next_square
        if Square(*square).overlap(Square(*first)) < _SAME_ANIMAL:
            square = first
        return crop_square(picture, Image.new("L", picture.size), *square)

    def _reconstruct(self, crop: Crop, name: str, refine: bool, finetune_texture: bool) -> Animal:
        predictor = self._predictor if refine else self._predictor_without_refinement
        inputs = self._inputs(crop.image)
        prediction = predictor.predict(self.learned.params, inputs, self.learned.num_updates)
        params = self.learned.params
        if finetune_texture:
            params = self._with_tuned_texture(prediction, inputs, crop.mask)
        x0, y0, width, height = crop.box[1:5]
        animal = animal_from_prediction(
            prediction,
            self._pony,
            self._albedo(params, prediction.appearance[0]),
            name=name,
            category=self.name,
            photograph=np.asarray(crop.image),
            mask=prediction.mask[0, ..., 0],
            box_px=(float(x0), float(y0), float(width), float(height)),
        )
        return with_head_forwards(animal, self.learned.head)

    def _inputs(self, crop: Image.Image) -> dict[str, np.ndarray]:
        """A batch of one for `Predictor.predict`."""
        patch_key, patch_out = self._reader(crop)
        size = (self._pony.rendering.image_size,) * 2
        image = np.asarray(crop.resize(size, Image.Resampling.BILINEAR))
        return {
            "image": image[None] * np.float32(1 / 255),
            "patch_key": patch_key[None].astype(np.float32),
            "patch_out": patch_out[None].astype(np.float32),
        }

    def _silhouette(self, inputs: dict[str, np.ndarray]) -> Float[np.ndarray, "h h"] | None:
        """Probability that a pixel of the crop shows the animal; None if the model has no such
        head.

        Args:
          inputs: of the crop, `_inputs`.
        """
        if not self._pony.instance.silhouette_hidden:
            return None
        logits = self._silhouette_logits(self.learned.params, inputs["patch_key"], inputs["image"])
        return np.asarray(nn.sigmoid(logits))[0, ..., 0]

    def _with_tuned_texture(
        self, prediction: Prediction, inputs: dict[str, np.ndarray], mask: Image.Image
    ) -> Params:
        """The parameters with a texture network that is fitted to the crop's colours.

        Args:
          inputs: of the crop, `_inputs`.
          mask: that was given with the crop; where it is empty, the silhouette says what is animal.
        """
        size = (self._pony.rendering.image_size,) * 2
        given = np.asarray(mask.resize(size, Image.Resampling.BOX))
        if given.any():
            is_animal = given > 127
        else:
            silhouette = self._silhouette(inputs)
            is_animal = np.ones(size, bool) if silhouette is None else silhouette > 0.5
        return self._fine_tune_texture(
            self.learned.params,
            prediction.rig.prior,
            prediction.posed_verts,
            prediction.camera,
            prediction.appearance,
            inputs["image"],
            is_animal[None],
        )

    @functools.cached_property
    def _fine_tune_texture(self):
        return jax.jit(functools.partial(fine_tune_texture, self._pony))

    @functools.cached_property
    def _reader(self) -> TokenReader:
        return self.learned.token_reader(self._weights)

    @functools.cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self._pony, self.learned.capacities)

    @functools.cached_property
    def _predictor_without_refinement(self) -> Predictor:
        refinement = dataclasses.replace(self._pony.refinement, steps=0)
        return Predictor(self._pony.clone(refinement=refinement), self.learned.capacities)

    @functools.cached_property
    def _silhouette_logits(self):
        return jax.jit(
            lambda params, patch_key, image: self._pony.bind(
                {"params": params}
            ).instance.silhouette(patch_key, image)
        )

    @functools.cached_property
    def _albedo(self):
        return albedo_function(self._pony)


def _name_of(source: Source) -> str:
    return Path(source).stem if isinstance(source, str | os.PathLike) else "picture"


def _masked_crop(picture: Image.Image, mask: Source) -> Crop:
    if isinstance(mask, str | os.PathLike):
        name, outline = os.fspath(mask), read_mask(mask)
    else:
        name, outline = "the mask", open_photograph(mask).convert("L")
    return crop_around(picture, fit_mask(picture, outline, name))


def _whole_pixels(square: Square) -> tuple[int, int, int]:
    side = max(round(square.side), 1)
    return round(square.x0), round(square.y0), side
