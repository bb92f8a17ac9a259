"""Geometry made for a CPU, and who computes: our kernels there, XLA elsewhere or where asked to.

What calls an op keeps a plain version beside it: the reference, and what a GPU runs.
"""

from pony_jax.native import geometry
from pony_jax.native.backend import plain_xla, uses_kernels

__all__ = ["geometry", "plain_xla", "uses_kernels"]
