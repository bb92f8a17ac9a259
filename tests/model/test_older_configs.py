"""Configurations of runs that were trained before a key existed."""

from ml_collections import ConfigDict

from configs import horse
from pony_jax.model import build_model
from pony_jax.model.older_configs import complete_config

_NEW = ("refine_mask", "refine_mask_pyramid", "refine_articulation", "batch_statistics")


def test_a_missing_key_means_what_the_earlier_version_did() -> None:
    older = horse.get_config("test")
    older.unlock()
    older.loss.update({"mask": 3.0, "mask_pyramid": 0.5, "articulation": 0.25})
    for key in _NEW:
        del older.model[key]
    before = older.to_json()
    model = build_model(complete_config(older.lock()), (8, 6))
    refinement = model.refinement
    weights = refinement.mask, refinement.mask_pyramid, refinement.articulation
    assert weights == (3.0, 0.5, 0.25)
    assert model.rigging.batch_statistics
    assert older.to_json() == before


def test_a_whole_configuration_stays_as_it_is() -> None:
    config = horse.get_config("photos")
    assert complete_config(config).to_json() == config.to_json()


def test_what_cannot_be_told_stays_missing() -> None:
    assert "model" not in complete_config(ConfigDict({"seed": 0}))
    assert "refine_mask" not in complete_config(ConfigDict({"model": {}})).model
