"""Pictures of red animals, a backbone that sees colours, and an untrained model that reads them."""

import functools

import jax
import numpy as np
from PIL import Image, ImageDraw

from configs import horse
from pony_jax.features.backbones import Tokens
from pony_jax.features.foreground import ForegroundClassifier
from pony_jax.model import NO_CAPACITIES, build_model
from pony_jax.reconstruction.learned import Learned

TOKEN_SHAPE = (8, 6)


class Colours:
    """Tokens are the mean colours of 16 x 16 cells of 4 pixels."""

    name, image_size, weights_sha256 = "colours", 64, "c" * 64

    def __call__(self, image: np.ndarray) -> Tokens:
        mean = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3)).astype(np.float32) / 255
        return Tokens(mean, mean)


RED_IS_ANIMAL = ForegroundClassifier(np.array([20, -20, 0], np.float32), np.float32(-1.5))


def picture(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    """Red ellipses on green."""
    image = Image.new("RGB", size, (20, 200, 60))
    for box in boxes:
        ImageDraw.Draw(image).ellipse(box, fill=(230, 30, 40))
    return image


def mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Of one of them."""
    image = Image.new("L", size)
    ImageDraw.Draw(image).ellipse(box, fill=255)
    return image


@functools.cache
def _params() -> dict:
    model = build_model(horse.get_config("test"), TOKEN_SHAPE)
    return jax.tree.map(np.asarray, jax.jit(model.init_params)(jax.random.key(0)))


def learned(**changes: object) -> Learned:
    """An untrained horse of the smallest configuration."""
    rng = np.random.default_rng(0)
    features = {"foreground/weights": RED_IS_ANIMAL.weights, "foreground/bias": RED_IS_ANIMAL.bias}
    for name in ("patch_key", "patch_out"):
        features |= {
            f"{name}/mean": np.full(3, 0.5, np.float32),
            f"{name}/basis": rng.normal(size=(3, TOKEN_SHAPE[1])).astype(np.float32),
            f"{name}/offset": np.zeros(TOKEN_SHAPE[1], np.float32),
            f"{name}/scale": np.ones(TOKEN_SHAPE[1], np.float32),
        }
    fields = {
        "name": "horse",
        "config": horse.get_config("test"),
        "params": _params(),
        "num_updates": 8,
        "token_shape": TOKEN_SHAPE,
        "capacities": NO_CAPACITIES,
        "backbone": "colours",
        "backbone_sha256": Colours.weights_sha256,
        "features": features,
        "card": {"data": "red ellipses"},
    }
    return Learned(**(fields | changes))
