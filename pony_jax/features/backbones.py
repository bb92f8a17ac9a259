"""What a backbone is, and the list of those there are."""

import hashlib
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from pony_jax.data.file_contents import printable
from pony_jax.features.errors import ExtractionError, MissingWeightsError

BACKBONES = ("efficientnet_lite0", "dino_vits8")


class Tokens(NamedTuple):
    """What a backbone says about an image, on a grid of g x g cells."""

    key: Float32[np.ndarray, "g g c"]  # tells parts apart: source of `feature` and `patch_key`
    out: Float32[np.ndarray, "g g d"]  # tells looks apart: source of `patch_out`


@runtime_checkable
class Backbone(Protocol):
    """A frozen network that turns one image into tokens."""

    name: str
    image_size: int  # the side, in pixels, of the images it takes
    weights_sha256: str

    def __call__(self, image: UInt8[np.ndarray, "s s 3"]) -> Tokens:
        """The tokens of one RGB image of `image_size` pixels a side."""
        ...


def load_backbone(name: str, weights: Path | None = None) -> Backbone:
    """The backbone `name`, with weights from a local file or else from where they are published.

    Raises `ExtractionError` on an unknown name or weights that do not fit, `MissingWeightsError`
    when there are none, `MissingPackageError` without the package that would fetch them.
    """
    if name not in BACKBONES:
        raise ExtractionError(f"expected a backbone of {', '.join(BACKBONES)}, got {name!r}")
    if weights is not None and not weights.is_file():
        raise MissingWeightsError(
            f"expected the weights of {name} at {printable(weights)}, found no such file"
        )
    if name == "efficientnet_lite0":
        from pony_jax.features.efficientnet import EfficientNetLite0

        return EfficientNetLite0(weights)
    from pony_jax.features.dino import DinoViTS8

    return DinoViTS8(weights)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
