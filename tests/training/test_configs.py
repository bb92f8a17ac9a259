"""Configurations: variants, locks, and the numbers that must not drift."""

import pytest

from configs import base, horse
from pony_jax.model import build_model


@pytest.mark.parametrize("variant", ["", "photos", "paper", "test"])
def test_every_variant_is_locked_and_builds_a_model(variant: str) -> None:
    config = horse.get_config(variant)
    assert config.is_locked
    build_model(config, (16, 32))


def test_no_variant_adds_a_key() -> None:
    def keys(config: object) -> set[str]:
        return set(config.to_dict(preserve_field_references=False).keys())

    for variant in ("", "photos", "paper", "test"):
        assert keys(horse.get_config(variant)) == keys(base.get_config())


def test_refinement_without_silhouettes_is_refused() -> None:
    config = horse.get_config("test")
    config.model.silhouette_hidden = 0
    with pytest.raises(ValueError, match=r"refine_steps: expected 0 .* got 50; .*_hidden"):
        build_model(config, (8, 8))


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
