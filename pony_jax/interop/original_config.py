"""Settings of the original (its .yml files) as a configuration of this project."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ml_collections import ConfigDict

from pony_jax.interop.torch_file import CheckpointError

# Settings of the original that this model has in one form only, with the original's defaults.
_FIXED: dict[str, tuple[Any, Any]] = {  # name: (what is built here, the original's default)
    "embed_concat_pts": (True, True),
    "enable_deform": (True, False),
    "enable_articulation": (True, False),
    "enable_lighting": (True, False),
    "vit_final_layer_type": ("conv", "conv"),
    "sdf_bce_reg_loss_weight": (0.0, 0.0),
    "backward_prior": (True, True),
    "prior_weight_decay": (0.0, 0.0),
    "use_scheduler": (False, False),
}

# Words of the original and what they are called here; the first is the original's default.
_WORDS: dict[str, tuple[str, dict[str, str]]] = {  # name: our key, their word: ours
    "pose_arch": (
        "viewpoint_tokens",
        {"encoder_dino_patch_key": "patch_key", "encoder_dino_patch_out": "patch_out"},
    ),
    "background_mode": (
        "background",
        # Its 'background' and 'input' are known to its loss, but not to its renderer.
        {"none": "black", "black": "black", "white": "white", "checkerboard": "checkerboard"},
    ),
}

# Groups of the settings of 3DAnimals@5d4aa39, config/.
_HYDRA_GROUPS = ("dataset", "model", "data", "trainer", "hydra", "logger")

# Plain values: name in the original, its default there (in the code of the networks and the model,
# which its data loader and its trainer do not always share), our key.
_PLAIN: list[tuple[str, Any, str]] = [
    ("seed", 0, "seed"),
    ("out_image_size", 128, "data.image_size"),
    ("batch_size", 64, "data.batch_size"),
    ("num_frames", 1, "data.clip_frames"),
    ("lr", 1e-4, "optimizer.instance_learning_rate"),
    ("mask_loss_weight", 0.0, "loss.mask"),
    ("mask_dt_loss_weight", 0.0, "loss.mask_distance"),
    ("mask_inv_dt_loss_weight", 0.0, "loss.mask_inverse_distance"),
    ("rgb_loss_weight", 0.0, "loss.rgb"),
    ("dino_feat_im_loss_weight", 0.0, "loss.feature"),
    ("flow_loss_weight", 0.0, "loss.flow"),
    ("logit_loss_weight", 0.0, "loss.hypothesis_score"),
    ("logit_loss_dino_feat_im_loss_multiplier", 1.0, "loss.score_feature_gain"),
    ("sdf_gradient_reg_loss_weight", 0.0, "loss.eikonal"),
    ("deformation_reg_loss_weight", 0.0, "loss.deformation"),
    ("arti_reg_loss_weight", 0.0, "loss.articulation"),
    ("grid_scale", 5.0, "model.grid_scale"),
    ("dmtet_grid_res_smaller", 128, "model.coarse_resolution"),
    ("dmtet_grid_res", 256, "model.fine_resolution"),
    ("jitter_grid", 0.0, "model.jitter"),
    ("renderer_spp", 1, "model.samples"),
    ("mlp_hidden_size", 64, "model.hidden"),
    ("latent_dim", 256, "model.latent"),
    ("num_layers_shape", 5, "model.sdf_layers"),
    ("embedder_freq_shape", 8, "model.sdf_frequencies"),
    ("sym_prior_shape", False, "model.sdf_mirror"),
    ("dino_feature_recon_dim", 64, "model.feature_dim"),
    ("num_layers_dino", 5, "model.feature_layers"),
    ("embedder_freq_dino", 8, "model.feature_frequencies"),
    ("sym_dino", False, "model.feature_mirror"),
    ("num_layers_tex", 5, "model.texture_layers"),
    ("embedder_freq_tex", 10, "model.texture_frequencies"),
    ("sym_texture", False, "model.texture_mirror"),
    ("num_layers_deform", 5, "model.deformation_layers"),
    ("embedder_freq_deform", 10, "model.deformation_frequencies"),
    ("sym_deform", False, "model.deformation_mirror"),
    ("num_layers_light", 5, "model.light_layers"),
    ("articulation_arch", "mlp", "model.articulation_kind"),
    ("articulation_feature_mode", "global", "model.articulation_features"),
    ("num_layers_arti", 4, "model.articulation_blocks"),
    ("embedder_freq_arti", 8, "model.articulation_frequencies"),
    ("articulation_multiplier", 1.0, "model.articulation_multiplier"),
    ("max_arti_angle", 60.0, "model.max_angle_deg"),
    ("constrain_legs", False, "model.constrain_legs"),
    ("static_root_bones", False, "model.static_root_bones"),
    ("skinning_temperature", 1.0, "model.skinning_temperature"),
    ("num_body_bones", 4, "model.num_body_bones"),
    ("num_legs", 0, "model.num_legs"),
    ("num_leg_bones", 0, "model.num_leg_bones"),
    ("body_bones_mode", "z_minmax", "model.body_bones_from"),
    ("cam_pos_z_offset", 10.0, "model.camera_distance"),
    ("fov", 25.0, "model.fov_y_deg"),
    ("max_trans_xy_range_ratio", 1.0, "model.max_shift_xy"),
    ("max_trans_z_range_ratio", 1.0, "model.max_shift_z"),
    ("rot_rep", "euler_angle", "model.hypotheses"),
    ("lookat_zeroy", False, "model.level_horizon"),
]


def read_settings(path: Path) -> dict[str, Any]:
    """The original's settings from its .yml, or the same as JSON.

    A JSON file may hold them under 'config', beside 'reduced_sizes_not_in_original_config'.

    Raises:
      CheckpointError: if the file is neither, or holds no settings by name, or those of 3DAnimals.
    """
    try:
        text = path.read_text()
        settings = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())  # YAML's reasons have several lines
        raise CheckpointError(f"{path}: expected YAML or JSON, got {reason}") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: expected settings by name, got {type(settings).__name__}")
    reduced = settings.get("reduced_sizes_not_in_original_config", {})
    flat = settings.get("config", settings)
    if not (isinstance(flat, dict) and isinstance(reduced, dict)):
        raise CheckpointError(f"{path}: expected settings by name under config, got something else")
    _refuse_groups(flat, path)
    return dict(flat) | reduced


def _refuse_groups(settings: Mapping[str, Any], path: Path) -> None:
    """Raises `CheckpointError` for settings in groups, as Hydra composes those of 3DAnimals."""
    groups = [str(name) for name, value in settings.items() if isinstance(value, dict)]
    groups = [name for name in groups if name in _HYDRA_GROUPS or name.startswith("cfg_")]
    if not groups and "defaults" not in settings:
        return
    found = [f"the groups {', '.join(groups)}"] if groups else []
    found += ["defaults, a list of other files"] if "defaults" in settings else []
    raise CheckpointError(
        f"{path}: expected MagicPony's settings, one name a line such as rot_rep, found those of "
        f"3DAnimals, with {' and '.join(found)}; pass this project's own configuration of the "
        "animal instead: --config=configs/horse.py:unified, or bird.py, cow.py, giraffe.py, "
        "zebra.py, with :unified"
    )


def original_config(
    settings: Mapping[str, Any], base: ConfigDict, steps_per_epoch: float
) -> ConfigDict:
    """Our configuration for settings of the original.

    Args:
      settings: as `read_settings` gives them.
      base: every key of a configuration; what the original has no setting for stays as it is here.
      steps_per_epoch: turns the original's epochs into steps.

    Raises:
      CheckpointError: names the settings that this model cannot follow.
    """
    wrong = [
        f"{name} {settings.get(name, default)!r} (only {built!r} is built here)"
        for name, (built, default) in _FIXED.items()
        if settings.get(name, default) != built
    ]
    for name, (_, words) in _WORDS.items():
        if settings.get(name) not in (None, *words):
            wrong.append(f"{name} {settings[name]!r} (only {_listed(words)} are built here)")
    if _decays_eikonal(settings):
        wrong.append("sdf_gradient_reg_loss_min_weight below the weight (it stays the same here)")
    if wrong:
        raise CheckpointError(f"settings that this model cannot follow: {', '.join(wrong)}")
    config = base.copy_and_resolve_references()
    for name, default, key in _PLAIN:
        value = settings.get(name)
        section, _, leaf = key.rpartition(".")
        node = config[section] if section else config
        value = default if value is None else value
        try:  # YAML reads 1e-4 as a text
            node[leaf] = float(value) if isinstance(node[leaf], float) else value
        except (TypeError, ValueError) as error:
            wanted = type(node[leaf]).__name__
            raise CheckpointError(
                f"setting {name}: expected a value of type {wanted}, got {value!r}"
            ) from error
    # The prior's rate is by default the other one.
    config.optimizer.prior_learning_rate = _number(
        settings, "prior_lr", config.optimizer.instance_learning_rate
    )
    model = config.model
    for name, (key, words) in _WORDS.items():
        model[key] = words[settings.get(name) or next(iter(words))]
    model.grid_extent = (model.grid_scale,) * 3
    model.sdf_start, model.sdf_constant = _sdf_start(settings.get("init_sdf"))
    model.ellipsoid = (1.0, 1.0, 2.0)
    model.max_turn_deg = tuple(_number(settings, f"max_rot_{i}_range", 180) for i in "xyz")
    attachments = settings.get("legs_to_body_joint_indices") or ()
    if not isinstance(attachments, list | tuple):
        raise CheckpointError(
            f"setting legs_to_body_joint_indices: expected a list of bones, got {attachments!r}"
        )
    model.leg_attachments = tuple(attachments)
    model.encoder_hidden = round(_number(settings, "encoder_nf", 256))
    if config.loss.flow and settings.get("num_frames") is None:
        # The default in its code, which shows nowhere else; every file of the original says 1.
        config.data.clip_frames = 2
    config.data.batch_size *= config.data.clip_frames  # its batches are counted in clips
    config.data.mirror_probability = 0.5 if settings.get("random_xflip_train") else 0.0
    _set_schedule(config, settings, steps_per_epoch)
    return config.lock()


def _listed(words: Iterable[str]) -> str:
    return ", ".join(repr(word) for word in words)


def _decays_eikonal(settings: Mapping[str, Any]) -> bool:
    """Whether the weight of the Eikonal term falls after some step; in no file of the original."""
    name = "sdf_gradient_reg_loss"
    least, weight = (_number(settings, f"{name}_{kind}", 0.0) for kind in ("min_weight", "weight"))
    return least < weight and settings.get("sdf_reg_decay_start_iter") is not None


def _number(settings: Mapping[str, Any], name: str, default: float) -> float:
    """A setting as a number; YAML reads 1e-4 as a text. Raises `CheckpointError`."""
    value = settings.get(name)
    try:
        number = float(default if value is None else value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise CheckpointError(f"setting {name}: expected a number, got {value!r}")
    return number


def _sdf_start(init_sdf: str | float | None) -> tuple[str, float]:
    """Kind and constant of the shape's start. None is the original's word for a start of 0."""
    if init_sdf in ("ellipsoid", "sphere"):
        return init_sdf, 0.0
    if init_sdf is None or isinstance(init_sdf, int | float):
        return "constant", float(init_sdf or 0.0)
    raise CheckpointError(
        f"setting init_sdf: expected ellipsoid, sphere, a number or nothing, got {init_sdf!r}"
    )


def _set_schedule(config: ConfigDict, settings: Mapping[str, Any], steps_per_epoch: float) -> None:
    """Epochs and iterations of the original as shares of the run; 1 means never."""
    num_epochs = _number(settings, "num_epochs", 10)
    if num_epochs <= 0:
        raise CheckpointError(f"setting num_epochs: expected at least 1, got {num_epochs:g}")
    config.num_steps = max(round(num_epochs * steps_per_epoch), 1)

    def from_steps(step: float) -> float:
        return min(step / config.num_steps, 1.0)

    def from_epochs(name: str, default: float = num_epochs) -> float:
        epochs = settings.get(name) or (default,)
        if not (isinstance(epochs, list | tuple) and isinstance(epochs[0], int | float)):
            raise CheckpointError(f"setting {name}: expected [first, last], got {epochs!r}")
        return min(epochs[0] / num_epochs, 1.0)

    schedule = config.schedule
    uniform = _number(settings, "naive_probs_iter", 2000)
    best = _number(settings, "best_pose_start_iter", 6000)
    fine = _number(settings, "dmtet_grid_res_smaller_epoch", 0)
    schedule.uniform_until = from_steps(uniform)
    schedule.softmax_from = from_steps(uniform + 2000)
    schedule.best_from = from_steps(best)
    schedule.best_full = from_steps(best + 1600)  # where its ramp of 2,000 steps meets 0.8
    gain_steps = 100_000 * _number(settings, "rot_temp_scalar", 1.0)
    schedule.max_gain_at = gain_steps / config.num_steps
    schedule.articulation_from = from_epochs("articulation_epochs")
    schedule.attach_legs_from = from_epochs("attach_legs_to_body_epochs")
    schedule.articulation_loss_from = from_epochs("arti_reg_loss_epochs", 0)
    schedule.deformation_from = from_epochs("deform_epochs")
    schedule.fine_grid_from = min(fine / num_epochs, 1.0)
