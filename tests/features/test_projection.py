"""PCA of tokens, and features brought from tokens to pixels."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn comes with the extra 'extract'")

from sklearn.decomposition import PCA

from pony_jax.features import projection
from pony_jax.features.token_statistics import TokenStatistics


def _tokens(num_tokens=400, num_channels=20, seed=0):
    rng = np.random.default_rng(seed)
    spread = np.geomspace(5, 0.1, num_channels)
    return rng.normal(size=(num_tokens, num_channels)) * spread + 3


def _statistics(tokens, max_bytes=2**20, part=37):
    statistics = TokenStatistics(max_bytes)
    for start in range(0, len(tokens), part):
        statistics.add(tokens[start : start + part])
    return statistics


@pytest.mark.parametrize(("max_bytes", "part"), [(2**30, 400), (30_000, 37), (1, 1), (30_000, 399)])
def test_components_in_parts_are_those_of_all_tokens_at_once(max_bytes, part):
    tokens = _tokens()
    ours = _statistics(tokens, max_bytes, part).leading_components(6)
    whole = PCA(6, svd_solver="full").fit(tokens)
    # Rounding of float64 through at most twenty decompositions.
    np.testing.assert_allclose(ours.mean, whole.mean_, rtol=1e-10)
    np.testing.assert_allclose(ours.basis, whole.components_.T, atol=1e-8)
    np.testing.assert_allclose(ours.variance, whole.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(ours.variance_share, whole.explained_variance_ratio_, rtol=1e-10)


def test_fewer_tokens_than_channels_have_components_too():
    tokens = _tokens(num_tokens=9)
    ours = _statistics(tokens, part=4).leading_components(5)
    whole = PCA(5, svd_solver="full").fit(tokens)
    np.testing.assert_allclose(ours.basis, whole.components_.T, atol=1e-8)


def test_the_sample_is_evenly_spread_and_memory_is_bounded():
    tokens = _tokens(num_tokens=1000)
    statistics = TokenStatistics(60_000)
    for start in range(0, 1000, 13):
        statistics.add(tokens[start : start + 13])
        held = [*statistics._sample, *statistics._waiting]
        assert sum(part.nbytes for part in held) <= 60_000
    np.testing.assert_array_equal(statistics.sample(), tokens[::8])  # 20 kB are 125 of 160 bytes
    np.testing.assert_allclose(statistics.mean_square, np.mean(tokens**2))


def test_tokens_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="expected finite features"):
        TokenStatistics(1000).add(np.full((2, 3), np.nan))


def test_stored_arrays_are_the_projection_again():
    fitted = projection.fit_tokens(_statistics(_tokens()), 6).projection
    arrays = fitted.arrays("patch_key")
    again = projection.Projection.from_arrays(arrays, "patch_key")
    np.testing.assert_array_equal(again(_tokens(seed=1)), fitted(_tokens(seed=1)))
    for change, message in [
        ({"patch_key/mean": arrays["patch_key/mean"][:-1]}, r"mean of float32 and shape \(19"),
        ({"patch_key/basis": None}, "a projection 'patch_key', found no basis"),
        (
            {"patch_key/scale": np.full(6, np.nan, np.float32)},
            "expected finite numbers in patch_key/scale",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            projection.Projection.from_arrays(arrays | change, "patch_key")


def test_features_lie_in_the_unit_range():
    tokens = _tokens()
    features = projection.fit_features(_statistics(tokens), 4).projection(tokens)
    inside = ((features >= 0) & (features <= 1)).mean(axis=0)
    np.testing.assert_allclose(inside, 0.98, atol=0.01)


def test_token_channels_are_uncorrelated_and_of_unit_variance_on_average():
    tokens = _tokens()
    reduced = projection.fit_tokens(_statistics(tokens), 6).projection(tokens)
    covariance = np.cov(reduced.T)
    np.testing.assert_allclose(np.trace(covariance) / 6, 1, rtol=1e-4)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)


def test_all_components_keep_distances_up_to_one_scale():
    tokens = _tokens(num_tokens=50)
    reduced = projection.fit_tokens(_statistics(tokens), 20).projection(tokens)
    ratio = np.linalg.norm(reduced[1:] - reduced[0], axis=1) / np.linalg.norm(
        tokens[1:] - tokens[0], axis=1
    )
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_too_few_tokens_are_refused():
    with pytest.raises(ValueError, match=r"expected at least 16 tokens .* got 7 of 20"):
        projection.fit_features(_statistics(_tokens(num_tokens=7)), 16)


def test_upsampling_ignores_background_tokens():
    grid = np.full((4, 4, 2), 9.0)
    coverage = np.zeros((4, 4), np.float32)
    grid[1:3, 1:3], coverage[1:3, 1:3] = 0.5, 1
    is_animal = np.zeros((16, 16), bool)
    is_animal[4:12, 4:12] = True
    pixels = projection.upsample_foreground(grid, coverage, is_animal)
    np.testing.assert_allclose(pixels[is_animal], 0.5, atol=0.01)  # the floor of the weights
    assert (pixels[~is_animal] == 0).all()
