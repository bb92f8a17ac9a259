"""The vision transformer inside a converted checkpoint of the original, as a backbone."""

from collections.abc import Mapping

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import UInt8

from pony_jax.features.backbones import Tokens
from pony_jax.features.errors import ExtractionError
from pony_jax.modules.vit import ViT

NAME = "converted"
_IMAGE_SIZE = 256  # side of the original's images, px
_CHANNELS_PER_HEAD = 64  # of every ViT that DINO published


class ConvertedViT:
    """Tokens of 8 x 8 pixels as the original's own encoder makes them (MagicPony@e4a8b20).

    key: keys of the last block; out: its tokens after the final normalisation. Pixels are scaled to
    -1..1, which is not how DINO was trained, but how the original uses it.
    """

    name, image_size, weights_sha256 = NAME, _IMAGE_SIZE, ""

    def __init__(self, params: Mapping[str, np.ndarray]):
        """Takes parameters of `modules.vit.ViT` by path, as a converted run holds them.

        Raises `ExtractionError` if they are not those of such a network.
        """
        depth = len({path.split("/")[0] for path in params if path.startswith("block_")})
        width = params["class_token"].shape[-1] if "class_token" in params else 0
        if not depth or not width or width % _CHANNELS_PER_HEAD:
            raise ExtractionError(
                f"expected a vision transformer of {_CHANNELS_PER_HEAD} channels a head, found "
                f"{depth} blocks of {width} channels; convert the checkpoint again"
            )
        network = ViT(width=width, depth=depth, num_heads=width // _CHANNELS_PER_HEAD)
        self._params = unflatten_dict(dict(params), sep="/")
        self._tokens = jax.jit(lambda params, pixels: network.apply({"params": params}, pixels))
        expected = jax.eval_shape(
            network.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32)
        )["params"]
        shapes = jax.tree.map(np.shape, self._params)
        if shapes != jax.tree.map(np.shape, expected):
            raise ExtractionError(
                "expected the parameters of a vision transformer of 8 x 8 pixels a patch, found "
                "others; convert the checkpoint again"
            )

    def __call__(self, image: UInt8[np.ndarray, "s s 3"]) -> Tokens:
        pixels = image[None] / np.float32(255) * 2 - 1
        tokens = self._tokens(self._params, pixels)
        return Tokens(np.asarray(tokens.key[0]), np.asarray(tokens.out[0]))
