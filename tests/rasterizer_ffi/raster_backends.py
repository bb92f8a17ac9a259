"""What tests need to build libraries and to run on one backend or another."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

import rasterizer_ffi
from rasterizer_ffi import backends

_REPOSITORY = Path(__file__).parent.parent.parent


def build(target: str, *options: str, folder: str | None = None) -> Path:
    """Builds one target of CMakeLists.txt and returns the folder that it is in.

    Targets that share objects may share a `folder` of build/tests; it is named as the target else.
    """
    # The environment's cmake, else that of the PATH.
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    cmake = shutil.which("cmake", path=os.pathsep.join(folders))
    if cmake is None:
        pytest.skip("cmake is neither in the environment nor in the PATH")
    path = _REPOSITORY / "build" / "tests" / (folder or target)
    path.mkdir(parents=True, exist_ok=True)
    steps = (
        ["-S", _REPOSITORY, "-B", path, f"-DPython_EXECUTABLE={sys.executable}", *options],
        ["--build", path, "--target", target],
    )
    with open(path / "lock", "w") as lock:  # workers of pytest-xdist share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        for step in steps:
            done = subprocess.run([cmake, *step], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return path


def device_of(name: str) -> jax.Device:
    """A device that a backend computes on; RuntimeError if there is none."""
    return jax.devices("cuda" if name in ("cuda", "nvdiffrast") else "cpu")[0]


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Runs what is inside on one backend and its device."""
    before = backends.backend_in_use()
    with jax.default_device(device_of(name)):
        rasterizer_ffi.use_backend(name)
        try:
            yield
        finally:
            rasterizer_ffi.use_backend(before)
