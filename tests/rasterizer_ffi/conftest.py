"""The backends that tests run on, and the library with the CUDA backend's loops on the host."""

import ctypes
from collections.abc import Iterator

import pytest
from raster_backends import build, device_of, using

import rasterizer_ffi
from rasterizer_ffi import backends


@pytest.fixture(scope="session")
def shuffled() -> ctypes.CDLL:
    """The CUDA backend's loops, run on the host in orders that RasterizerSetSeed chooses.

    Registered as the backend "shuffled".
    """
    library = ctypes.CDLL(str(build("rasterizer_shuffled") / "librasterizer_shuffled.so"))
    backends.register_backend("shuffled", {"cpu": library})
    return library


@pytest.fixture(
    scope="module", params=["cpu", "shuffled", pytest.param("cuda", marks=pytest.mark.cuda)]
)
def backend(request) -> Iterator[str]:
    """Runs a test on every backend that can run here; "shuffled" is described above."""
    name = request.param
    if name == "shuffled":
        request.getfixturevalue("shuffled")
    if name not in rasterizer_ffi.available_backends():
        pytest.skip(f"the library of backend {name} was not built")
    try:
        device_of(name)
    except RuntimeError as error:
        pytest.skip(f"backend {name} has no device here: {error}")
    with using(name):
        yield name
