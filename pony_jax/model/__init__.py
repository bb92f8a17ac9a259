"""The model: prior, instance, renderer, objective, and the forward pass that joins them."""

from pony_jax.model.build import build_model
from pony_jax.model.pony import Pony, Prediction
from pony_jax.model.stage import NO_CAPACITIES, Capacities, Stage

__all__ = ["NO_CAPACITIES", "Capacities", "Pony", "Prediction", "Stage", "build_model"]
