"""Adam's update of many arrays at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from pony_jax.layers.backend import call, uses_kernels

# Adam's usual constants.
_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8

Arrays = dict[str, Array]


def adam_update(
    params: Arrays,
    grads: Arrays,
    moments: optax.ScaleByAdamState,
    *,
    rate: Float[Array, ""] | float,
    grad_scale: Float[Array, ""] | float = 1.0,
    applied: Bool[Array, ""] | bool = True,
) -> tuple[Arrays, optax.ScaleByAdamState]:
    """Parameters and moments after a step of Adam, or as they were if not `applied`.

    The moments are those of `optax.scale_by_adam`. XLA's CPU backend would make each of a
    parameter's three arrays in a pass of its own.

    Args:
      rate: learning rate.
      grad_scale: gradients count as multiplied by it.
    """
    if not uses_kernels(*jax.tree.leaves((params, grads, moments.mu, moments.nu))):
        return _by_xla(params, grads, moments, rate, grad_scale, applied)
    count = optax.safe_increment(moments.count)
    scalars = jnp.stack(
        [
            jnp.float32(rate),
            jnp.float32(grad_scale),
            1 - _MEAN_DECAY**count,
            1 - _SQUARE_DECAY**count,
            jnp.float32(applied),
        ]
    )
    changed = [params[name] for name in params]
    changed += [moments.mu[name] for name in params] + [moments.nu[name] for name in params]
    new = call(
        "adam",
        [array.shape for array in changed],
        scalars,
        *changed,
        *(grads[name] for name in params),
        in_place={1 + i: i for i in range(len(changed))},
        mean_decay=np.float32(_MEAN_DECAY),
        square_decay=np.float32(_SQUARE_DECAY),
        epsilon=np.float32(_EPSILON),
    )
    n = len(params)
    values, mean, square = (dict(zip(params, new[i : i + n], strict=True)) for i in (0, n, 2 * n))
    count = jnp.where(applied, count, moments.count)
    return values, optax.ScaleByAdamState(count=count, mu=mean, nu=square)


def _by_xla(
    params: Arrays,
    grads: Arrays,
    moments: optax.ScaleByAdamState,
    rate: Array | float,
    grad_scale: Array | float,
    applied: Array | bool,
) -> tuple[Arrays, optax.ScaleByAdamState]:
    grads = {name: grad_scale * grad for name, grad in grads.items()}
    adam = optax.scale_by_adam(_MEAN_DECAY, _SQUARE_DECAY, _EPSILON)
    updates, updated = adam.update(grads, moments)
    values = {name: params[name] - rate * updates[name] for name in params}
    return jax.tree.map(
        lambda new, old: jnp.where(applied, new, old), (values, updated), (params, moments)
    )
