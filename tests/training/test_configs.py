"""Configurations: variants, locks, and the numbers that must not drift."""

import pytest

from configs import bird, horse
from pony_jax.model import build_model, build_objective


@pytest.mark.parametrize("variant", ["", "photos", "photos_all_sides", "paper", "unified", "test"])
def test_every_variant_is_locked_and_builds_a_model(variant: str) -> None:
    config = horse.get_config(variant)
    assert config.is_locked
    build_model(config, (16, 32))


def test_refinement_without_silhouettes_is_refused() -> None:
    config = horse.get_config("test")
    config.model.silhouette_hidden = 0
    with pytest.raises(ValueError, match=r"refine_steps: expected 0 .* got 20; .*_hidden"):
        build_model(config, (8, 8))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sdf_start", "cube", r"model.sdf_start: expected one of .*'constant'\), got 'cube'"),
        ("background", "input", r"background: expected one of .*'white'.*, got 'input'"),
        ("viewpoint_tokens", "cls", r"viewpoint_tokens: expected one of .* got 'cls'"),
        ("hypothesis_side", "relu", r"hypothesis_side: expected one of .* got 'relu'"),
        ("articulation_kind", "cnn", r"articulation_kind: expected one of .* got 'cnn'"),
        ("articulation_features", "all", r"articulation_features: expected one of .* got 'all'"),
        ("articulation_kind", "mlp", r"own_layers: expected False for articulation_kind 'mlp'"),
    ],
)
def test_choices_that_are_not_built_are_refused(key: str, value: str, message: str) -> None:
    config = horse.get_config("test")
    config.model[key] = value
    with pytest.raises(ValueError, match=message):
        build_model(config, (8, 8))


@pytest.mark.parametrize("start", ["ellipsoid", "sphere", "constant"])
def test_every_start_has_a_size(start: str) -> None:
    config = horse.get_config("test")
    config.model.sdf_start = start
    model = build_model(config, (8, 8))
    wanted = {
        "ellipsoid": (0.4 * 1.05, 1.05, 1.8 * 1.05),
        "sphere": (1.75, 1.75, 1.75),
        "constant": (0.95, 2.2, 2.4),
    }
    assert model.prior.start_half_axes == pytest.approx(wanted[start])
    assert all(count > 0 for count in model.expected_counts(0))


def test_a_gap_between_no_legs_is_refused() -> None:
    config = bird.get_config()
    config.loss.leg_gap = 1.0
    with pytest.raises(ValueError, match=r"leg_gap: expected 0 for an animal without legs, got 1"):
        build_model(config, (8, 8))


def test_flow_between_single_images_is_refused() -> None:
    config = horse.get_config("test")
    config.loss.flow = 1.0
    with pytest.raises(ValueError, match=r"flow: expected 0 for single images, got 1.0; .*_frames"):
        build_model(config, (8, 8))
    config.data.clip_frames = 2
    build_model(config, (8, 8))
    assert build_objective(config).clip_frames == 2


def test_the_paper_variant_keeps_the_original_numbers() -> None:
    config = horse.get_config("paper")
    assert config.optimizer.prior_learning_rate == 1e-3
    assert config.optimizer.instance_learning_rate == 1e-4
    assert (config.model.coarse_resolution, config.model.fine_resolution) == (128, 256)
    assert (config.loss.mask, config.loss.mask_inverse_distance) == (10.0, 100.0)
    assert config.data.image_size == 256


def test_a_misspelt_variant_names_the_near_one() -> None:
    with pytest.raises(ValueError, match=r"variant: expected one of .*; did you mean 'photos'"):
        horse.get_config("phots")


def test_a_misspelt_key_names_the_near_one() -> None:
    config = horse.get_config()
    with pytest.raises(AttributeError, match='Did you mean "hidden"'):
        config.model.hiden = 3
