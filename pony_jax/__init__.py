"""MagicPony in JAX: one photograph of an animal in; its 3D shape, skeleton, pose and light out.

import pony_jax

model = pony_jax.load("runs/photos")
animal = model.reconstruct("horse.jpg")
animal.export("horse.glb")
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if os.environ.get("PONY_JAX_KERNELS") != "0":
    from pony_jax import kernels

    kernels.register_all()  # compiled substitutes for a CPU; nothing else imports them

if TYPE_CHECKING:
    from pony_jax.reconstruction.animal import Animal
    from pony_jax.reconstruction.load import load, shipped_models
    from pony_jax.reconstruction.model import Model

__all__ = ["Animal", "Model", "load", "shipped_models"]

_MODULES = {
    "Animal": "pony_jax.reconstruction.animal",
    "Model": "pony_jax.reconstruction.model",
    "load": "pony_jax.reconstruction.load",
    "shipped_models": "pony_jax.reconstruction.load",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, so that `import pony_jax.ops` does not load all the rest."""
    if name not in _MODULES:
        raise AttributeError(f"module 'pony_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
