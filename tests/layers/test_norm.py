import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_checks import check_threads, noise

from pony_jax.layers import norm, plain_xla

# Of several pieces of work, of a piece that is no whole number of vectors, of one number, of none.
_SHAPES = ((300, 200), (7, 21), (), (0, 3))


def arrays() -> list[jax.Array]:
    return [noise(i, *shape) for i, shape in enumerate(_SHAPES)]


@pytest.mark.parametrize("num_arrays", range(len(_SHAPES) + 1))
def test_equals_the_norm_in_double_precision(num_arrays):
    some = arrays()[-num_arrays:] if num_arrays else []
    expected = np.sqrt(sum(np.sum(np.square(np.asarray(a, np.float64))) for a in some))
    ours = jax.jit(norm)(some)
    assert ours.shape == () and ours.dtype == jnp.float32
    # Sums of 256 squares a lane are single, those of them double.
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    with plain_xla():
        np.testing.assert_allclose(jax.jit(norm)(some), expected, rtol=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 1), (299, 199)])
def test_a_number_that_is_not_finite_shows(wrong, place):
    large, *others = arrays()
    assert not np.isfinite(norm([large.at[place].set(wrong), *others]))


def test_threads_change_nothing():
    check_threads(lambda: [np.asarray(norm(arrays()))])
