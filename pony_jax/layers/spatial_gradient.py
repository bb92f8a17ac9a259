"""The gradient of a field in space, as the Eikonal term needs it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels
from pony_jax.layers.mlp import MLPWeights, mlp, num_kept


def spatial_gradient(
    points: Float[Array, "n 3"],
    weights: MLPWeights,
    *,
    num_frequencies: int,
    scale: float,
) -> Float[Array, "n 3"]:
    """Gradient of `mlp` with respect to its points, itself differentiable (once) in the weights.

    Points are constants: it is not differentiated with respect to them. The gradient of the bias is
    0, since it only moves the places where rectifiers switch.

    Args:
      weights: with one output.
      num_frequencies, scale: see `mlp`.

    Raises:
      ValueError: for more than one output, and where points are differentiated.
    """
    if weights.last.shape[1] != 1:
        raise ValueError(
            f"weights: expected one output, got {weights.last.shape[1]}; take one column of `last`"
        )
    points = _constant(points)
    if not uses_kernels(points, *weights):
        return _by_xla(points, weights, num_frequencies, scale)
    return _spatial_gradient(points, weights, num_frequencies, float(scale))


def num_kept_of_gradient(num_points: int, num_middle: int, width: int) -> int:
    """How many values of hidden layers and of their gradients a gradient keeps."""
    return 2 * num_kept(num_points, 1, num_middle, width)


def _by_xla(points: Array, weights: MLPWeights, num_frequencies: int, scale: float) -> Array:
    def total(points: Array) -> Array:
        return jnp.sum(mlp(points, weights, num_frequencies=num_frequencies, scale=scale))

    return jax.grad(total)(points)


@jax.custom_vjp
def _constant(points: Array) -> Array:
    return points


def _refuse(points: Array) -> tuple[Array, None]:
    raise ValueError(
        "points: expected constants, got points that are differentiated; "
        "give them through lax.stop_gradient"
    )


_constant.defvjp(_refuse, lambda _, grad_out: (grad_out,))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spatial_gradient(
    points: Array, weights: MLPWeights, num_frequencies: int, scale: float
) -> Array:
    return _run(points, weights, num_frequencies, scale, keep=False)[0]


def _forward(
    points: Array, weights: MLPWeights, num_frequencies: int, scale: float
) -> tuple[Array, tuple]:
    out, kept = _run(points, weights, num_frequencies, scale, keep=True)
    return out, (points, weights, kept)


def _run(
    points: Array, weights: MLPWeights, num_frequencies: int, scale: float, *, keep: bool
) -> list[Array]:
    n, num_middle, width = len(points), len(weights.middle), len(weights.last)
    kept = num_kept_of_gradient(n, num_middle, width) if keep else 0
    how = {"num_frequencies": num_frequencies, "scale": np.float64(scale)}
    return call("spatial_gradient", [(n, 3), (kept,)], points, *weights, **how)


def _backward(num_frequencies: int, scale: float, residuals: tuple, grad_out: Array) -> tuple:
    points, weights, kept = residuals
    shapes = [weights.first.shape, weights.middle.shape, weights.last.shape]
    how = {"num_frequencies": num_frequencies, "scale": np.float64(scale)}
    first, middle, last = call(
        "spatial_gradient_grad", shapes, points, *weights, kept, grad_out, **how
    )
    return None, MLPWeights(first, jnp.zeros_like(weights.bias), middle, last)


_spatial_gradient.defvjp(_forward, _backward)
