"""A rasteriser for JAX with nvdiffrast's operations and semantics; see README.md."""

from rasterizer_ffi.backends import available_backends, set_max_threads, use_backend
from rasterizer_ffi.ops import (
    antialias,
    antialias_construct_topology_hash,
    antialias_pooled,
    interpolate,
    rasterize,
    rasterize_layers,
    texture,
)

__all__ = [
    "antialias",
    "antialias_construct_topology_hash",
    "antialias_pooled",
    "available_backends",
    "interpolate",
    "rasterize",
    "rasterize_layers",
    "set_max_threads",
    "texture",
    "use_backend",
]
