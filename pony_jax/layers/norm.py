"""The norm of many arrays at once."""

from collections.abc import Iterable

import optax
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels


def norm(arrays: Iterable[Float[Array, "..."]]) -> Float[Array, ""]:
    """Euclidean norm of all numbers of some arrays; not differentiable.

    XLA's CPU backend would make two or three small programs of each array.
    """
    arrays = list(arrays)
    if not uses_kernels(*arrays):
        return optax.tree.norm(arrays)
    return call("norm", [()], *arrays)[0]
