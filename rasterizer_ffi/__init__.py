"""A rasteriser for JAX with nvdiffrast's operations and semantics; see README.md."""

from rasterizer_ffi.antialiasing import antialias, antialias_construct_topology_hash
from rasterizer_ffi.backends import available_backends, set_max_threads, use_backend
from rasterizer_ffi.interpolation import interpolate
from rasterizer_ffi.pooled_antialiasing import antialias_pooled
from rasterizer_ffi.rasterization import rasterize, rasterize_layers
from rasterizer_ffi.textures import texture

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
