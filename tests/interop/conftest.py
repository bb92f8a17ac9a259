"""The small checkpoint of the original that the tests of this folder convert."""

import lzma
from pathlib import Path

import pytest

_PACKED = Path(__file__).parents[1] / "golden" / "tiny_checkpoint.pth.xz"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """The original's checkpoint of a narrow model, as its trainer saved it."""
    path = tmp_path_factory.mktemp("original") / "tiny_checkpoint.pth"
    path.write_bytes(lzma.decompress(_PACKED.read_bytes()))
    return path
