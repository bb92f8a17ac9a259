import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops.sampling import bilinear_windows


def _reference(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear look-up at a position in pixels, (0, 0) the middle of the first; zero outside."""
    total = np.zeros(image.shape[-1])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return total


@pytest.mark.parametrize("side", [1, 2, 5])
def test_windows_are_bilinear_and_zero_outside(side):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 4, 7, 3)).astype(np.float32)
    middles = rng.uniform(-1.6, 1.6, (2, 9, 2)).astype(np.float32)
    windows = jax.jit(bilinear_windows, static_argnums=2)(maps, middles, side)
    assert windows.shape == (2, 9, side, side, 3)
    for b, k, i, j in np.ndindex(windows.shape[:4]):
        x, y = (middles[b, k].astype(float) + 1) * (7 / 2, 4 / 2) - 0.5
        expected = _reference(maps[b], x + j - (side - 1) / 2, y + i - (side - 1) / 2)
        # Float32 positions up to 8 px, times values of up to 4.
        np.testing.assert_allclose(windows[b, k, i, j], expected, atol=1e-5)


def test_middles_of_pixels_give_the_pixels():
    maps = jnp.arange(24.0).reshape(1, 2, 4, 3)
    x, y = np.meshgrid((np.arange(4) + 0.5) / 2 - 1, np.arange(2) - 0.5)
    found = bilinear_windows(maps, jnp.stack([x, y], axis=-1).reshape(1, 8, 2), 1)
    np.testing.assert_array_equal(found.reshape(maps.shape), maps)


def test_far_and_infinite_positions_are_outside():
    far = jnp.array([[[1e30, 0.0], [0.0, -jnp.inf], [-1.6, 0.0]]])
    np.testing.assert_array_equal(bilinear_windows(jnp.ones((1, 4, 4, 2)), far, 3)[:, :2], 0.0)
