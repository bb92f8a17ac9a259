"""Birds: a spine without legs, whose middle stays still.

Hardware: one GPU. Wall time and score: not run.
Command: `python -m pony_jax.train --config=configs/bird.py --workdir=runs/bird`
"""

from ml_collections import ConfigDict

from configs import base, horse


def get_config(variant: str = "paper") -> ConfigDict:
    """The configuration of a variant, locked. Raises `ValueError` for an unknown variant."""
    variants = {"paper": _paper, "unified": _unified}
    return base.apply_variant(base.get_config(), variants, variant)


def _paper(config: ConfigDict) -> None:
    """The original's 20 epochs, whose steps follow from the data; 3DAnimals has 120,000 steps."""
    config.data.name = "bird_videos_bonanza"
    config.num_steps = 120_000
    config.loss.feature = 20.0
    config.loss.articulation = 0.0
    config.model.fine_resolution = 128
    config.model.num_legs = 0
    config.model.num_leg_bones = 0
    config.model.static_root_bones = True
    config.model.constrain_legs = False
    config.model.max_angle_deg = 45.0
    config.model.max_shift_xy = 0.5
    config.model.level_horizon = False  # birds fly up and down
    config.schedule.uniform_until = 2 / 120
    config.schedule.softmax_from = 4 / 120
    config.schedule.best_from = 6 / 120
    config.schedule.best_full = 7.6 / 120
    config.schedule.max_gain_at = 100 / 120
    config.schedule.articulation_from = 2 / 20
    config.schedule.attach_legs_from = 1.0  # never
    config.schedule.articulation_loss_from = 2 / 20
    config.schedule.deformation_from = 6 / 20
    config.schedule.fine_grid_from = 4 / 20


def _unified(config: ConfigDict) -> None:
    """3DAnimals@5d4aa39, config/train_magicpony_bird.yaml; here in float32, there in float16."""
    _paper(config)
    horse.unified(
        config,
        num_steps=120_000,
        articulation_from=15_000,
        articulation_loss_from=15_000,
        deformation_from=35_000,
        fine_grid_from=30_000,
    )
    config.schedule.attach_legs_from = 1.0  # never
    config.model.fine_resolution = 256
    config.data.mirror_probability = 0.5
