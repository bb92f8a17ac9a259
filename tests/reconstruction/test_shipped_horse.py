"""The model that ships with the project, on the example picture."""

from pathlib import Path

import numpy as np
import pytest

import pony_jax
from pony_jax.reconstruction.motion import walk
from tests.reconstruction.colour_error import colour_error

EXAMPLE = Path(__file__).parents[2] / "examples" / "horse.png"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return pony_jax.load("horse")


@pytest.fixture(scope="module")
def animal(model):
    return model.reconstruct(EXAMPLE, refine=False)


def test_its_head_is_in_front(animal):
    skeleton, verts = animal.skeleton, animal.rest_mesh.verts
    highest = verts[np.argmax(verts[:, 1])]
    head = skeleton.bones_rest[skeleton.index("head"), 1]
    tail = skeleton.bones_rest[skeleton.index("tail_2"), 1]
    assert highest[2] > 0 and head[2] > 0 > tail[2] and head[1] > tail[1]
    for leg in ("front_left", "front_right", "rear_left", "rear_right"):
        foot = skeleton.bones_rest[skeleton.index(f"{leg}_foot"), 1]
        assert (foot[2] > 0) == leg.startswith("front") and (foot[0] > 0) == leg.endswith("left")
    # It looks to the left of the picture, so the camera sees its own left side.
    assert animal.camera.cam_from_world[0, 2] < 0  # forwards is leftwards
    camera_in_world = -animal.camera.cam_from_world[:3, :3].T @ animal.camera.cam_from_world[:3, 3]
    assert camera_in_world[0] > 0
    assert walk(animal).root_translation[-1, 2] > 0


def test_a_tuned_texture_brings_decibels(model, animal):
    tuned = model.reconstruct(EXAMPLE, refine=False, finetune_texture=True)
    before, after = (colour_error(each, 0.2) for each in (animal, tuned))  # a black horse
    assert 20 * np.log10(before / after) > 3  # 7.8 dB were measured
