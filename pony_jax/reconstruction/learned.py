"""What a trained model consists of, wherever it is kept."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from pony_jax.errors import UserError
from pony_jax.features import converted_vit
from pony_jax.features.backbones import load_backbone
from pony_jax.features.errors import ExtractionError
from pony_jax.features.foreground import ForegroundClassifier
from pony_jax.features.projection import Projection
from pony_jax.features.token_reader import TokenReader
from pony_jax.model import Capacities, Pony, build_model
from pony_jax.model.older_configs import complete_config
from pony_jax.model.pony import Params


class ModelError(UserError, ValueError):
    """A model that cannot be used; the message is one line that says what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Learned:
    """A trained model without a backbone's weights: all that a packed model file holds.

    Attributes:
      name: of the category, for example `horse`.
      config: that it was trained with.
      params: of `Pony`, as `Pony.init_params` makes them.
      num_updates: training steps behind the parameters.
      token_shape: side and channels of token maps.
      capacities: buffers that its mesh fits into.
      backbone: name of the network whose tokens it reads.
      backbone_sha256: of that network's weights.
      features: arrays of the projections and of the foreground classifier, named as in
        `projection.npz`; without projections the model reads the backbone's own tokens. Of a
        converted checkpoint, the parameters of its backbone, below `backbone/`.
      card: what people should know of it: data, licence of the data, scores, commit.
      head: where the head of the prior shape is, see `head_direction.HEAD_DIRECTIONS`.
    """

    name: str
    config: ConfigDict
    params: Params
    num_updates: int
    token_shape: tuple[int, int]
    capacities: Capacities
    backbone: str
    backbone_sha256: str
    features: Mapping[str, np.ndarray]
    card: Mapping[str, Any]
    head: str = "auto"

    def build(self) -> Pony:
        """The model of the configuration. Raises `ModelError` if it is not one of this version."""
        try:
            return build_model(complete_config(self.config), self.token_shape)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"expected a configuration of this version of pony_jax, got another ({error}); use "
                "the version that trained the model"
            ) from error

    def check_params(self, model: Pony) -> None:
        """Raises `ModelError` unless the parameters are those of `model`, and finite."""
        shapes = jax.eval_shape(model.init_params, jax.random.key(0))
        expected = {k: leaf.shape for k, leaf in flatten_dict(shapes, sep="/").items()}
        found = {k: np.shape(leaf) for k, leaf in flatten_dict(self.params, sep="/").items()}
        for path in sorted(expected.keys() | found.keys()):
            if expected.get(path) != found.get(path):
                raise ModelError(
                    f"parameter {path}: expected the shape {expected.get(path, 'absent')}, found "
                    f"{found.get(path, 'absent')}; the file is of another version, or damaged"
                )
        for path, leaf in flatten_dict(self.params, sep="/").items():
            if not np.all(np.isfinite(leaf)):
                raise ModelError(f"parameter {path}: expected finite numbers, found others")

    def token_reader(self, weights: Path | None = None) -> TokenReader:
        """The backbone with the projections.

        Args:
          weights: of the backbone, if not those it publishes.

        Raises:
          ModelError: if the backbone or its weights are others than the model was trained with.
          FileNotFoundError: if there are no weights.
        """
        if self.backbone == converted_vit.NAME:
            return self._converted_reader()
        try:
            backbone = load_backbone(self.backbone, weights)
            projections = [self._projection(name) for name in ("patch_key", "patch_out")]
        except FileNotFoundError:
            raise
        except ValueError as error:
            raise ModelError(str(error)) from error
        if self.backbone_sha256 and backbone.weights_sha256 != self.backbone_sha256:
            raise ModelError(
                f"expected the weights of {self.backbone} that the model was trained with "
                f"(SHA-256 {self.backbone_sha256[:12]}...), got {backbone.weights_sha256[:12]}...; "
                "give their file with --weights"
            )
        return TokenReader(backbone, self.token_shape[0], *projections)

    def _converted_reader(self) -> TokenReader:
        """Of the original's checkpoints, which bring their backbone along."""
        prefix = "backbone/"
        params = {
            name.removeprefix(prefix): array
            for name, array in self.features.items()
            if name.startswith(prefix)
        }
        try:
            backbone = converted_vit.ConvertedViT(params)
        except ExtractionError as error:
            raise ModelError(str(error)) from error
        return TokenReader(backbone, self.token_shape[0], None, None, np.float32)

    def foreground_classifier(self) -> ForegroundClassifier | None:
        """What finds the animal in a picture; None for models whose data set has none."""
        names = [f"foreground/{field}" for field in ("weights", "bias")]
        if not all(name in self.features for name in names):
            return None
        return ForegroundClassifier(*(self.features[name] for name in names))

    def _projection(self, name: str) -> Projection | None:
        fields = [field.name for field in dataclasses.fields(Projection)]
        if not any(key.startswith(f"{name}/") for key in self.features):
            return None
        missing = [field for field in fields if f"{name}/{field}" not in self.features]
        if missing:
            raise ModelError(f"projection {name}: expected arrays {fields}, found no {missing}")
        projection = Projection(*(self.features[f"{name}/{field}"] for field in fields))
        if projection.basis.ndim != 2 or projection.basis.shape[1] != self.token_shape[1]:
            raise ModelError(
                f"projection {name}: expected {self.token_shape[1]} channels, found "
                f"{list(projection.basis.shape)}"
            )
        return projection
