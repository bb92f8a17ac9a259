"""The predictor: every image on its own, in buffers that hold everything."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import horse
from pony_jax.evaluation.predictor import Predictor
from pony_jax.model import NO_CAPACITIES, Pony, build_model

NUM_UPDATES = 8  # at the end of the `test` configuration everything moves, deformation too


@pytest.fixture(scope="module")
def model() -> Pony:
    return build_model(horse.get_config("test"), (8, 6))


@pytest.fixture(scope="module")
def params(model) -> dict:
    """Parameters of noise, so that every image has a shape and a pose of its own."""
    rng = np.random.default_rng(3)

    def noise(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = max(np.prod(leaf.shape[:-1]), 4)
        return rng.normal(scale=0.7 / np.sqrt(fan_in), size=leaf.shape).astype(np.float32)

    return jax.tree.map(noise, jax.eval_shape(model.init_params, jax.random.key(0)))


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = 2 * rng.normal(size=(2, 3, 8, 8, 6)).astype(np.float32)
    image = rng.uniform(size=(3, 32, 32, 3)).astype(np.float32)
    return {"image": image, "patch_key": tokens[0], "patch_out": tokens[1]}


@pytest.fixture(scope="module")
def predictor(model) -> Predictor:
    return Predictor(model, NO_CAPACITIES)


def rows(batch: dict, index: list[int]) -> dict:
    return {name: values[index] for name, values in batch.items()}


@pytest.mark.slow
def test_an_image_does_not_depend_on_its_batch(predictor, model, params, batch):
    whole = predictor.predict(params, batch, NUM_UPDATES)
    stage = predictor.stage(NUM_UPDATES)
    assert stage.deformation and stage.articulation and model.refinement.steps > 0
    # The animals have shapes and poses of their own, or nothing would be shown here.
    assert np.abs(whole.rig.deformation[0] - whole.rig.deformation[1]).max() > 1e-3
    assert np.abs(whole.angles_rad[0] - whole.angles_rad[1]).max() > 1e-3
    assert whole.rig.verts_rest.shape[0] == whole.rig.weights.shape[0] == len(batch["image"])
    others = {
        "alone": [1],
        "among others": [2, 1, 0, 1],
    }
    for where, index in others.items():
        found = predictor.predict(params, rows(batch, index), NUM_UPDATES)
        row = index.index(1)
        assert found.image.shape[0] == len(index)
        for name in set(whole._fields) - {"counts", "rig"}:
            for one, two in zip(
                jax.tree.leaves(getattr(whole, name)),
                jax.tree.leaves(getattr(found, name)),
                strict=True,
            ):
                np.testing.assert_array_equal(one[1], two[row], err_msg=f"{name} {where}")
        for name in set(whole.rig._fields) - {"prior"}:
            one, two = getattr(whole.rig, name), getattr(found.rig, name)
            np.testing.assert_array_equal(one[1], two[row], err_msg=f"{name} {where}")
        jax.tree.map(np.testing.assert_array_equal, whole.rig.prior, found.rig.prior)


@pytest.mark.slow
def test_an_animal_that_fills_its_picture_is_drawn_whole(model, params, batch):
    near = model.clone(
        camera=dataclasses.replace(model.camera, distance=4.5, max_shift_z=0.1),
        refinement=dataclasses.replace(model.refinement, steps=0),
    )
    found = Predictor(near, NO_CAPACITIES).predict(params, rows(batch, [0]), NUM_UPDATES)
    assert found.counts.pixels > 32 * 32 / 2  # more than the room that there is at first
    # What is covered has a colour: nothing was left out for want of room.
    albedo = np.abs(found.albedo).sum(axis=-1)
    assert np.mean(albedo[found.mask[..., 0] > 0.99] > 0) == 1


def test_the_prior_needs_no_prediction_before_it(predictor, model, params):
    views = Predictor(model, NO_CAPACITIES).render_prior(params, NUM_UPDATES, image_size=24)
    assert set(views) == {"+z", "-x", "-z", "+x"}
    # Buffers that were too small before they grew, and buffers that were large: the same shape.
    tight = Predictor(model, NO_CAPACITIES._replace(verts=4096, faces=8192, blocks=4, points=4))
    for side, view in tight.render_prior(params, NUM_UPDATES, image_size=24).items():
        assert view.shape == (24, 24, 3)
        assert 0.02 < np.mean(view > 0) < 0.98
        np.testing.assert_allclose(view, views[side], atol=1e-5)  # sums in another order


def test_a_batch_without_images_is_refused(predictor, params, batch):
    with pytest.raises(ValueError, match="batch: expected one image or more, got none"):
        predictor.predict(params, rows(batch, []), NUM_UPDATES)
