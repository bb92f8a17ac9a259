"""PCA of tokens, and features brought from tokens to pixels."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn comes with the extra 'extract'")

from pony_jax.features import projection


def _tokens(num_tokens=400, num_channels=20, seed=0):
    rng = np.random.default_rng(seed)
    spread = np.geomspace(5, 0.1, num_channels)
    return rng.normal(size=(num_tokens, num_channels)) * spread + 3


def test_features_lie_in_the_unit_range():
    tokens = _tokens()
    features = projection.fit_features(tokens, 4)(tokens)
    inside = ((features >= 0) & (features <= 1)).mean(axis=0)
    np.testing.assert_allclose(inside, 0.98, atol=0.01)


def test_token_channels_are_uncorrelated_and_of_unit_variance_on_average():
    tokens = _tokens()
    reduced = projection.fit_tokens(tokens, 6)(tokens)
    covariance = np.cov(reduced.T)
    np.testing.assert_allclose(np.trace(covariance) / 6, 1, rtol=1e-4)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)


def test_all_components_keep_distances_up_to_one_scale():
    tokens = _tokens(num_tokens=50)
    reduced = projection.fit_tokens(tokens, 20)(tokens)
    ratio = np.linalg.norm(reduced[1:] - reduced[0], axis=1) / np.linalg.norm(
        tokens[1:] - tokens[0], axis=1
    )
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_too_few_tokens_are_refused():
    with pytest.raises(ValueError, match=r"expected at least 16 tokens .* got 7 of 20"):
        projection.fit_features(_tokens(num_tokens=7), 16)


def test_upsampling_ignores_background_tokens():
    grid = np.full((4, 4, 2), 9.0)
    coverage = np.zeros((4, 4), np.float32)
    grid[1:3, 1:3], coverage[1:3, 1:3] = 0.5, 1
    is_animal = np.zeros((16, 16), bool)
    is_animal[4:12, 4:12] = True
    pixels = projection.upsample_foreground(grid, coverage, is_animal)
    np.testing.assert_allclose(pixels[is_animal], 0.5, atol=0.01)  # the floor of the weights
    assert (pixels[~is_animal] == 0).all()
