"""A rasteriser for JAX with nvdiffrast's operations and semantics; see README.md."""

from rasterizer_ffi.ops import (
    antialias,
    antialias_construct_topology_hash,
    interpolate,
    rasterize,
    set_max_threads,
)

__all__ = [
    "antialias",
    "antialias_construct_topology_hash",
    "interpolate",
    "rasterize",
    "set_max_threads",
]
