"""The implementations of the operations: registers their FFI targets with JAX, and chooses one.

A backend has functions for the platforms where it can compute. When JAX lowers an operation for a
platform, it names the target of the backend that computes there: the one in use, or else the
platform's own, "cpu" or "cuda". To name a target needs no library: where there is no GPU one can
lower and export for one.
"""

import ctypes
import os
from collections.abc import Callable

import jax

from rasterizer_ffi.arguments import check_static_int
from rasterizer_ffi.installed_nvdiffrast import load_bound_library
from rasterizer_ffi.library import find_library, load_library

_ENVIRONMENT = "RASTERIZER_FFI_BACKEND"
_SYMBOLS = {
    "rasterize": "RasterizerRasterize",
    "rasterize_layers": "RasterizerRasterizeLayers",
    "rasterize_grad": "RasterizerRasterizeGrad",
    "interpolate": "RasterizerInterpolate",
    "interpolate_grad": "RasterizerInterpolateGrad",
    "antialias": "RasterizerAntialias",
    "antialias_grad": "RasterizerAntialiasGrad",
    "texture": "RasterizerTexture",
    "texture_grad": "RasterizerTextureGrad",
    "topology": "RasterizerTopology",
}
# What only the backend "cpu" has; elsewhere `pooled_antialiasing.py` composes it of the others.
_CPU_SYMBOLS = {
    "antialias_pooled": "RasterizerAntialiasPooled",
    "antialias_pooled_grad": "RasterizerAntialiasPooledGrad",
}

_CPU = load_library("librasterizer_cpu.so", isa_variable="RASTERIZER_FFI_ISA")
PLATFORMS = ("cpu", "cuda")  # as JAX names them when it lowers
Libraries = dict[str, ctypes.CDLL]  # by platform
_available: dict[str, Callable[[], Libraries]] = {}
_registered: dict[str, tuple[str, ...]] = {}  # the platforms of each backend whose names XLA knows


def _register(backend: str, op: str, platform: str, symbol: ctypes._CFuncPtr) -> None:
    name = {"cpu": "cpu", "cuda": "CUDA"}[platform]  # as XLA calls it
    jax.ffi.register_ffi_target(f"rasterizer_{backend}_{op}", jax.ffi.pycapsule(symbol), name)


def offer_backend(name: str, load: Callable[[], Libraries]) -> None:
    """Makes a backend available; its libraries are loaded when it is first chosen."""
    _available[name] = load


def available_backends() -> tuple[str, ...]:
    """Names of the backends that were built: "cpu", and "cuda" and "nvdiffrast" where they were.

    Whether there is a GPU to run on is another question: `jax.devices()` answers it. Whether the
    installed nvdiffrast can be used, `use_backend` finds out.
    """
    return tuple(_available)


def _check(name: str, source: str) -> str:
    if name not in _available:
        raise ValueError(
            f"{source}: expected one of {available_backends()}, got {name!r}; build the library of "
            "a backend first, as rasterizer_ffi/README.md says"
        )
    return name


def _registered_backend(name: str, source: str) -> str:
    """Checks a name, and registers the backend's targets with JAX if nobody has asked before."""
    if _check(name, source) not in _registered:
        libraries = _available[name]()
        for platform, library in libraries.items():
            symbols = _SYMBOLS | _CPU_SYMBOLS if name == "cpu" else _SYMBOLS
            for op, symbol in symbols.items():
                _register(name, op, platform, getattr(library, symbol))
        _registered[name] = tuple(libraries)
    return name


def use_backend(name: str) -> None:
    """Chooses the backend of all operations that are traced from now on.

    "cpu" computes on CPUs only. "cuda" computes on GPUs by our own kernels, "nvdiffrast" on GPUs by
    the installed nvdiffrast; what JAX places on a CPU, "cpu" computes with either. The default is
    the environment variable RASTERIZER_FFI_BACKEND, or "cuda" if it was built, or "cpu". Compiled
    functions are forgotten where the choice changes.

    Raises:
      ValueError: the backend is unknown or was not built.
      ImportError: what "nvdiffrast" calls is not installed, or is of another version.
    """
    global _in_use
    if _registered_backend(name, "use_backend") != _in_use:
        _in_use = name
        jax.clear_caches()


def backend_in_use() -> str:
    """The name that `use_backend` or the default chose."""
    return _in_use


def _backend_on(platform: str) -> str:
    """The backend that computes on a platform."""
    if platform in _registered[_in_use]:
        return _in_use
    # "cpu", chosen where "cuda" was built, is kept on a GPU as well: there it refuses.
    return _in_use if platform == "cuda" and "cuda" in _available else platform


def has_target(op: str, platform: str) -> bool:
    """Whether there is a target for an operation on a platform."""
    return op in _SYMBOLS or _backend_on(platform) == platform == "cpu"


def target_name(op: str, platform: str) -> str:
    """The FFI target of an operation on a platform ("cpu" or "cuda")."""
    return f"rasterizer_{_backend_on(platform)}_{op}"


def set_max_threads(num_threads: int | None) -> None:
    """Limits the threads the CPU operations use; None means all that XLA has.

    The number never changes a result.

    Raises:
      TypeError, ValueError: not a positive integer.
    """
    if num_threads is not None:
        num_threads = check_static_int("set_max_threads", "num_threads", num_threads, 1, 2**16)
    _CPU.RasterizerSetMaxThreads(num_threads or 0)


for _op in _SYMBOLS:
    _register("cpu", _op, "cuda", _CPU.RasterizerRefuse)  # an error that says what to do
offer_backend("cpu", lambda: {"cpu": _CPU})
if find_library("librasterizer_cuda.so") is not None:
    offer_backend("cuda", lambda: {"cuda": load_library("librasterizer_cuda.so")})
else:
    for _op in _SYMBOLS:
        _register("cuda", _op, "cuda", _CPU.RasterizerRefuse)
if find_library("librasterizer_nvdiffrast.so") is not None:
    offer_backend("nvdiffrast", lambda: {"cuda": load_bound_library()})
_registered_backend("cpu", "rasterizer_ffi")
_default = "cuda" if "cuda" in _available else "cpu"
_in_use = _registered_backend(os.environ.get(_ENVIRONMENT, _default), _ENVIRONMENT)
