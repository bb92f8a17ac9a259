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


def joined(arrays: Arrays) -> Float[Array, " n"]:
    """All numbers of named arrays in one, in the order of the names: what moments belong to."""
    parts = [jnp.ravel(arrays[name]) for name in sorted(arrays)]
    return jnp.concatenate([jnp.zeros(0), *parts])


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

    XLA's CPU backend would make each of a parameter's three arrays in a pass of its own.

    Args:
      moments: those of `optax.scale_by_adam` for the `joined` parameters: a program with hundreds
        of small arrays spends milliseconds on handing them over.
      rate: learning rate.
      grad_scale: gradients count as multiplied by it.
    """
    names = sorted(params)
    if not uses_kernels(*params.values(), *grads.values(), moments.mu):
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
    changed = [*(params[name] for name in names), moments.mu, moments.nu]
    *new, mean, square = call(
        "adam",
        [array.shape for array in changed],
        scalars,
        *changed,
        *(grads[name] for name in names),
        in_place={1 + i: i for i in range(len(changed))},
        mean_decay=np.float32(_MEAN_DECAY),
        square_decay=np.float32(_SQUARE_DECAY),
        epsilon=np.float32(_EPSILON),
    )
    values = dict(zip(names, new, strict=True))
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
    adam = optax.scale_by_adam(_MEAN_DECAY, _SQUARE_DECAY, _EPSILON)
    updates, updated = adam.update(grad_scale * joined(grads), moments)
    values, first = {}, 0
    for name in sorted(params):
        param = params[name]
        values[name] = param - rate * updates[first : first + param.size].reshape(param.shape)
        first += param.size
    return jax.tree.map(
        lambda new, old: jnp.where(applied, new, old), (values, updated), (params, moments)
    )
