"""The model: prior, instance, renderer, objective, and the forward pass that joins them."""

from pony_jax.model.build import build_model, build_objective
from pony_jax.model.capacities import NO_CAPACITIES, Capacities
from pony_jax.model.objective import Objective
from pony_jax.model.pony import Pony
from pony_jax.model.predict import Prediction
from pony_jax.model.rig import Rig
from pony_jax.model.stage import Stage

__all__ = [
    "NO_CAPACITIES",
    "Capacities",
    "Objective",
    "Pony",
    "Prediction",
    "Rig",
    "Stage",
    "build_model",
    "build_objective",
]
