"""The forward pass in use, and pictures of what it finds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.model.pony import Pony
from pony_jax.model.predict import Prediction, predict
from pony_jax.model.rig import pose
from pony_jax.model.shade import Light
from pony_jax.model.view import render_view
from pony_jax.ops.rotations import look_at_rotation


@pytest.fixture(scope="module")
def prediction(model, params, batch, stage) -> tuple[Prediction, dict]:
    """A refined prediction, and its parameters, which are no longer those of the start."""
    keys = iter(jax.random.split(jax.random.key(3), 1000))
    params = jax.tree.map(lambda x: x + 0.02 * jax.random.normal(next(keys), x.shape), params)

    @jax.jit
    def run(params):
        shape = model.apply({"params": params}, stage, method=Pony.shape)
        return predict(model, params, shape, batch, 7, stage)

    return run(params), params


@pytest.mark.slow
def test_a_prediction_is_all_that_a_file_needs(prediction, model, stage):
    found, _ = prediction
    assert stage.capacities.covers(found.counts)
    # The rig, posed by the angles, is the posed animal.
    run = functools.partial(pose, skeleton=model.instance.skeleton, attach_legs=True)
    posed = jax.jit(run)(found.rig, found.angles_rad)
    np.testing.assert_allclose(posed.verts, found.posed_verts, atol=1e-5)  # a few roundings
    np.testing.assert_allclose(posed.bones, found.posed_bones, atol=1e-5)
    assert np.abs(found.angles_rad).max() > 0
    # The chosen hypothesis is the most probable one, and its rotation the camera's.
    np.testing.assert_allclose(found.probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    best = found.hypothesis_rotations[np.arange(2), np.argmax(found.probabilities, axis=-1)]
    np.testing.assert_array_equal(best, found.rotation)
    for name, values in found._asdict().items():
        for leaf in jax.tree.leaves(values):
            assert np.all(np.isfinite(leaf)), name


@pytest.mark.slow
def test_the_same_camera_shows_the_same_picture_and_others_other_sides(prediction, model):
    found, params = prediction
    render = jax.jit(functools.partial(render_view, model), static_argnames="image_size")
    args = params, found.posed_verts, found.rig.prior
    view = render(*args, found.camera, found.appearance, found.light)
    for name, picture in view._asdict().items():
        # The same numbers from buffers of another size.
        np.testing.assert_allclose(picture, getattr(found, name), atol=1e-5, err_msg=name)

    # From the other side, in the same light of the world, at another size.
    forward = -found.rotation[:, 2] * jnp.array([1.0, 0.0, 1.0])
    behind = model.camera.camera(look_at_rotation(forward), jnp.zeros((2, 3)))
    light = found.light.seen_from(found.camera, behind)
    again = light.seen_from(behind, found.camera)
    np.testing.assert_allclose(again.direction_cam, found.light.direction_cam, atol=1e-6)
    other = render(*args, behind, found.appearance, light, image_size=48)
    assert other.image.shape == (2, 48, 48, 3)
    assert 0.02 < float(other.mask.mean()) < 0.95
    dark = render(*args, behind, found.appearance, Light(light[0], 0 * light[1], 0 * light[2]))
    np.testing.assert_array_equal(dark.shading, 0.0)


@pytest.mark.slow
def test_albedo_of_one_animal_is_what_its_pictures_show(prediction, model):
    found, params = prediction

    @jax.jit
    def colours(params):
        visible = model.rendering.find_surface(found.posed_verts, found.rig.prior, found.camera)
        bound = model.bind({"params": params})
        shown = bound.shade(visible.surface, found.appearance).albedo
        points = visible.surface.point_rest
        return visible.surface, shown, [bound.albedo(points, each) for each in found.appearance]

    surface, shown, of_each = colours(params)
    count = int(surface.pixel_count)
    of_image = np.stack(of_each)[surface.image, np.arange(len(surface.image))]
    np.testing.assert_allclose(of_image[:count], shown[:count], atol=1e-6)
    assert np.abs(of_each[0] - of_each[1]).max() > 1e-4


@pytest.mark.slow
def test_without_refinement_the_networks_answer_stands(model, params, batch, estimate, stage):
    plain = model.clone(refinement=dataclasses.replace(model.refinement, steps=0))

    @jax.jit
    def run(params):
        shape = plain.apply({"params": params}, stage, method=Pony.shape)
        return predict(plain, params, shape, batch, 7, stage)

    found = run(params)
    # Untrained networks say: at rest.
    np.testing.assert_array_equal(found.angles_rad, 0.0)
    np.testing.assert_array_equal(found.appearance, estimate.appearance)
