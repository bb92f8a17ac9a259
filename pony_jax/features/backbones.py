"""What a backbone is, the list of those there are, and how their names say what is unusual.

A backbone's name may be followed by options, `efficientnet_lite0:input_size=256:layers=4,10`. What
reads photographs later gets the name from the data set, and so looks at them in the same way.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from pony_jax.data.file_contents import printable
from pony_jax.features.errors import ExtractionError, MissingWeightsError

BACKBONES = ("efficientnet_lite0", "dino_vits8")

DEFAULT_INPUT_SIZES = {"efficientnet_lite0": 512, "dino_vits8": 256}
_SIDE_MULTIPLES = {"efficientnet_lite0": 32, "dino_vits8": 8}

DEFAULT_LAYERS = {"efficientnet_lite0": (10, 14), "dino_vits8": (11,)}
LAYERS = {"efficientnet_lite0": (4, 10, 14), "dino_vits8": tuple(range(12))}
"""Blocks, counted from 0, whose outputs (EfficientNet) or keys (ViT) can make up `Tokens.key`."""


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


class BackboneOptions(NamedTuple):
    """What is looked at, and what is taken from it."""

    architecture: str
    input_size: int
    layers: tuple[int, ...]

    @property
    def name(self) -> str:
        """The backbone's name, with those options that differ from the default."""
        name = self.architecture
        if self.input_size != DEFAULT_INPUT_SIZES[name]:
            name += f":input_size={self.input_size}"
        if self.layers != DEFAULT_LAYERS[self.architecture]:
            name += f":layers={','.join(map(str, self.layers))}"
        return name


def backbone_options(
    architecture: str, input_size: int | None = None, layers: Sequence[int] | None = None
) -> BackboneOptions:
    """The options of a backbone, checked; None is its default.

    Raises `ExtractionError` on an unknown backbone, a side that it cannot take or layers that it
    does not have.
    """
    if architecture not in BACKBONES:
        raise ExtractionError(
            f"expected a backbone of {', '.join(BACKBONES)}, got {printable(architecture)!r}"
        )
    size = DEFAULT_INPUT_SIZES[architecture] if input_size is None else input_size
    multiple = _SIDE_MULTIPLES[architecture]
    if size < 1 or size % multiple:
        raise ExtractionError(
            f"expected an --input_size of {architecture} that is a multiple of {multiple}, got "
            f"{size}; try {max(round(size / multiple), 1) * multiple}"
        )
    chosen = DEFAULT_LAYERS[architecture] if layers is None else tuple(layers)
    known = LAYERS[architecture]
    if not chosen or set(chosen) - set(known) or sorted(set(chosen)) != list(chosen):
        raise ExtractionError(
            f"expected --layers of {architecture} out of {', '.join(map(str, known))}, each once "
            f"and in ascending order, got {', '.join(map(str, chosen)) or 'none'}"
        )
    return BackboneOptions(architecture, size, chosen)


def parse_backbone(name: str) -> BackboneOptions:
    """The options in a backbone's name. Raises `ExtractionError`."""
    architecture, *texts = name.split(":")
    options: dict[str, int | list[int]] = {}
    for text in texts:
        if match := re.fullmatch(r"input_size=(\d{1,5})", text):
            options["input_size"] = int(match[1])
        elif match := re.fullmatch(r"layers=(\d{1,3}(?:,\d{1,3})*)", text):
            options["layers"] = [int(number) for number in match[1].split(",")]
        else:
            raise ExtractionError(
                f"expected options such as input_size=256 or layers=4,10 after the backbone's "
                f"name, got {printable(text)!r} in {printable(name)!r}"
            )
    return backbone_options(architecture, **options)


def load_backbone(name: str, weights: Path | None = None) -> Backbone:
    """The backbone `name`, with weights from a local file or else from where they are published.

    Raises `ExtractionError` on an unknown name or weights that do not fit, `MissingWeightsError`
    when there are none, `MissingPackageError` without the package that would fetch them.
    """
    options = parse_backbone(name)
    if weights is not None and not weights.is_file():
        raise MissingWeightsError(
            f"expected the weights of {name} at {printable(weights)}, found no such file"
        )
    if options.architecture == "efficientnet_lite0":
        from pony_jax.features.efficientnet import EfficientNetLite0

        return EfficientNetLite0(weights, options)
    from pony_jax.features.dino import DinoViTS8

    return DinoViTS8(weights, options)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
