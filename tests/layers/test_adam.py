import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from layer_checks import check_threads, noise

from pony_jax.layers import adam_update, joined, plain_xla

# One array is of several pieces of work, one of a part of a piece, one of none.
_SHAPES = {"large": (300, 200), "small": (7,), "single": (), "empty": (0, 3)}


def arrays(key: int) -> dict[str, jax.Array]:
    return {name: noise(key + i, *shape) for i, (name, shape) in enumerate(_SHAPES.items())}


def after_steps(num_steps: int = 4, unapplied: tuple[int, ...] = ()) -> list[np.ndarray]:
    """Parameters and moments, each step with gradients of its own."""
    params = arrays(0)
    moments = optax.scale_by_adam().init(joined(params))
    update = jax.jit(adam_update, donate_argnums=(0, 2))
    for i in range(num_steps):
        applied = i not in unapplied
        params, moments = update(
            params, arrays(10 * i), moments, rate=0.01 * i, grad_scale=0.5, applied=applied
        )
    return [np.asarray(leaf) for leaf in jax.tree.leaves((params, moments))]


@pytest.mark.parametrize("unapplied", [(), (0, 2)])
def test_equals_the_plain_mathematics(unapplied):
    ours = after_steps(unapplied=unapplied)
    with plain_xla():
        reference = after_steps(unapplied=unapplied)
    for got, expected in zip(ours, reference, strict=True):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        # Four steps in which products are fused with sums, or not; the values are around 1.
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-6)


def test_what_is_not_applied_changes_no_bit():
    jax.tree.map(np.testing.assert_array_equal, after_steps(3), after_steps(5, unapplied=(3, 4)))


def test_arguments_that_are_not_given_away_stay():
    params, grads = arrays(0), arrays(5)
    before = jax.tree.map(np.array, params)
    adam_update(params, grads, optax.scale_by_adam().init(joined(params)), rate=0.1)
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_threads_change_nothing():
    check_threads(after_steps)


@pytest.mark.parametrize(
    ("grad", "moments", "message"), [(4, 3, "of its parameter"), (3, 4, "all numbers of the")]
)
def test_arrays_that_do_not_belong_together_are_refused(grad, moments, message):
    params, grads = {"a": jnp.zeros(3)}, {"a": jnp.zeros(grad)}
    state = optax.scale_by_adam().init(jnp.zeros(moments))
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(adam_update(params, grads, state, rate=0.1))


def test_joined_arrays_are_in_the_order_of_their_names():
    arrays = {"b": jnp.full((1, 2), 2.0), "a": jnp.array(1.0), "none": jnp.zeros((0, 3))}
    np.testing.assert_array_equal(joined(arrays), [1, 2, 2])
    assert joined({}).shape == (0,)
