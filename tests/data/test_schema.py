"""The declared form of an example."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pony_jax.data import schema


def test_features_have_the_documented_shapes():
    features = schema.example_features(
        image_size=16,
        feature_size=8,
        token_grid=4,
        token_dim=3,
        truth={"camera": tfds.features.Tensor(shape=(4, 4), dtype=np.float32)},
    )
    assert features["image"].shape == (16, 16, 3)
    assert features["box"].shape == (len(schema.BOX_FIELDS),)
    assert features["feature"].shape == features["flip"]["feature"].shape == (8, 8, 16)
    assert features["patch_key"].shape == features["flip"]["patch_out"].shape == (4, 4, 3)
    assert features["truth"]["camera"].shape == (4, 4)
    assert set(schema.FEATURE_KEYS) == set(features["flip"])


def test_frames_of_sequences_carry_flow_at_the_size_of_the_image():
    sizes = {"image_size": 16, "feature_size": 8, "token_grid": 4, "token_dim": 3}
    assert "sequence" not in schema.example_features(**sizes)
    sequence = schema.example_features(**sizes, has_sequences=True)["sequence"]
    assert set(sequence) == {"name", "frame", "flow", "flow_valid"}
    assert (sequence["flow"].shape, sequence["flow_valid"].shape) == ((16, 16, 2), (16, 16, 1))


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="expected token_dim of at least 1, got 0"):
        schema.example_features(image_size=1, feature_size=1, token_grid=1, token_dim=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(schema.encode_png(pixels))))
    np.testing.assert_array_equal(decoded.reshape(pixels.shape), pixels)


def test_encoding_refuses_other_arrays():
    with pytest.raises(ValueError, match=r"expected uint8 pixels .* got float64 of shape \[5, 7\]"):
        schema.encode_jpeg(np.zeros((5, 7)))
