"""What the tests of all layers compare: our kernels with the plain mathematics."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pony_jax.layers import MLPWeights, backend, plain_xla

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


def values_and_gradients(function: Callable[..., jax.Array], *arguments: Any) -> list[np.ndarray]:
    """Of `function`, and of its product with noise by all arguments."""

    def loss(*arguments: Any) -> tuple[jax.Array, jax.Array]:
        out = function(*arguments)
        return jnp.sum(out * noise(99, *out.shape)), out

    everything = tuple(range(len(arguments)))
    grads, out = jax.jit(jax.grad(loss, everything, has_aux=True))(*arguments)
    return [np.asarray(leaf) for leaf in jax.tree.leaves((out, grads))]


def check_against_xla(function: Callable[..., jax.Array], *arguments: Any) -> None:
    ours = values_and_gradients(function, *arguments)
    with plain_xla():
        reference = values_and_gradients(function, *arguments)
    for got, expected in zip(ours, reference, strict=True):
        assert got.shape == expected.shape
        scale = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * scale)


def check_threads(
    results: Callable[[], list[np.ndarray]],
    set_max_threads: Callable[[int | None], None] = backend.set_max_threads,
) -> None:
    """Any number of threads gives the same bits."""
    every = results()
    try:
        for num_threads in (1, 2, 3):
            set_max_threads(num_threads)
            for a, b in zip(every, results(), strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        set_max_threads(None)
