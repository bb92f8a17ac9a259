"""The backends that tests run on: those that users have, and what of them can run on the host."""

import contextlib
import ctypes
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import rasterizer_ffi
from rasterizer_ffi import backends
from rasterizer_ffi.installed_nvdiffrast import load_bound_library
from tests.rasterizer_ffi.raster_backends import build, device_of, using


@pytest.fixture(scope="session")
def shuffled() -> ctypes.CDLL:
    """The CUDA backend's loops, run on the host in orders that RasterizerSetSeed chooses.

    Registered as the backend "shuffled".
    """
    library = ctypes.CDLL(str(build("rasterizer_shuffled") / "librasterizer_shuffled.so"))
    backends.offer_backend("shuffled", lambda: {"cpu": library})
    return library


@pytest.fixture(scope="session")
def nvdiffrast_build() -> Path:
    """The folder with the libraries of the nvdiffrast backend, and with what stands in for it."""
    torch = find_spec("torch")
    if torch is None or not (Path(torch.origin).parent / "lib" / "libc10_cuda.so").exists():
        pytest.skip("there is no CUDA build of PyTorch, which the nvdiffrast backend calls")
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc, by which CUDA's headers are found, is not in the PATH")
    for target in ("standin_nvdiffrast", "rasterizer_nvdiffrast_on_host", "rasterizer_nvdiffrast"):
        folder = build(target, "-DRASTERIZER_NVDIFFRAST=ON", folder="rasterizer_nvdiffrast")
    return folder


@pytest.fixture(scope="session")
def standin(nvdiffrast_build, tmp_path_factory) -> Path:
    """A folder like one of installed packages, with a stand-in for nvdiffrast's extension in it.

    The nvdiffrast backend's calls of it, on the host, are registered as the backend "standin".
    """
    folder = tmp_path_factory.mktemp("installed")
    shutil.copy(nvdiffrast_build / "libstandin_nvdiffrast.so", folder / "_nvdiffrast_c.so")
    metadata = folder / "nvdiffrast-0.4.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: nvdiffrast\nVersion: 0.4.0\n")

    def load() -> backends.Libraries:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            patch.setattr(rasterizer_ffi, "__path__", [str(nvdiffrast_build)])
            return {"cpu": load_bound_library("librasterizer_nvdiffrast_on_host.so")}

    backends.offer_backend("standin", load)
    return folder


@pytest.fixture(
    scope="module",
    params=[
        "cpu",
        "shuffled",
        "standin",
        pytest.param("cuda", marks=pytest.mark.cuda),
        pytest.param("nvdiffrast", marks=pytest.mark.cuda),
    ],
)
def backend(request) -> Iterator[str]:
    """Runs a test on every backend that can run here; the fixtures above describe two of them."""
    name = request.param
    if name in ("shuffled", "standin"):
        request.getfixturevalue(name)
    if name not in rasterizer_ffi.available_backends():
        pytest.skip(f"the library of backend {name} was not built")
    try:
        device_of(name)
    except RuntimeError as error:
        pytest.skip(f"backend {name} has no device here: {error}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(using(name))
        except ImportError as error:
            pytest.skip(str(error))
        yield name
