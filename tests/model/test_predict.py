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

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def changed(params) -> dict:
    """Parameters that are no longer those of the start, where animals are at rest."""
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: x + 0.02 * rng.normal(size=x.shape).astype(np.float32), params)


@pytest.fixture(scope="module")
def prediction(model, changed, batch, stage) -> Prediction:
    """What the networks say, without refinement."""
    plain = model.clone(refinement=dataclasses.replace(model.refinement, steps=0))

    @jax.jit
    def run(params):
        shape = model.apply({"params": params}, stage, method=Pony.shape)
        return predict(plain, params, shape, batch, 7, stage)

    return run(changed)


def test_a_prediction_is_all_that_a_file_needs(prediction, model, stage):
    assert stage.capacities.covers(prediction.counts)
    # The rig, posed by the angles, is the posed animal.
    run = functools.partial(pose, skeleton=model.instance.skeleton, attach_legs=True)
    posed = jax.jit(run)(prediction.rig, prediction.angles_rad)
    np.testing.assert_allclose(posed.verts, prediction.posed_verts, atol=1e-5)  # a few roundings
    np.testing.assert_allclose(posed.bones, prediction.posed_bones, atol=1e-5)
    assert np.abs(prediction.angles_rad).max() > 0
    # The chosen hypothesis is the most probable one, and its rotation the camera's.
    np.testing.assert_allclose(prediction.probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    best = np.arange(2), np.argmax(prediction.probabilities, axis=-1)
    np.testing.assert_array_equal(prediction.hypothesis_rotations[best], prediction.rotation)
    for name, values in prediction._asdict().items():
        for leaf in jax.tree.leaves(values):
            assert np.all(np.isfinite(leaf)), name


def test_the_same_camera_shows_the_same_picture_and_others_another(prediction, model, changed):
    render = jax.jit(functools.partial(render_view, model))
    args = changed, prediction.posed_verts, prediction.rig.prior
    view = render(*args, prediction.camera, prediction.appearance, prediction.light)
    for name, picture in view._asdict().items():
        # The same numbers, from buffers of another size.
        np.testing.assert_allclose(picture, getattr(prediction, name), atol=1e-5, err_msg=name)

    # From the other side, in the light of the world and in the dark.
    forward = -prediction.rotation[:, 2] * jnp.array([1.0, 0.0, 1.0])
    behind = model.camera.camera(look_at_rotation(forward), jnp.zeros((2, 3)))
    light = prediction.light.seen_from(prediction.camera, behind)
    again = light.seen_from(behind, prediction.camera)
    np.testing.assert_allclose(again.direction_cam, prediction.light.direction_cam, atol=1e-6)
    other = render(*args, behind, prediction.appearance, light)
    assert 0.02 < float(other.mask.mean()) < 0.95
    assert np.abs(other.image - view.image).max() > 0.1
    dark = Light(light.direction_cam, 0 * light.ambient, 0 * light.diffuse)
    np.testing.assert_array_equal(render(*args, behind, prediction.appearance, dark).shading, 0.0)


def test_albedo_of_one_animal_is_what_its_pictures_show(prediction, model, changed):
    @jax.jit
    def colours(params):
        visible = model.rendering.find_surface(
            prediction.posed_verts, prediction.rig.prior, prediction.camera
        )
        bound = model.bind({"params": params})
        shown = bound.shade(visible.surface, prediction.appearance).albedo
        points = visible.surface.point_rest
        of_each = [bound.albedo(points, each) for each in prediction.appearance]
        return visible.surface, shown, of_each

    surface, shown, of_each = colours(changed)
    count = int(surface.pixel_count)
    of_image = np.stack(of_each)[surface.image, np.arange(len(surface.image))]
    np.testing.assert_allclose(of_image[:count], shown[:count], atol=1e-6)
    assert np.abs(of_each[0] - of_each[1]).max() > 1e-4
