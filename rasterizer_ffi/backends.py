"""The implementations of the operations: registers their FFI targets with JAX, and chooses one.

A backend is a set of target names. XLA finds the function behind a name by the platform that it
compiles for, so each backend has its functions on the platforms where it can compute.
"""

import ctypes
import os
from collections.abc import Callable

import jax

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
# What only the backend "cpu" has; `ops.py` composes it of the others on every other backend.
_CPU_SYMBOLS = {
    "antialias_pooled": "RasterizerAntialiasPooled",
    "antialias_pooled_grad": "RasterizerAntialiasPooledGrad",
}

_CPU = load_library("librasterizer_cpu.so", isa_variable="RASTERIZER_FFI_ISA")
Libraries = dict[str, ctypes.CDLL]  # by XLA's platforms: "cpu", "CUDA"
_available: dict[str, Callable[[], Libraries]] = {}
_registered: set[str] = set()


def _register(backend: str, op: str, platform: str, symbol: ctypes._CFuncPtr) -> None:
    target = f"rasterizer_{backend}_{op}"
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(symbol), platform=platform)


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
        for platform, library in _available[name]().items():
            symbols = _SYMBOLS | _CPU_SYMBOLS if name == "cpu" else _SYMBOLS
            for op, symbol in symbols.items():
                _register(name, op, platform, getattr(library, symbol))
        _registered.add(name)
    return name


def use_backend(name: str) -> None:
    """Chooses the backend of all operations that are traced from now on.

    "cpu" computes on CPUs only. "cuda" computes on GPUs by our own kernels, "nvdiffrast" on GPUs by
    the installed nvdiffrast; what JAX places on a CPU, both compute as "cpu" does. The default is
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


def has_target(op: str) -> bool:
    """Whether the backend in use computes an operation by itself."""
    return op in _SYMBOLS or (_in_use == "cpu" and op in _CPU_SYMBOLS)


def target_name(op: str) -> str:
    """The FFI target of an operation in the backend in use."""
    return f"rasterizer_{_in_use}_{op}"


def set_max_threads(num_threads: int | None) -> None:
    """Limits the threads the CPU operations use; None means all that XLA has.

    The number never changes a result.
    """
    _CPU.RasterizerSetMaxThreads(0 if num_threads is None else int(num_threads))


for _op in _SYMBOLS | _CPU_SYMBOLS:
    _register("cpu", _op, "CUDA", _CPU.RasterizerRefuse)  # an error that says what to do
offer_backend("cpu", lambda: {"cpu": _CPU})
if find_library("librasterizer_cuda.so") is not None:
    offer_backend("cuda", lambda: {"cpu": _CPU, "CUDA": load_library("librasterizer_cuda.so")})
if find_library("librasterizer_nvdiffrast.so") is not None:
    offer_backend("nvdiffrast", lambda: {"cpu": _CPU, "CUDA": load_bound_library()})
_default = "cuda" if "cuda" in _available else "cpu"
_in_use = _registered_backend(os.environ.get(_ENVIRONMENT, _default), _ENVIRONMENT)
