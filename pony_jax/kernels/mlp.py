"""The network on points: a block of points stays in the cache through all layers."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pony_jax.kernels.library import call, empty_or
from pony_jax.ops.mlp import MLPWeights

# As in cpu/networks.h: points that are worked on together, and what the width of kept layers is a
# multiple of.
_BLOCK = 96
_WIDTH_MULTIPLE = 16

Arrays = tuple[Array, MLPWeights, Array | None, Array | None, Array | None]


def forward(*args: Array, num_frequencies: int, scale: float) -> Array:
    return _run(args, num_frequencies, scale, num_kept=0)[0]


def forward_keeping(
    *args: Array, num_frequencies: int, scale: float
) -> tuple[Array, tuple[Array, ...]]:
    out, kept = _run(args, num_frequencies, scale, num_kept=_num_kept(args))
    return out, (kept,)


def backward(
    args: Arrays,
    kept: tuple[Array, ...],
    grads: tuple[Array, ...],
    *,
    num_frequencies: int,
    scale: float,
) -> list[Array]:
    points, weights, condition, image, count = _all_arrays(args)
    inputs = points, *weights, condition
    how = {"num_frequencies": num_frequencies, "scale": np.float64(scale)}
    shapes = [array.shape for array in inputs]
    gradients = call("MlpGrad", shapes, *inputs, image, count, *kept, *grads, **how)
    return gradients[:5] if args[2] is None else gradients


def _all_arrays(args: Arrays) -> Arrays:
    points, weights, condition, image, count = args
    if condition is None:
        condition = jnp.zeros((0, weights.last.shape[0]))
    return points, weights, condition, empty_or(image), empty_or(count)


def _seen_by(args: Arrays) -> int:
    """How many images see every point; 0 where a point belongs to one image, or to none."""
    _, _, condition, image, _ = args
    return 0 if condition is None or image is not None else len(condition)


def _num_kept(args: Arrays) -> int:
    """How many values of hidden layers the gradient needs."""
    points, weights, *_ = args
    num_middle, width = len(weights.middle), len(weights.last)
    layers = 1 + min(num_middle, 1) + max(num_middle - 1, 0) * max(_seen_by(args), 1)
    blocks = -(-len(points) // _BLOCK)
    return blocks * _BLOCK * layers * (-(-width // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE)


def _run(args: Arrays, num_frequencies: int, scale: float, num_kept: int) -> list[Array]:
    points, weights, *rest = _all_arrays(args)
    out = len(points), weights.last.shape[1]
    if _seen_by(args):
        out = _seen_by(args), *out
    how = {"num_frequencies": num_frequencies, "scale": np.float64(scale)}
    return call("Mlp", [out, (num_kept,)], points, *weights, *rest, **how)
