"""Giraffes, from a finished horse: the original's fine-tuning.

Hardware: one GPU. Wall time and score: not run.
Command: `python -m pony_jax.train --config=configs/giraffe.py --workdir=runs/giraffe
--config.start.from_run=DIR`, where DIR is the folder of a run of `configs/horse.py:paper`, or of
the original's horse as `pony_jax.interop.convert` writes it.
"""

from ml_collections import ConfigDict

from configs import base, horse


def get_config(variant: str = "paper") -> ConfigDict:
    """The configuration of a variant, locked. Raises `ValueError` for an unknown variant."""
    variants = {"paper": _paper, "unified": _unified}
    return base.apply_variant(base.get_config(), variants, variant)


def _paper(config: ConfigDict) -> None:
    horse.fine_tune(config)
    config.data.name = "giraffe_coco"


def _unified(config: ConfigDict) -> None:
    """3DAnimals@5d4aa39, config/finetune_magicpony_giraffe.yaml."""
    horse.fine_tune_unified(config)
    config.data.name = "giraffe_coco"
