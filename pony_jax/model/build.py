"""The one place where the model's configuration is unpacked."""

import numpy as np
from ml_collections import ConfigDict

from pony_jax.model.instance import Instance
from pony_jax.model.objective import LossWeights, Objective
from pony_jax.model.pony import Pony
from pony_jax.model.prior import Prior
from pony_jax.model.refine import RefineSettings
from pony_jax.model.render import BACKGROUNDS
from pony_jax.model.rig import RigSettings
from pony_jax.model.schedule import Schedule
from pony_jax.model.shade import RenderSettings
from pony_jax.model.viewpoint import CameraModel
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.viewpoint import SIDES

_CHOICES = {
    "background": BACKGROUNDS,
    "hypothesis_side": SIDES,
    "viewpoint_tokens": ("patch_key", "patch_out"),
    "sdf_start": ("ellipsoid", "sphere", "constant"),
    "articulation_kind": ("attention", "mlp"),
    "articulation_features": ("global", "sample", "sample+global"),
}


def build_model(config: ConfigDict, token_shape: tuple[int, int]) -> Pony:
    """The model of a configuration (`configs/base.py` documents every key).

    Args:
      config: the whole resolved configuration.
      token_shape: side and channels of the data set's token maps.

    Raises:
      ValueError: for settings that do not go together.
    """
    model = config.model
    _check_choices(model)
    if model.refine_steps and not model.silhouette_hidden:
        raise ValueError(
            f"model.refine_steps: expected 0 without a silhouette head, got {model.refine_steps}; "
            "poses are refined against its silhouettes, so set model.silhouette_hidden as well"
        )
    if config.loss.leg_gap and not model.num_legs:
        raise ValueError(
            f"loss.leg_gap: expected 0 for an animal without legs, got {config.loss.leg_gap}"
        )
    if config.loss.flow and config.data.clip_frames == 1:
        raise ValueError(
            f"loss.flow: expected 0 for single images, got {config.loss.flow}; flow is between the "
            "frames of a clip, so set data.clip_frames to 2 or more as well"
        )
    half_view = model.camera_distance * np.tan(np.deg2rad(model.fov_y_deg / 2))
    camera = CameraModel(
        distance=model.camera_distance,
        fov_y_deg=model.fov_y_deg,
        max_shift_xy=model.max_shift_xy * half_view,
        max_shift_z=model.max_shift_z * half_view,
        hypotheses=model.hypotheses,
        hypothesis_side=model.hypothesis_side,
        level_horizon=model.level_horizon,
        max_turn_deg=tuple(model.max_turn_deg),
        elevation_deg=tuple(model.elevation_deg),
        tokens=model.viewpoint_tokens,
        mirror_tokens=model.viewpoint_mirror,
    )
    return Pony(
        prior=Prior(
            march=model.march,
            grid_scale=model.grid_scale,
            grid_extent=tuple(model.grid_extent),
            sdf_start=model.sdf_start,
            ellipsoid=tuple(model.ellipsoid),
            sdf_constant=model.sdf_constant,
            sdf_hidden=model.hidden,
            sdf_layers=model.sdf_layers,
            sdf_frequencies=model.sdf_frequencies,
            sdf_mirror=model.sdf_mirror,
            feature_dim=model.feature_dim,
            feature_hidden=model.hidden,
            feature_layers=model.feature_layers,
            feature_frequencies=model.feature_frequencies,
            feature_mirror=model.feature_mirror,
        ),
        instance=Instance(
            skeleton=Skeleton(
                num_body_bones=model.num_body_bones,
                num_legs=model.num_legs,
                num_leg_bones=model.num_leg_bones,
                body_from=model.body_bones_from,
                static_roots=model.static_root_bones,
            ),
            hidden=model.hidden,
            latent=model.latent,
            encoder_hidden=model.encoder_hidden,
            num_viewpoint_outputs=camera.num_outputs,
            num_handicaps=camera.num_hypotheses if config.loss.hypothesis_balance else 0,
            grid_scale=model.grid_scale,
            camera_distance=model.camera_distance,
            texture_layers=model.texture_layers,
            texture_frequencies=model.texture_frequencies,
            texture_mirror=model.texture_mirror,
            deformation_layers=model.deformation_layers,
            deformation_frequencies=model.deformation_frequencies,
            deformation_mirror=model.deformation_mirror,
            light_layers=model.light_layers,
            articulation_kind=model.articulation_kind,
            articulation_features=model.articulation_features,
            articulation_blocks=model.articulation_blocks,
            articulation_heads=model.articulation_heads,
            articulation_frequencies=model.articulation_frequencies,
            articulation_window=model.articulation_window,
            articulation_own_layers=model.articulation_own_layers,
            articulation_multiplier=model.articulation_multiplier,
            max_angle_deg=model.max_angle_deg,
            constrain_legs=model.constrain_legs,
            silhouette_hidden=model.silhouette_hidden,
        ),
        camera=camera,
        rigging=RigSettings(
            skinning_temperature=model.skinning_temperature,
            leg_attachments=tuple(model.leg_attachments) or None,
            batch_statistics=model.batch_statistics,
        ),
        rendering=RenderSettings(
            image_size=config.data.image_size,
            samples=model.samples,
            background=model.background,
        ),
        schedule=_schedule(config),
        refinement=RefineSettings(
            steps=model.refine_steps,
            pose_rate=model.refine_pose_rate,
            appearance_rate=model.refine_appearance_rate,
            mask=model.refine_mask,
            mask_pyramid=model.refine_mask_pyramid,
            articulation=model.refine_articulation,
        ),
        batch_size=config.data.batch_size,
        token_shape=token_shape,
    )


def build_objective(config: ConfigDict) -> Objective:
    """What the training of a configuration makes small; `build_model` checks its settings."""
    return Objective(
        weights=LossWeights(**config.loss),
        jitter=config.model.jitter,
        eikonal_points=config.model.eikonal_points,
        clip_frames=config.data.clip_frames,
    )


def _check_choices(model: ConfigDict) -> None:
    """Raises `ValueError` for a word that is none of a key's, or for words that do not agree."""
    for key, choices in _CHOICES.items():
        if model[key] not in choices:
            raise ValueError(f"model.{key}: expected one of {choices}, got {model[key]!r}")
    if model.articulation_own_layers and model.articulation_kind == "mlp":
        raise ValueError(
            "model.articulation_own_layers: expected False for articulation_kind 'mlp', got True; "
            "only the kind 'attention' has layers of its own for each bone"
        )


def _schedule(config: ConfigDict) -> Schedule:
    """Shares of the run become steps; the plain numbers stay."""
    plain = {"uniform_share", "best_share", "max_gain"}
    return Schedule(
        **{
            name: value if name in plain else round(value * config.num_steps)
            for name, value in config.schedule.items()
        },
        coarse_resolution=config.model.coarse_resolution,
        fine_resolution=config.model.fine_resolution,
    )
