"""Loads the backend that calls the user's own nvdiffrast, or says what is missing for it.

Nothing here is imported before the backend is asked for, PyTorch included.
"""

import atexit
import ctypes
import importlib.metadata
import importlib.util

from rasterizer_ffi.library import load_library

_VERSION = "0.4"  # of nvdiffrast, whose functions and their arguments nvdiffrast/functions.h names
_EXTENSION = "_nvdiffrast_c"


def load_bound_library(name: str = "librasterizer_nvdiffrast.so") -> ctypes.CDLL:
    """The backend's library, bound to the functions of the installed nvdiffrast.

    Raises:
      ImportError: nvdiffrast, its extension, PyTorch or a function is missing, or of another
        version; one line says which.
    """
    extension = _find_extension()
    torch_version = _import_torch()
    try:
        library = load_library(name)
    except OSError as error:  # a symbol of PyTorch that this version has not
        raise _refusal(f"PyTorch {torch_version} does not fit {name}: {error}") from error
    library.RasterizerTorchVersion.restype = ctypes.c_char_p
    library.RasterizerBindNvdiffrast.restype = ctypes.c_char_p
    compiled_for = library.RasterizerTorchVersion().decode()
    if compiled_for != torch_version:
        raise _refusal(
            f"expected PyTorch {compiled_for}, which {name} was compiled against, got "
            f"{torch_version}; build it again"
        )
    reason = library.RasterizerBindNvdiffrast(extension.encode()).decode()
    if reason:
        raise _refusal(f"expected the extension of nvdiffrast {_VERSION} in {extension}; {reason}")
    atexit.register(library.RasterizerReleaseNvdiffrast)
    return library


def _refusal(message: str) -> ImportError:
    return ImportError(f"backend 'nvdiffrast': {message}")


def _find_extension() -> str:
    """Path of nvdiffrast's compiled extension."""
    try:
        version = importlib.metadata.version("nvdiffrast")
    except importlib.metadata.PackageNotFoundError:
        raise _refusal(f"expected nvdiffrast {_VERSION} to be installed, found none") from None
    if version.split(".")[:2] != _VERSION.split("."):
        raise _refusal(f"expected nvdiffrast {_VERSION}, got {version}")
    spec = importlib.util.find_spec(_EXTENSION)
    if spec is None or spec.origin is None:
        raise _refusal(
            f"expected the compiled extension {_EXTENSION} of nvdiffrast {version}, found none; "
            "install nvdiffrast again, where PyTorch and nvcc are"
        )
    return spec.origin


def _import_torch() -> str:
    """Loads PyTorch's libraries, by which the others find them; returns its version."""
    try:
        import torch
    except ImportError as error:
        raise _refusal(f"expected a CUDA build of PyTorch, got: {error}") from error
    if torch.version.cuda is None:
        raise _refusal(f"expected a CUDA build of PyTorch, got {torch.__version__}")
    return torch.__version__.split("+")[0]
