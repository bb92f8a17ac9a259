"""What the tests of all kernels compare: substitutes with the plain mathematics."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pony_jax.ops.mlp import MLPWeights
from pony_jax.ops.substitution import without_substitutes

# Relative to the largest of an array. Against float64, ours are within 8e-7 and XLA's within 3e-6
# (the slope of its gelu, summed over an image).
TOLERANCE = 5e-6


def noise(key: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(key).standard_normal(shape), jnp.float32)


def weights(num_frequencies: int, hidden: int, middle: int, outputs: int) -> MLPWeights:
    """Of a network on points."""
    inputs = 3 + 6 * num_frequencies
    return MLPWeights(
        noise(0, inputs, hidden) * inputs**-0.5,
        noise(1, hidden),
        noise(2, middle, hidden, hidden) * hidden**-0.5,
        noise(3, hidden, outputs) * hidden**-0.5,
    )


def is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)


def scalar(function: Callable[..., Any]) -> Callable[..., tuple[jax.Array, Any]]:
    """The product of the float results with noise, and the results."""

    def loss(*arguments: Any) -> tuple[jax.Array, Any]:
        out = function(*arguments)
        floats = [leaf for leaf in jax.tree.leaves(out) if is_float(leaf)]
        return sum((jnp.sum(x * noise(99, *x.shape)) for x in floats), jnp.float32(0)), out

    return loss


def differentiable(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Places of the arguments that consist of floats."""
    return tuple(i for i, x in enumerate(arguments) if all(map(is_float, jax.tree.leaves(x))))


def gradient_program(function: Callable[..., Any], *like: Any) -> Callable[..., list[np.ndarray]]:
    """A function that compiles once and returns what `values_and_gradients` does.

    Its arguments have the shapes of `like`.
    """
    run = scalar(function)
    if places := differentiable(like):
        program = jax.jit(jax.grad(run, places, has_aux=True))
    else:
        program = jax.jit(lambda *arguments: ((), run(*arguments)[1]))

    def call(*arguments: Any) -> list[np.ndarray]:
        grads, out = program(*arguments)
        return [np.asarray(leaf) for leaf in jax.tree.leaves((out, grads))]

    return call


def values_and_gradients(function: Callable[..., Any], *arguments: Any) -> list[np.ndarray]:
    """Of `function`, and of its product with noise by all arguments."""
    return gradient_program(function, *arguments)(*arguments)


def assert_close(got: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> None:
    """Relative to the largest of each array; whole numbers and flags are equal."""
    for a, e in zip(got, expected, strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype
        if is_float(e):
            scale = np.abs(e).max(initial=0.0)
            np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(a, e)


def check_against_plain(function: Callable[..., Any], *arguments: Any) -> None:
    ours = values_and_gradients(function, *arguments)
    with without_substitutes():
        expected = values_and_gradients(function, *arguments)
    assert_close(ours, expected, TOLERANCE)
