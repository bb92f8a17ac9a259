"""The `paper` configurations against the original's yml files (MagicPony@e4a8b20:config)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import base, bird, cow, giraffe, horse, zebra
from pony_jax.model import NO_CAPACITIES, Capacities, build_model, build_objective

# Of the three kinds of training: horse, bird, and the fine-tuned cow, giraffe and zebra.
SAME = {
    "seed": 0,
    "data.image_size": 256,
    "data.batch_size": 10,
    "data.mirror_probability": 0.5,
    "data.clip_frames": 1,
    "optimizer.prior_learning_rate": 1e-3,
    "optimizer.instance_learning_rate": 1e-4,
    "optimizer.decay_from": 1.0,
    "optimizer.final_learning_rate": 1.0,
    "loss.mask": 10.0,
    "loss.mask_distance": 0.0,
    "loss.mask_inverse_distance": 100.0,
    "loss.rgb": 1.0,
    "loss.flow": 0.0,
    "loss.hypothesis_score": 1.0,
    "loss.score_feature_gain": 50.0,
    "loss.eikonal": 0.01,
    "loss.deformation": 10.0,
    "schedule.best_share": 0.8,
    "schedule.max_gain": 100.0,
    "model.grid_scale": 7.0,
    "model.grid_extent": (7.0, 7.0, 7.0),
    "model.jitter": 0.05,
    "model.fov_y_deg": 25.0,
    "model.camera_distance": 10.0,
    "model.samples": 4,
    "model.background": "black",
    "model.hidden": 256,
    "model.latent": 256,
    "model.encoder_hidden": 256,
    "model.coarse_resolution": 128,
    "model.sdf_start": "ellipsoid",
    "model.ellipsoid": (1.0, 1.0, 2.0),
    "model.sdf_layers": 5,
    "model.sdf_frequencies": 8,
    "model.sdf_mirror": True,
    "model.feature_dim": 16,
    "model.feature_layers": 5,
    "model.feature_frequencies": 8,
    "model.feature_mirror": False,
    "model.texture_layers": 8,
    "model.texture_frequencies": 10,
    "model.texture_mirror": True,
    "model.deformation_layers": 5,
    "model.deformation_frequencies": 10,
    "model.deformation_mirror": True,
    "model.light_layers": 5,
    "model.articulation_kind": "attention",
    "model.articulation_features": "sample+global",
    "model.articulation_blocks": 4,
    "model.articulation_frequencies": 8,
    "model.articulation_multiplier": 0.1,
    "model.skinning_temperature": 0.05,
    "model.num_body_bones": 8,
    "model.body_bones_from": "z_minmax_y+",
    "model.leg_attachments": (),
    "model.hypotheses": "quadlookat",
    "model.viewpoint_tokens": "patch_key",
    "model.max_shift_z": 0.5,
    "log.every_steps": 50,
    "log.panel_every_steps": 500,
    # What the original does not have.
    "optimizer.max_gradient_norm": 0.0,
    "loss.leg_gap": 0.0,
    "loss.mask_pyramid": 0.0,
    "model.articulation_own_layers": False,
    "model.articulation_window": 1,
    "model.silhouette_hidden": 0,
    "model.refine_steps": 0,
}
DIFFERENT = {  # horse, bird, fine-tunes
    "loss.feature": (10.0, 20.0, 10.0),
    "loss.articulation": (0.1, 0.0, 0.1),
    "model.fine_resolution": (256, 128, 256),
    "model.max_shift_xy": (0.2, 0.5, 0.2),
    "model.level_horizon": (True, False, True),
    "model.num_legs": (4, 0, 4),
    "model.num_leg_bones": (3, 0, 3),
    "model.static_root_bones": (False, True, False),
    "model.constrain_legs": (True, False, True),
    "model.max_angle_deg": (60.0, 45.0, 60.0),
}
EPOCHS = (120, 20, 1000)
IN_EPOCHS = {  # None is never
    "articulation_from": (8, 2, 8),
    "attach_legs_from": (50, None, 50),
    "articulation_loss_from": (50, 2, 50),
    "deformation_from": (80, 6, 800),
    "fine_grid_from": (90, 4, 500),
}
IN_STEPS = {
    "uniform_until": 2000,
    "softmax_from": 4000,
    "best_from": 6000,
    "best_full": 7600,
}


class Case(NamedTuple):
    """A `paper` configuration, its data and its column above."""

    get_config: Callable[[str], ConfigDict]
    data: str
    column: int


CASES = {
    "horse": Case(horse.get_config, "horse_combined", 0),
    "bird": Case(bird.get_config, "bird_videos_bonanza", 1),
    "cow": Case(cow.get_config, "cow_coco", 2),
    "giraffe": Case(giraffe.get_config, "giraffe_coco", 2),
    "zebra": Case(zebra.get_config, "zebra_coco", 2),
}


def value(config: ConfigDict, key: str) -> object:
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("name", CASES)
def test_paper_equals_the_originals_settings(name: str) -> None:
    get_config, data, column = CASES[name]
    config = get_config("paper")
    wanted = SAME | {key: values[column] for key, values in DIFFERENT.items()}
    assert {key: value(config, key) for key in wanted} == wanted
    assert config.data.name == data
    for key, epochs in IN_EPOCHS.items():
        share = 1.0 if epochs[column] is None else epochs[column] / EPOCHS[column]
        assert config.schedule[key] == pytest.approx(share), key
    for key, steps in IN_STEPS.items():
        assert config.schedule[key] * config.num_steps == pytest.approx(steps), key


@pytest.mark.parametrize("name", CASES)
def test_ranges_are_those_of_the_original(name: str) -> None:
    camera = build_model(CASES[name].get_config("paper"), (32, 384)).camera
    assert camera.max_shift_xy == pytest.approx(1.10847 if name == "bird" else 0.44339, abs=1e-5)
    assert camera.max_shift_z == pytest.approx(1.10847, abs=1e-5)


@pytest.mark.parametrize("name", ["cow", "giraffe", "zebra"])
def test_fine_tunes_go_on_from_the_horse(name: str) -> None:
    config = CASES[name].get_config("paper")
    assert config.start.from_run
    assert config.start.moments
    # The horse's 120 of 1,000 epochs are over, and so is its choice among hypotheses.
    assert config.start.share == pytest.approx(0.12)
    assert max(config.schedule[key] for key in IN_STEPS) <= config.start.share
    assert config.schedule.max_gain_at == config.start.share
    first = round(config.start.share * config.num_steps)
    stage = build_model(config, (32, 384)).stage_at(first, NO_CAPACITIES)
    assert (stage.articulation, stage.attach_legs, stage.deformation) == (True, True, False)
    assert stage.grid_resolution == 128


@pytest.mark.parametrize("name", ["horse", "bird"])
def test_others_start_from_nothing(name: str) -> None:
    config = CASES[name].get_config("paper")
    assert config.start.from_run == ""
    assert config.schedule.max_gain_at * config.num_steps == pytest.approx(100_000)


UNIFIED_STEPS = {  # horse, bird, fine-tunes; None is never
    "num_steps": (140_000, 120_000, 200_000),
    "articulation_from": (10_000, 15_000, 10_000),
    "attach_legs_from": (60_000, None, 60_000),
    "articulation_loss_from": (60_000, 15_000, 60_000),
    "deformation_from": (90_000, 35_000, 180_000),
    "fine_grid_from": (100_000, 30_000, 100_000),
    **{key: (step,) * 3 for key, step in IN_STEPS.items()},
    "max_gain_at": (100_000,) * 3,
}


@pytest.mark.parametrize("name", CASES)
def test_unified_is_the_newer_repositorys(name: str) -> None:
    get_config, data, column = CASES[name]
    config = get_config("unified")
    steps = {key: values[column] for key, values in UNIFIED_STEPS.items()}
    assert config.num_steps == steps.pop("num_steps")
    for key, step in steps.items():
        share = 1.0 if step is None else step / config.num_steps
        assert config.schedule[key] == pytest.approx(share), key
    changed = {
        "optimizer.prior_learning_rate": 1e-4,
        "data.mirror_probability": 0.5 if name == "bird" else 0.0,
        "model.samples": 1,
        "model.fine_resolution": 256,
        "checkpoint.every_steps": 5000,
        "checkpoint.keep": 2,
        "data.name": data,
    }
    same = SAME | {key: values[column] for key, values in DIFFERENT.items()} | changed
    assert {key: value(config, key) for key in same} == same
    if column == 2:  # from the horse of 140,000 steps, and without its moments
        assert config.start.from_run
        assert config.start.share * config.num_steps == pytest.approx(140_000)
        assert not config.start.moments
    else:
        assert not config.start.from_run


@pytest.mark.parametrize("name", CASES)
def test_every_configuration_has_the_keys_of_the_base(name: str) -> None:
    def keys(config: ConfigDict) -> set[str]:
        return {
            f"{group}.{key}" for group in ("model", "schedule", "loss") for key in config[group]
        }

    config = CASES[name].get_config("paper")
    assert config.is_locked
    assert keys(config) == keys(base.get_config())
    with pytest.raises(ValueError, match=r"variant: expected one of .*'paper'.*, got 'pape'"):
        CASES[name].get_config("pape")


def tiny_bird() -> ConfigDict:
    """The bird in the sizes of the test horse."""
    config = horse.get_config("test")
    for key in ("num_legs", "num_leg_bones", "static_root_bones", "constrain_legs"):
        config.model[key] = bird.get_config("paper").model[key]
    config.model.level_horizon = False
    config.schedule.attach_legs_from = 1.0
    return config


# Two sets that have every setting once: compiling a step takes half a minute.
OTHER_SETTINGS = {
    "mlp": {
        "articulation_own_layers": False,
        "articulation_kind": "mlp",
        "articulation_features": "sample",
        "hypotheses": "euler_angle",
    },
    "bird": {
        "articulation_features": "global",
        "sdf_start": "sphere",
        "sdf_mirror": False,
        "feature_mirror": False,
        "texture_mirror": False,
        "deformation_mirror": False,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("other", OTHER_SETTINGS)
def test_a_step_of_other_settings_is_finite(other: str) -> None:
    config = tiny_bird() if other == "bird" else horse.get_config("test")
    config.model.update(OTHER_SETTINGS[other])
    model = build_model(config, (8, 6))
    rng = np.random.default_rng(1)

    def noise(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        scale = 0.3 / np.sqrt(max(np.prod(leaf.shape[:-1]), 4))
        return rng.normal(scale=scale, size=leaf.shape).astype(np.float32)

    # Fresh parameters would be compiled for as long as the step.
    params = jax.tree.map(noise, jax.eval_shape(model.init_params, jax.random.key(0)))
    stage = model.stage_at(config.num_steps - 1, Capacities(2048, 4096, 2048, 512, 1024))
    rng = np.random.default_rng(0)
    batch = {
        name: jnp.asarray(rng.uniform(size=(2, side, side, channels)), jnp.float32)
        for name, side, channels in [
            ("image", 32, 3),
            ("mask", 32, 1),
            ("valid", 32, 1),
            ("distance_inside", 32, 1),
            ("distance_outside", 32, 1),
            ("feature", 32, config.model.feature_dim),
            ("patch_key", 8, 6),
            ("patch_out", 8, 6),
        ]
    }
    loss = functools.partial(build_objective(config).loss, model)
    run = jax.value_and_grad(loss, has_aux=True)
    (loss, aux), gradients = jax.jit(run, static_argnums=4)(
        params, batch, jnp.int32(7), jax.random.key(1), stage
    )
    assert aux["counts"].faces > 0
    assert jnp.isfinite(loss)
    assert ("hypothesis_score" in aux["metrics"]) == (other == "bird")
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.all(np.isfinite(leaf)), jax.tree_util.keystr(path)
