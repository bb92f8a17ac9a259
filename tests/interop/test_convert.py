"""The conversion command: the folder it leaves, settings it refuses, and that it leaves none."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import base
from pony_jax.interop import convert as command
from pony_jax.interop.original_config import original_config, read_settings
from pony_jax.interop.torch_file import CheckpointError
from pony_jax.training.checkpoints import Checkpoints, load_config
from pony_jax.training.optimizers import init_optimizer, parameter_groups
from pony_jax.training.step import TrainState
from tests.training.command_flags import command_module, forget_values

SETTINGS = Path(__file__).parents[1] / "golden" / "tiny_checkpoint_config.json"

HORSE = {  # the least that a file of the original must say
    "init_sdf": "ellipsoid",
    "enable_deform": True,
    "enable_articulation": True,
    "enable_lighting": True,
    "articulation_arch": "attention",
    "articulation_feature_mode": "sample+global",
    "pose_arch": "encoder_dino_patch_key",
    "rot_rep": "quadlookat",
    "num_epochs": 120,
}


def test_converts_to_a_run_that_can_be_restored(checkpoint, tmp_path):
    converted = command.convert(checkpoint, str(SETTINGS), tmp_path / "run")
    config = load_config(tmp_path / "run")
    assert (config.model.hidden, config.model.encoder_hidden) == (32, 16)
    like = jax.tree.map(np.asarray, TrainState(converted.params, converted.moments, np.int32(0)))
    state, progress = Checkpoints(tmp_path / "run", keep=2).restore(lambda progress: like)
    assert progress.token_shape == (32, 48)
    assert int(state.step) == 70_000
    jax.tree.map(np.testing.assert_array_equal, state.params, converted.params)
    fresh = init_optimizer(state.params, parameter_groups(1e-3, 1e-4))
    assert jax.tree.map(np.shape, state.moments) == jax.tree.map(np.shape, fresh)
    backbone = np.load(tmp_path / "run" / "backbone.npz")
    assert backbone["positions"].shape == (28, 28, 48)


@pytest.mark.parametrize("damage", ["truncated", "settings", "missing"])
def test_nothing_is_written_when_it_fails(checkpoint, tmp_path, damage):
    whole, settings = checkpoint, SETTINGS
    if damage == "truncated":
        checkpoint = tmp_path / "part.pth"
        checkpoint.write_bytes(whole.read_bytes()[:100_000])
    elif damage == "settings":
        changed = json.loads(SETTINGS.read_text())
        changed["config"]["latent_dim"] = 33
        settings = tmp_path / "other.json"
        settings.write_text(json.dumps(changed))
    else:
        settings = tmp_path / "none.yml"
    with pytest.raises(CheckpointError):
        command.convert(checkpoint, str(settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["octlookat", "lookat", "quaternion", "euler_angle"])
def test_viewpoints_of_the_original(kind):
    settings = HORSE | {"rot_rep": kind, "max_rot_x_range": 30}
    config = original_config(settings, base.get_config(), 1000.0)
    assert config.model.hypotheses == kind
    assert config.model.max_turn_deg == (30.0, 180.0, 180.0)


@pytest.mark.parametrize(
    ("init_sdf", "start", "constant"),
    [("sphere", "sphere", 0.0), (0.3, "constant", 0.3), (None, "constant", 0.0)],
)
def test_starts_of_the_original(init_sdf, start, constant):
    config = original_config(HORSE | {"init_sdf": init_sdf}, base.get_config(), 1000.0)
    assert (config.model.sdf_start, config.model.sdf_constant) == (start, constant)


@pytest.mark.parametrize("symmetric", [True, False, None])
def test_symmetries_of_the_original(symmetric):
    """A file that does not say means no."""
    names = ("sym_prior_shape", "sym_dino", "sym_texture", "sym_deform")
    settings = HORSE | dict.fromkeys(names, symmetric)
    model = original_config(settings, base.get_config(), 1000.0).model
    ours = ("sdf_mirror", "feature_mirror", "texture_mirror", "deformation_mirror")
    assert [model[key] for key in ours] == [bool(symmetric)] * 4


def test_articulation_of_the_original():
    settings = {k: v for k, v in HORSE.items() if not k.startswith("articulation_")}
    model = original_config(settings, base.get_config(), 1000.0).model
    assert (model.articulation_kind, model.articulation_features) == ("mlp", "global")
    settings = HORSE | {"articulation_feature_mode": "sample", "static_root_bones": True}
    model = original_config(settings, base.get_config(), 1000.0).model
    assert (model.articulation_kind, model.articulation_features) == ("attention", "sample")
    assert model.static_root_bones


def test_settings_become_shares_of_the_run():
    settings = HORSE | {
        "articulation_epochs": [8, 1000],
        "attach_legs_to_body_epochs": [50, 1000],
        "deform_epochs": [80, 1000],
        "dmtet_grid_res_smaller_epoch": 90,
        "max_arti_angle": 60,
        "renderer_spp": 4,
    }
    config = original_config(settings, base.get_config(), 1000.0)
    assert config.num_steps == 120_000
    schedule = config.schedule
    assert schedule.articulation_from * 120 == pytest.approx(8)
    assert schedule.deformation_from * 120 == pytest.approx(80)
    del settings["attach_legs_to_body_epochs"]
    again = original_config(settings, base.get_config(), 1000.0)
    assert again.schedule.attach_legs_from == 1.0  # never
    assert schedule.articulation_loss_from == 0.0  # the original's default, of this key alone
    assert schedule.uniform_until * config.num_steps == pytest.approx(2000)
    assert schedule.max_gain_at * config.num_steps == pytest.approx(100_000)
    assert (config.model.samples, config.model.max_angle_deg) == (4, 60.0)


def test_settings_that_are_left_out_have_the_defaults_of_the_original():
    """The least of a file: what its networks and its model take where a key is absent."""
    least = {k: HORSE[k] for k in ("enable_deform", "enable_articulation", "enable_lighting")}
    config = original_config(least, base.get_config(), 1000.0)
    wanted = {
        "model.grid_scale": 5.0,
        "model.grid_extent": (5.0, 5.0, 5.0),
        "model.coarse_resolution": 128,
        "model.fine_resolution": 256,
        "model.jitter": 0.0,
        "model.hidden": 64,
        "model.latent": 256,
        "model.sdf_start": "constant",
        "model.sdf_layers": 5,
        "model.feature_dim": 64,
        "model.texture_layers": 5,
        "model.texture_frequencies": 10,
        "model.deformation_layers": 5,
        "model.num_body_bones": 4,
        "model.num_legs": 0,
        "model.body_bones_from": "z_minmax",
        "model.articulation_multiplier": 1.0,
        "model.skinning_temperature": 1.0,
        "model.hypotheses": "euler_angle",
        "model.viewpoint_tokens": "patch_key",
        "model.background": "black",
        "model.samples": 1,
        "model.max_shift_xy": 1.0,
        "data.image_size": 128,
        "data.batch_size": 64,
        "data.clip_frames": 1,
        "data.mirror_probability": 0.0,
        "schedule.articulation_from": 1.0,
        "schedule.deformation_from": 1.0,
        "schedule.articulation_loss_from": 0.0,
        "schedule.fine_grid_from": 0.0,
    }
    flat = {f"{a}.{b}": v for a in ("model", "data", "schedule") for b, v in config[a].items()}
    assert {key: flat[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("settings", "clip_frames", "flow", "batch_size"),
    [
        ({}, 1, 0.0, 10),
        ({"num_frames": 1}, 1, 0.0, 10),
        ({"num_frames": 3}, 3, 0.0, 30),
        ({"num_frames": 2, "flow_loss_weight": 5}, 2, 5.0, 20),
        ({"flow_loss_weight": "1e-1"}, 2, 0.1, 20),  # its code takes two frames then
    ],
)
def test_clips_of_the_original(settings, clip_frames, flow, batch_size):
    """Its batches are counted in clips, ours in images."""
    config = original_config(HORSE | {"batch_size": 10} | settings, base.get_config(), 1000.0)
    assert (config.data.clip_frames, config.data.batch_size) == (clip_frames, batch_size)
    assert config.loss.flow == flow


def test_the_prior_learns_at_the_rate_of_the_rest_unless_it_has_its_own():
    as_text = {"lr": "3e-4", "prior_lr": "1e-3"}  # what YAML makes of numbers without a point
    for settings, prior in [({"lr": 3e-4}, 3e-4), (as_text, 1e-3)]:
        optimizer = original_config(HORSE | settings, base.get_config(), 1000.0).optimizer
        assert (optimizer.instance_learning_rate, optimizer.prior_learning_rate) == (3e-4, prior)


def test_words_of_the_original():
    settings = HORSE | {"pose_arch": "encoder_dino_patch_out", "background_mode": "white"}
    model = original_config(settings, base.get_config(), 1000.0).model
    assert (model.viewpoint_tokens, model.background) == ("patch_out", "white")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("init_sdf", "cube", r"init_sdf: expected ellipsoid, sphere, a number or nothing, got"),
        ("enable_lighting", False, r"enable_lighting False \(only True is built here\)"),
        ("background_mode", "input", r"background_mode 'input' \(only 'none'"),
        ("pose_arch", "cnn", r"pose_arch 'cnn' \(only 'encoder_dino_patch_key', "),
        (
            "mlp_hidden_size",
            "big",
            r"setting mlp_hidden_size: expected a value of type int, got 'big'",
        ),
        ("deform_epochs", 8, r"setting deform_epochs: expected \[first, last\], got 8"),
        ("num_epochs", 0, r"setting num_epochs: expected at least 1, got 0"),
        ("num_epochs", "many", r"setting num_epochs: expected a number, got 'many'"),
        ("prior_lr", "slow", r"setting prior_lr: expected a number, got 'slow'"),
        ("encoder_nf", [1], r"setting encoder_nf: expected a number, got \[1\]"),
        ("max_rot_x_range", "wide", r"setting max_rot_x_range: expected a number, got 'wide'"),
        ("naive_probs_iter", "x", r"setting naive_probs_iter: expected a number, got 'x'"),
        ("dmtet_grid_res_smaller_epoch", {}, r"smaller_epoch: expected a number, got \{\}"),
        ("rot_temp_scalar", float("inf"), r"setting rot_temp_scalar: expected a number, got inf"),
        ("legs_to_body_joint_indices", 3, r"joint_indices: expected a list of bones, got 3"),
        ("use_scheduler", True, r"use_scheduler True \(only False is built here\)"),
        ("sdf_bce_reg_loss_weight", 0.1, r"sdf_bce_reg_loss_weight 0.1 \(only 0.0 is"),
    ],
)
def test_settings_that_are_not_built_raise(name, value, message):
    with pytest.raises(CheckpointError, match=message):
        original_config(HORSE | {name: value}, base.get_config(), 1000.0)


def test_a_falling_eikonal_weight_raises():
    name = "sdf_gradient_reg_loss"
    settings = HORSE | {"sdf_reg_decay_start_iter": 10_000, f"{name}_weight": 0.01}
    with pytest.raises(CheckpointError, match=f"{name}_min_weight below the weight"):
        original_config(settings, base.get_config(), 1000.0)
    settings[f"{name}_min_weight"] = 0.01  # as in every file of the original
    assert original_config(settings, base.get_config(), 1000.0).loss.eikonal == 0.01


def test_yaml_settings_are_read(tmp_path):
    path = tmp_path / "train.yml"
    path.write_text("num_epochs: 120\nrot_rep: octlookat\n")
    assert read_settings(path) == {"num_epochs": 120, "rot_rep": "octlookat"}
    path.write_text("- just\n- a list\n")
    with pytest.raises(CheckpointError, match="expected settings by name, got list"):
        read_settings(path)
    path.write_text("a: [")
    with pytest.raises(CheckpointError, match="expected YAML or JSON"):
        read_settings(path)


HYDRA = """defaults: [base, {dataset: image}, {model: magicpony}]
dataset: {in_image_size: 256, out_image_size: 256, batch_size: 10}
num_iters: 140000
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HYDRA, "with the groups dataset and defaults, a list of other files; pass"),
        ("model: {name: MagicPony, cfg_render: {fov: 25}}\n", "with the groups model; pass"),
        ("cfg_shape: {grid_res: 256}\nseed: 0\n", "with the groups cfg_shape; pass"),
        ("defaults: [train_magicpony_horse]\n", "with defaults, a list of other files; pass"),
    ],
)
def test_nested_settings_of_3danimals_are_refused_with_what_to_do(tmp_path, text, found):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(CheckpointError) as caught:
        read_settings(path)
    line = str(caught.value)
    assert found in line and "--config=configs/horse.py:unified" in line and "\n" not in line


