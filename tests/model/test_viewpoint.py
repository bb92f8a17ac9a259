"""Viewpoints: cameras of every kind, what they are read from, and their probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import horse
from pony_jax.model import Pony, build_model
from pony_jax.model.viewpoint import Viewpoints, choose, probabilities_at


def fresh_head(model: Pony, tokens: np.ndarray, offset: float = 0.0) -> dict:
    """Parameters of the viewpoint head, those of one layer moved by `offset`."""
    init = jax.jit(lambda key: model.instance.init(key, tokens, method="viewpoint"))
    params = init(jax.random.key(0))["params"]
    params["viewpoint_head"]["conv_1"]["kernel"] += offset
    return {"instance": params}


def viewpoints_of(model: Pony, params: dict, batch: dict) -> Viewpoints:
    head = model.bind({"params": params}).instance.viewpoint
    return model.camera.read(head, batch, read_elevation=True)


@pytest.mark.parametrize("kind", ["octlookat", "lookat", "quaternion", "euler_angle"])
def test_every_kind_of_viewpoint_gives_cameras(kind, batch):
    config = horse.get_config("test")
    config.model.hypotheses = kind
    config.model.level_horizon = False
    config.model.max_turn_deg = (10.0, 0.0, 0.0)
    model = build_model(config, (8, 6))
    viewpoints = viewpoints_of(model, fresh_head(model, batch["patch_key"]), batch)
    camera = model.camera.camera_of(viewpoints, jnp.zeros(2, jnp.int32))
    rotation = camera.cam_from_world[:, :3, :3]
    np.testing.assert_allclose(jnp.linalg.det(rotation), 1.0, atol=1e-5)
    np.testing.assert_array_equal(viewpoints.rotations[:, 0], jnp.swapaxes(rotation, 1, 2))
    if kind == "euler_angle":  # only about x
        np.testing.assert_allclose(rotation[:, 0], [[1.0, 0.0, 0.0]] * 2, atol=1e-6)
        assert jnp.all(rotation[:, 2, 2] >= np.cos(np.deg2rad(10.1)))


@pytest.mark.parametrize("tokens", ["patch_key", "patch_out"])
def test_viewpoints_are_read_from_the_tokens_that_the_setting_names(tokens, batch):
    config = horse.get_config("test")
    config.model.viewpoint_tokens = tokens
    model = build_model(config, (8, 6))
    params = fresh_head(model, batch[tokens], 0.1)
    seen = viewpoints_of(model, params, batch).scores
    for name in ("patch_key", "patch_out"):
        other = viewpoints_of(model, params, batch | {name: -batch[name]}).scores
        assert np.array_equal(seen, other) == (name != tokens)


@pytest.mark.parametrize("elevation_deg", [(0.0, 0.0), (-10.0, 30.0)])
def test_a_mirror_image_has_the_mirrored_viewpoint(elevation_deg, batch):
    config = horse.get_config("test")
    config.model.elevation_deg = elevation_deg
    model = build_model(config, (8, 6))
    params = fresh_head(model, batch["patch_key"], 0.1)
    plain = viewpoints_of(model, params, batch)
    mirror = viewpoints_of(model, params, {"patch_key": batch["patch_key"][:, :, ::-1]})
    flip = jnp.array([-1.0, 1.0, 1.0])
    partner = jnp.array([1, 0, 3, 2])
    # The mean of the same two numbers, in another order.
    np.testing.assert_allclose(mirror.scores, plain.scores[:, partner], rtol=1e-6)
    # Mirrored in the camera's x; the animal's own left changes its sign with it.
    expected = plain.rotations[:, partner] * flip * flip[:, None]
    np.testing.assert_allclose(mirror.rotations, expected, atol=1e-6)
    np.testing.assert_allclose(mirror.translation_cam, plain.translation_cam * flip, atol=1e-6)
    assert not np.allclose(plain.scores, plain.scores[:, partner], atol=1e-3)


def test_no_hypothesis_is_ever_without_weight(model):
    config = horse.get_config("test")
    share = config.schedule.uniform_share
    sure = jnp.array([[0.0, 9.0, 9.0, 9.0]])

    def probabilities(step):
        return np.asarray(probabilities_at(sure, model.schedule, step))[0]

    assert 0 < share < 1
    np.testing.assert_allclose(probabilities(0), 0.25)
    late = probabilities(config.num_steps)
    np.testing.assert_allclose(late[1:], share / 4, rtol=1e-6)
    np.testing.assert_allclose(late[0], 1 - 3 * share / 4, rtol=1e-6)


def test_without_a_key_the_best_hypothesis_is_chosen(model):
    probabilities = jnp.tile(jnp.array([[0.1, 0.2, 0.6, 0.1]]), (8, 1))
    np.testing.assert_array_equal(choose(probabilities, model.schedule, 0, None), 2)
    # Before `best_from` training spreads a batch over the hypotheses, whatever they are worth.
    drawn = choose(probabilities, model.schedule, -1, jax.random.key(0))
    np.testing.assert_array_equal(np.bincount(drawn, minlength=4), 2)


def test_elevation_is_read_off_each_image_within_its_range(batch):
    config = horse.get_config("test")
    config.model.elevation_deg = (-10.0, 30.0)
    model = build_model(config, (8, 6))
    assert model.camera.num_outputs == 20

    def elevation_deg(raw, read_elevation):
        """Of every hypothesis, as its rotation says it, for heads that say `raw`."""

        def head(tokens):
            return jnp.zeros((len(tokens), 20)).at[:, -1].set(raw)

        rotations = model.camera.read(head, batch, read_elevation=read_elevation).rotations
        return np.rad2deg(np.arcsin(rotations[:, :, 1, 2]))

    for raw, expected in ((0.0, 10.0), (-20.0, -10.0), (20.0, 30.0)):
        np.testing.assert_allclose(elevation_deg(raw, True), expected, atol=1e-3)
        np.testing.assert_allclose(elevation_deg(raw, False), 10.0, atol=1e-3)


def test_an_elevation_that_is_known_is_not_read(batch):
    config = horse.get_config("test")
    config.model.elevation_deg = (15.0, 15.0)
    model = build_model(config, (8, 6))
    assert model.camera.num_outputs == 19
    params = fresh_head(model, batch["patch_key"])
    rotations = viewpoints_of(model, params, batch).rotations
    np.testing.assert_allclose(rotations[:, :, 1, 2], np.sin(np.deg2rad(15.0)), atol=1e-6)
