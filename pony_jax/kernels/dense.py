"""Dense layers on normalised rows, which are never written to memory."""

import numpy as np
from jaxtyping import Array

from pony_jax.kernels.library import call
from pony_jax.ops.dense import EPSILON, NormDenseWeights

CHANNEL_MULTIPLE = 16
"""What normalised channels must be a multiple of; as in cpu/networks.h."""

_HOW = {"epsilon": np.float32(EPSILON)}


def accepts(x: Array, weights: NormDenseWeights) -> bool:
    return x.shape[-1] % CHANNEL_MULTIPLE == 0


def forward(x: Array, weights: NormDenseWeights) -> Array:
    rows = x.reshape(-1, x.shape[-1])
    features = weights.kernel.shape[1]
    (out,) = call("NormDense", [(len(rows), features)], rows, *weights, **_HOW)
    return out.reshape(*x.shape[:-1], features)


def backward(
    args: tuple[Array, NormDenseWeights], kept: tuple, grads: tuple[Array, ...]
) -> list[Array]:
    x, weights = args
    rows = x.reshape(-1, x.shape[-1])
    grad_out = grads[0].reshape(len(rows), weights.kernel.shape[1])
    shapes = [array.shape for array in (rows, *weights)]
    grad_x, *others = call("NormDenseGrad", shapes, rows, *weights, grad_out, **_HOW)
    return [grad_x.reshape(x.shape), *others]
