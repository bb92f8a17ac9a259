"""Schedules: how a quantity changes with the step."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def linear_ramp(
    step: Float[Array, ""] | int, start: float, end: float, first: float, last: float
) -> Float[Array, ""]:
    """`first` until step `start`, `last` from step `end` on, a straight line between."""
    share = jnp.clip((step - start) / max(end - start, 1e-6), 0.0, 1.0)
    return first + share * (last - first)