@pytest.mark.parametrize(
    "text", ['{"config": 3}', '{"config": {}, "reduced_sizes_not_in_original_config": 1}']
)
def test_settings_of_another_kind(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match="expected settings by name under config"):
        read_settings(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("x = 1", "AttributeError: module 'mine' has no attribute 'get_config'"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("def get_config(): return 3", "expected a ConfigDict from get_config"),
    ],
)
def test_a_wrong_configuration_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        command._configuration(str(path), 1000.0)


def test_a_configuration_of_ours_may_have_a_variant_and_is_checked(tmp_path):
    folder = Path(base.__file__).parent
    assert command._configuration(f"{folder}/bird.py", 1.0).model.num_legs == 0
    assert command._configuration(f"{folder}/horse.py:test", 1.0).num_steps == 8
    assert command._configuration(f"{folder}/base.py", 1.0).num_steps == 140_000
    path = tmp_path / "settings.yml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in HORSE.items()))
    assert command._configuration(str(path), 1000.0).num_steps == 120_000
    path.write_text(path.read_text() + "\nrenderer_spp: 0\n")
    with pytest.raises(CheckpointError, match=r"settings.yml, as .*: model.samples: .* got 0"):
        command._configuration(str(path), 1000.0)


@pytest.mark.parametrize("settings", ["settings.yml", "settings.json", "none.yml", "mine.py"])
def test_the_command_takes_settings_of_every_kind(monkeypatch, tmp_path, settings):
    """Also those that are no configuration file of ours, which other commands refuse at once."""
    for name, text in (("settings.yml", HYDRA), ("settings.json", "[]"), ("mine.py", "x = 1")):
        (tmp_path / name).write_text(text)
    expected = {
        "settings.yml": "found those of 3DAnimals",
        "settings.json": "expected settings by name, got list",
        "none.yml": "found no such file",
        "mine.py": "has no attribute 'get_config'",
    }
    with command_module("pony_jax.interop.convert") as module:
        content = {"netInstance": {}, "netPrior": {}}
        monkeypatch.setattr(module, "_read_networks", lambda checkpoint, notes: content)
        argv = ["convert", "--checkpoint=x.pth", f"--config={tmp_path / settings}", "--out=x"]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit, match=f"error: .*{expected[settings]}"):
            module.command_line.run(module.main)
        forget_values()


def test_a_missing_checkpoint_is_one_line(tmp_path):
    for path, found in ((tmp_path / "none.pth", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(CheckpointError, match=f"expected a checkpoint at .*, found {found}"):
            command.convert(path, str(SETTINGS), tmp_path / "run")
