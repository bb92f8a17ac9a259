"""The small model of the `test` configuration, with fresh parameters, and images of noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import horse
from pony_jax.model import Capacities, Pony, Stage, build_model
from pony_jax.model.pony import Estimate
from pony_jax.ops.mesh import Mesh


@pytest.fixture(scope="session")
def stage() -> Stage:
    """Everything is switched on, and the buffers hold two images of 32 px."""
    return Stage(16, True, True, True, Capacities(1024, 2048, 1024, 256, 512))


@pytest.fixture(scope="session")
def model() -> Pony:
    return build_model(horse.get_config("test"), (8, 6))


@pytest.fixture(scope="session")
def params(model) -> dict:
    return jax.jit(model.init_params)(jax.random.key(0))


@pytest.fixture(scope="session")
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2, 2, 8, 8, 6)).astype(np.float32)
    image = rng.uniform(size=(2, 32, 32, 3)).astype(np.float32)
    return {"image": image, "patch_key": tokens[0], "patch_out": tokens[1]}


@pytest.fixture(scope="session")
def prior(model, params, stage) -> Mesh:
    """The mesh of the category."""
    shape = jax.jit(lambda params: model.bind({"params": params}).shape(stage))
    return shape(params).mesh


@pytest.fixture(scope="session")
def estimate(model, params, prior, batch, stage) -> Estimate:
    """What the fresh networks read off the images: among it animals at rest."""

    @jax.jit
    def run(params, batch):
        return model.bind({"params": params}).estimate(prior, batch, jnp.int32(7), stage)

    return run(params, batch)
