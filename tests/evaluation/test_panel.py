"""The panel: what it shows, and what it hides."""

import numpy as np
import pytest
from PIL import Image

from configs import horse
from pony_jax.evaluation.panel import compose_panel
from pony_jax.evaluation.turntable import PRIOR_AZIMUTHS_DEG, turntable_cameras
from pony_jax.model import Prediction, build_model


def _panel(*, hide_photographs: bool, photograph: float = 0.9) -> Image.Image:
    b, s = 3, 16
    mask = np.zeros((b, s, s, 1), np.float32)
    mask[:, 4:12, 4:12] = 1
    batch = {
        "image": np.full((b, s, s, 3), photograph, np.float32),
        "mask": mask,
        "feature": np.full((b, s, s, 16), 0.5, np.float32),
    }
    grey = np.full((b, s, s, 1), 0.5, np.float32)
    colour = np.full((b, s, s, 3), 1.7, np.float32)  # brighter than white is cut
    bones_px = np.full((b, 20, 2, 2), 8.0, np.float32)
    bones_px[0, 3] = np.nan  # a bone behind the camera
    unused = dict.fromkeys(Prediction._fields)
    prediction = Prediction(**unused)._replace(
        image=colour,
        mask=mask,
        feature=batch["feature"],
        normal=colour,
        albedo=colour,
        shading=grey,
        bones_px=bones_px,
    )
    views = {"+z": grey[0].repeat(3, -1), "-z": grey[0].repeat(3, -1)}
    return compose_panel(
        batch,
        prediction,
        views,
        num_images=2,
        num_body_bones=8,
        hide_photographs=hide_photographs,
    )


def test_has_a_row_an_image_and_one_for_the_prior() -> None:
    panel = _panel(hide_photographs=False)
    assert panel.size == (10 * 128, 16 + 2 * 128 + 16 + 256)
    assert panel.getpixel((64, 80)) == (230, 230, 230)


def test_hidden_photographs_leave_no_trace() -> None:
    bright = _panel(hide_photographs=True, photograph=0.9)
    dark = _panel(hide_photographs=True, photograph=0.1)
    assert np.array_equal(bright, dark)
    assert not np.array_equal(bright, _panel(hide_photographs=False))


@pytest.mark.parametrize("hide_photographs", [False, True])
def test_is_the_same_every_time(hide_photographs: bool) -> None:
    assert np.array_equal(
        _panel(hide_photographs=hide_photographs), _panel(hide_photographs=hide_photographs)
    )


def test_views_of_the_prior_are_named_by_where_the_camera_stands() -> None:
    model = build_model(horse.get_config("test"), (8, 6))
    cameras = turntable_cameras(model, np.array(list(PRIOR_AZIMUTHS_DEG.values())))
    for side, position in zip(PRIOR_AZIMUTHS_DEG, cameras.position_world, strict=True):
        axis = "xyz".index(side[1])
        assert np.argmax(np.abs(position)) == axis
        assert (position[axis] > 0) == (side[0] == "+")
