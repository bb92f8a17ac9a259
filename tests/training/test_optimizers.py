"""Groups of parameters and their Adams."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pony_jax.model import Capacities
from pony_jax.training.optimizers import (
    gradient_norms,
    init_optimizer,
    parameter_groups,
    split_by_group,
    update_params,
)
from tests.training.tiny_model import TinyModel

_GROUPS = parameter_groups(prior_learning_rate=1e-3, instance_learning_rate=1e-4)
_CAPACITIES = Capacities(4, 8, 16, 4, 4)


def test_first_step_moves_each_parameter_by_its_learning_rate() -> None:
    model = TinyModel()
    params = model.init_params(jax.random.key(0))
    stage = model.stage_at(99, _CAPACITIES)
    grads = jax.tree.map(jnp.ones_like, params)
    moved, _ = update_params(params, grads, init_optimizer(params, _GROUPS), _GROUPS, stage, 0)
    change = jax.tree.map(lambda new, old: float((old - new)[0]), moved, params)
    assert change["prior"]["sdf"]["kernel"] == pytest.approx(1e-3, rel=1e-3)
    for name, leaves in change["instance"].items():
        assert leaves["kernel"] == pytest.approx(1e-4, rel=1e-2), name


def test_matches_a_plain_adam_over_several_steps() -> None:
    model = TinyModel()
    params = model.init_params(jax.random.key(0))
    stage = model.stage_at(99, _CAPACITIES)
    moments = init_optimizer(params, _GROUPS)
    adam = optax.adam(1e-3, b1=0.9, b2=0.999, eps=1e-8)
    expected, plain = params["prior"], adam.init(params["prior"])
    for i in range(4):
        grads = jax.tree.map(lambda leaf, i=i: jnp.cos(leaf + i), params)
        updates, plain = adam.update(grads["prior"], plain)
        expected = optax.apply_updates(expected, updates)
        params, moments = update_params(params, grads, moments, _GROUPS, stage, 0)
        # Our kernel fuses products with sums.
        jax.tree.map(
            lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=1e-6),
            params["prior"],
            expected,
        )


def test_a_group_whose_stage_is_off_keeps_values_moments_and_count() -> None:
    model = TinyModel()
    params = model.init_params(jax.random.key(0))
    moments = init_optimizer(params, _GROUPS)
    grads = jax.tree.map(jnp.ones_like, params)
    rigid = model.stage_at(0, _CAPACITIES)
    moved, moved_moments = update_params(params, grads, moments, _GROUPS, rigid, 0)
    for name in ("shape_feature", "articulation", "deformation"):
        jax.tree.map(np.testing.assert_array_equal, moved_moments[name], moments[name])
    for name in ("key_encoder", "articulation_network", "deformation_field"):
        assert moved["instance"][name]["kernel"] == params["instance"][name]["kernel"]
    assert int(moved_moments["prior"].count) == 1


def test_a_parameter_without_a_group_is_refused() -> None:
    params = TinyModel().init_params(jax.random.key(0))
    params["instance"]["crystal_ball"] = {"kernel": jnp.zeros(1)}
    with pytest.raises(ValueError, match=r"instance/crystal_ball/kernel: expected exactly one"):
        split_by_group(params, _GROUPS)


def test_parameters_stay_what_they_were_when_split() -> None:
    params = TinyModel().init_params(jax.random.key(0))
    members = split_by_group(params, _GROUPS)
    assert sum(len(group) for group in members.values()) == len(jax.tree.leaves(params))


def test_learning_rates_fall_along_a_cosine_at_the_end() -> None:
    groups = parameter_groups(1e-3, 1e-4, decay_from=0.5, final_learning_rate=0.1, num_steps=100)
    rates = [float(groups["prior"].learning_rate(step)) for step in (0, 49, 50, 75, 100)]
    # Half way down the cosine lies the mean of 1 and 0.1; float32 rounding.
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-3, 0.55e-3, 0.1e-3], rtol=1e-5)
    assert float(groups["deformation"].learning_rate(100)) == pytest.approx(1e-5)


@pytest.mark.parametrize(("largest", "share"), [(0.0, 1.0), (2.0, 0.4), (7.0, 1.0)])
def test_a_long_gradient_is_scaled_down_to_the_largest_norm(largest: float, share: float) -> None:
    params = {"prior": {"sdf": {"a": jnp.zeros(1), "b": jnp.zeros(1)}}}
    grads = {"prior": {"sdf": {"a": jnp.array([3.0]), "b": jnp.array([4.0])}}}
    group = parameter_groups(1e-3, 1e-4, max_gradient_norm=largest)["prior"]
    moments = init_optimizer(params, {"prior": group})
    stage = TinyModel().stage_at(99, _CAPACITIES)
    _, moments = update_params(params, grads, moments, {"prior": group}, stage, 0)
    # Adam's first moment after one step is a tenth of the gradient; float32 rounding.
    np.testing.assert_allclose(moments["prior"].mu, [0.3 * share, 0.4 * share], rtol=1e-6)


def test_norms_are_those_of_all_gradients_of_the_prior_and_of_the_instance() -> None:
    params = TinyModel().init_params(jax.random.key(0))
    grads = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(1.0, 1 + leaf.size)), params)
    norms = gradient_norms(grads, _GROUPS)
    assert norms.keys() == {"gradient_norm_prior", "gradient_norm_instance"}
    for name in ("prior", "instance"):
        # Groups first and then all of them: one more rounding.
        expected = optax.tree.norm(grads[name])
        np.testing.assert_allclose(norms[f"gradient_norm_{name}"], expected, rtol=1e-6)
