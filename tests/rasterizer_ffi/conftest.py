"""The backends that tests run on, and the library with the CUDA backend's loops on the host."""

import contextlib
import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

import rasterizer_ffi
from rasterizer_ffi import backends

_REPOSITORY = Path(__file__).parent.parent.parent


def find_cmake() -> str:
    """The environment's cmake, else that of the PATH."""
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    cmake = shutil.which("cmake", path=os.pathsep.join(folders))
    if cmake is None:
        pytest.skip("cmake is neither in the environment nor in the PATH")
    return cmake


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """Builds one target of CMakeLists.txt and returns the library."""

    def run(target: str, *options: str) -> Path:
        folder = _REPOSITORY / "build" / "tests" / target
        folder.mkdir(parents=True, exist_ok=True)
        steps = (
            ["-S", _REPOSITORY, "-B", folder, f"-DPython_EXECUTABLE={sys.executable}", *options],
            ["--build", folder, "--target", target],
        )
        with open(folder / "lock", "w") as lock:  # workers of pytest-xdist share the folder
            fcntl.flock(lock, fcntl.LOCK_EX)
            for step in steps:
                done = subprocess.run([find_cmake(), *step], capture_output=True, text=True)
                assert done.returncode == 0, done.stdout + done.stderr
        return folder / f"lib{target}.so"

    return run


@pytest.fixture(scope="session")
def shuffled(build) -> ctypes.CDLL:
    """The CUDA backend's loops, run on the host in orders that RasterizerSetSeed chooses.

    Registered as the backend "shuffled".
    """
    library = ctypes.CDLL(str(build("rasterizer_shuffled")))
    backends.register_backend("shuffled", {"cpu": library})
    return library


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    before = backends.backend_in_use()
    rasterizer_ffi.use_backend(name)
    try:
        yield
    finally:
        rasterizer_ffi.use_backend(before)


@pytest.fixture(scope="module", params=["cpu", "shuffled", "cuda"])
def backend(request) -> Iterator[str]:
    """Runs a test on every backend that can run here; "shuffled" is described above."""
    name = request.param
    if name == "shuffled":
        request.getfixturevalue("shuffled")
    if name not in rasterizer_ffi.available_backends():
        pytest.skip(f"the library of backend {name} was not built")
    try:
        device = jax.devices("cuda" if name == "cuda" else "cpu")[0]
    except RuntimeError as error:
        pytest.skip(f"backend {name} has no device here: {error}")
    with using(name), jax.default_device(device):
        yield name
