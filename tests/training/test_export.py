"""A training step and a prediction are lowered for a GPU on a machine without one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import horse
from pony_jax.model import Capacities, build_model, build_objective
from pony_jax.model.predict import predict
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.step import init_state, train_step
from rasterizer_ffi import backends


@pytest.fixture(scope="module")
def config():
    return horse.get_config("test")


@pytest.fixture(scope="module")
def model(config):
    return build_model(config, (8, 6))


@pytest.fixture(scope="module")
def stage(model, config):
    return model.stage_at(config.num_steps - 1, Capacities(1024, 2048, 1024, 256, 512))


def abstract_batch(b: int, size: int, names: tuple[str, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of `data.pipeline` without its numbers."""
    shapes = {
        "image": (size, size, 3),
        "patch_key": (8, 8, 6),
        "patch_out": (8, 8, 6),
        "mask": (size, size, 1),
        "valid": (size, size, 1),
        "distance_inside": (size, size, 1),
        "distance_outside": (size, size, 1),
        "feature": (size, size, 16),
    }
    return {name: jax.ShapeDtypeStruct((b, *shapes[name]), jnp.float32) for name in names or shapes}


def custom_calls(program, *args) -> set[str]:
    """Targets of custom calls in a program that is exported for an NVIDIA GPU."""
    checks = [
        jax.export.DisabledSafetyCheck.custom_call(f"rasterizer_cuda_{operation}")
        for operation in backends._SYMBOLS
    ]
    exported = jax.export.export(program, platforms=["cuda"], disabled_checks=checks)(*args)
    return set(re.findall(r"custom_call @([\w$.]+)", exported.mlir_module()))


def assert_of_the_gpu(calls: set[str]) -> None:
    """No kernel of ours but the rasteriser's; JAX has some of its own."""
    ours = {call for call in calls if "rasterizer" in call or "pony" in call}
    assert ours <= {f"rasterizer_cuda_{operation}" for operation in backends._SYMBOLS}
    assert not [call for call in calls if "cpu" in call]


def test_a_step_calls_nothing_but_the_rasteriser_of_the_gpu(config, model, stage):
    groups = parameter_groups(1e-3, 1e-4)
    state = jax.eval_shape(lambda key: init_state(model, groups, key), jax.random.key(0))
    step = functools.partial(
        train_step, loss=functools.partial(build_objective(config).loss, model), groups=groups
    )
    program = jax.jit(functools.partial(step, stage=stage))
    batch = abstract_batch(4, config.data.image_size, ())
    number = jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(jax.random.key, 0)
    calls = custom_calls(program, state, batch, number, key)
    assert calls >= {f"rasterizer_cuda_{name}" for name in ("rasterize", "rasterize_grad")}
    assert_of_the_gpu(calls)


def test_a_prediction_calls_nothing_but_the_rasteriser_of_the_gpu(config, model, stage):
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    shape = jax.eval_shape(lambda params: model.bind({"params": params}).shape(stage), params)
    program = jax.jit(functools.partial(predict, model, stage=stage))
    batch = abstract_batch(1, config.data.image_size, ("image", "patch_key", "patch_out"))
    calls = custom_calls(program, params, shape, batch, np.int32(7))
    assert "rasterizer_cuda_rasterize" in calls
    assert_of_the_gpu(calls)
