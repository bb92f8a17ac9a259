"""What every value of a configuration has to be: one rule a key, and what keys have to agree on.

`configs/base.py` says what the keys mean. `check_config` is called wherever a configuration comes
in: from the command line, from the folder of a run, from a converted checkpoint.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pony_jax.model.prior import MARCHES
from pony_jax.model.render import BACKGROUNDS
from pony_jax.ops.viewpoint import SIDES
from pony_jax.training.errors import SettingError


class Rule(NamedTuple):
    """What values of a key are: in words, and as a test that never raises."""

    expected: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) < 1e30


def _whole(least: int, most: int = 2**31 - 1, multiple_of: int = 1) -> Rule:
    kind = "a whole number" if multiple_of == 1 else f"a multiple of {multiple_of}"
    upper = "" if most == 2**31 - 1 else f" and at most {most:,}"
    return Rule(
        f"{kind}, at least {least}{upper}",
        lambda value: (
            isinstance(value, int)
            and not isinstance(value, bool)
            and least <= value <= most
            and value % multiple_of == 0
        ),
    )


def _number(least: float = -math.inf, most: float = math.inf, open_ends: bool = False) -> Rule:
    """A finite number; `open_ends` leaves out the limits themselves."""
    words = ["a number"]
    if least > -math.inf:
        words.append(f"{'above' if open_ends else 'at least'} {least:g}")
    if most < math.inf:
        words.append(f"{'below' if open_ends else 'at most'} {most:g}")

    def accepts(value: Any) -> bool:
        if not _is_number(value):
            return False
        return least < value < most if open_ends else least <= value <= most

    return Rule(" and ".join(words).replace("number and", "number,", 1), accepts)


def _one_of(*choices: Any) -> Rule:
    return Rule(
        f"one of {', '.join(map(repr, choices))}",
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),
    )


def _numbers(each: Rule, length: int | None = None) -> Rule:
    count = "any number of values" if length is None else f"{length} values"
    return Rule(
        f"{count} in brackets, each {each.expected}",
        lambda value: (
            isinstance(value, list | tuple)
            and (length is None or len(value) == length)
            and all(map(each.accepts, value))
        ),
    )


def _either(first: Rule, second: Rule) -> Rule:
    return Rule(
        f"{first.expected}, or {second.expected}",
        lambda value: first.accepts(value) or second.accepts(value),
    )


_POSITIVE = _number(0, open_ends=True)
_AT_LEAST_0 = _number(0)
_SHARE = _number(0, 1)
_SWITCH = Rule("True or False", lambda value: isinstance(value, bool))
_TEXT = Rule("a text", lambda value: isinstance(value, str) and "\0" not in value)
_PATH = Rule("a path", lambda value: _TEXT.accepts(value) and bool(value.strip()))
_NAME = Rule(
    "a name of letters, digits, '_', '-' and '.', or several with '/' between",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", value)),
)
_COUNT, _COUNT_OR_0 = _whole(1), _whole(0)
_FREQUENCIES = _whole(1, 24)  # beyond, a float32 does not know the phase of the highest wave
_GRID_LAYERS = _whole(2, 1024, multiple_of=2)  # 1024^3 tetrahedra still have numbers in 32 bits

RULES: dict[str, Rule] = {
    "seed": _whole(0, 2**32 - 1),
    "num_steps": _COUNT,
    "compilation_cache_dir": _TEXT,
    "start.from_run": _TEXT,
    "start.share": Rule("a number, at least 0 and below 1", lambda v: _SHARE.accepts(v) and v < 1),
    "start.moments": _SWITCH,
    "data.name": _NAME,
    "data.data_dir": _PATH,
    "data.train_split": _NAME,
    "data.test_split": _NAME,
    "data.image_size": _whole(8, 4096),
    "data.batch_size": _COUNT,
    "data.clip_frames": _COUNT,
    "data.mirror_probability": _SHARE,
    "data.max_train_examples": _COUNT_OR_0,
    "data.max_test_examples": _COUNT_OR_0,
    "optimizer.prior_learning_rate": _AT_LEAST_0,
    "optimizer.instance_learning_rate": _AT_LEAST_0,
    "optimizer.max_gradient_norm": _AT_LEAST_0,
    "optimizer.decay_from": _SHARE,
    "optimizer.final_learning_rate": _SHARE,
    "loss.mask": _AT_LEAST_0,
    "loss.mask_pyramid": _AT_LEAST_0,
    "loss.mask_distance": _AT_LEAST_0,
    "loss.mask_inverse_distance": _AT_LEAST_0,
    "loss.rgb": _AT_LEAST_0,
    "loss.feature": _AT_LEAST_0,
    "loss.flow": _AT_LEAST_0,
    "loss.hypothesis_score": _AT_LEAST_0,
    "loss.hypothesis_balance": _AT_LEAST_0,
    "loss.score_feature_gain": _AT_LEAST_0,
    "loss.eikonal": _AT_LEAST_0,
    "loss.deformation": _AT_LEAST_0,
    "loss.articulation": _AT_LEAST_0,
    "loss.leg_gap": _AT_LEAST_0,
    "loss.silhouette": _AT_LEAST_0,
    "schedule.uniform_until": _SHARE,
    "schedule.softmax_from": _SHARE,
    "schedule.uniform_share": _SHARE,
    "schedule.best_from": _SHARE,
    "schedule.best_full": _SHARE,
    "schedule.best_share": _SHARE,
    "schedule.max_gain": _AT_LEAST_0,
    "schedule.max_gain_at": _AT_LEAST_0,  # beyond 1, the run ends before it is reached
    "schedule.elevation_from": _SHARE,
    "schedule.articulation_from": _SHARE,
    "schedule.attach_legs_from": _SHARE,
    "schedule.articulation_loss_from": _SHARE,
    "schedule.deformation_from": _SHARE,
    "schedule.fine_grid_from": _SHARE,
    "model.grid_scale": _POSITIVE,
    "model.march": _one_of(*MARCHES),
    "model.grid_extent": _numbers(_POSITIVE, 3),
    "model.sdf_start": _one_of("ellipsoid", "sphere", "constant"),
    "model.sdf_constant": _number(),
    "model.ellipsoid": _numbers(_POSITIVE, 3),
    "model.coarse_resolution": _GRID_LAYERS,
    "model.fine_resolution": _GRID_LAYERS,
    "model.jitter": _number(0, 0.5),
    "model.background": _one_of(*BACKGROUNDS),
    "model.samples": _whole(1, 16),
    "model.hidden": _COUNT,
    "model.latent": _COUNT,
    "model.encoder_hidden": _whole(4, multiple_of=4),  # a group of its normalisation has four
    "model.sdf_layers": _COUNT,
    "model.sdf_frequencies": _FREQUENCIES,
    "model.sdf_mirror": _SWITCH,
    "model.feature_dim": _COUNT,
    "model.feature_layers": _COUNT,
    "model.feature_frequencies": _FREQUENCIES,
    "model.feature_mirror": _SWITCH,
    "model.texture_layers": _whole(2),  # one of them reads the image's vector
    "model.texture_frequencies": _FREQUENCIES,
    "model.texture_mirror": _SWITCH,
    "model.deformation_layers": _whole(2),
    "model.deformation_frequencies": _FREQUENCIES,
    "model.deformation_mirror": _SWITCH,
    "model.light_layers": _COUNT,
    "model.articulation_kind": _one_of("attention", "mlp"),
    "model.articulation_features": _one_of("global", "sample", "sample+global"),
    "model.articulation_blocks": _COUNT,
    "model.articulation_heads": _COUNT,
    "model.articulation_frequencies": _FREQUENCIES,
    "model.articulation_own_layers": _SWITCH,
    "model.articulation_window": _COUNT,
    "model.articulation_multiplier": _POSITIVE,
    "model.max_angle_deg": _number(0, 180),
    "model.constrain_legs": _SWITCH,
    "model.static_root_bones": _SWITCH,
    "model.skinning_temperature": _POSITIVE,
    "model.num_body_bones": _whole(2, multiple_of=2),
    "model.num_legs": _one_of(0, 4),
    "model.num_leg_bones": _COUNT_OR_0,
    "model.body_bones_from": _one_of("z_minmax", "z_minmax_y+"),
    "model.leg_attachments": _numbers(_COUNT_OR_0),
    "model.camera_distance": _POSITIVE,
    "model.fov_y_deg": _number(0, 180, open_ends=True),
    "model.max_shift_xy": _AT_LEAST_0,
    "model.max_shift_z": _AT_LEAST_0,
    "model.hypotheses": _one_of("quadlookat", "octlookat", "lookat", "quaternion", "euler_angle"),
    "model.hypothesis_side": _one_of(*SIDES),
    "model.viewpoint_tokens": _one_of("patch_key", "patch_out"),
    "model.viewpoint_mirror": _SWITCH,
    "model.level_horizon": _SWITCH,
    "model.elevation_deg": _numbers(_number(-90, 90), 2),
    "model.max_turn_deg": _numbers(_number(0, 360), 3),
    "model.eikonal_points": _COUNT,
    "model.silhouette_hidden": _either(_one_of(0), _whole(2, multiple_of=2)),
    "model.refine_steps": _COUNT_OR_0,
    "model.refine_pose_rate": _AT_LEAST_0,
    "model.refine_appearance_rate": _AT_LEAST_0,
    "model.refine_mask": _AT_LEAST_0,
    "model.refine_mask_pyramid": _AT_LEAST_0,
    "model.refine_articulation": _AT_LEAST_0,
    "model.batch_statistics": _SWITCH,
    "log.every_steps": _COUNT_OR_0,
    "log.panel_every_steps": _COUNT_OR_0,
    "log.panel_images": _COUNT,
    "log.hide_photographs": _SWITCH,
    "log.eval_every_steps": _COUNT_OR_0,
    "log.eval_minutes": _numbers(_POSITIVE),
    "checkpoint.every_steps": _COUNT_OR_0,
    "checkpoint.keep": _COUNT,
}
"""One rule for every key of `configs/base.py`, in its order."""


def check_config(config: ConfigDict) -> None:
    """Raises `SettingError` that names every key whose value cannot be used.

    Also for a key that this version does not have, or has and `config` lacks.
    """
    values = dict(_leaves(config))
    if missing := [key for key in RULES if key not in values]:
        raise SettingError(
            "expected a configuration of this version of pony_jax, got one without a key "
            f"({', '.join(missing)}); use the version that trained the run, or train anew"
        )
    if unknown := [key for key in values if key not in RULES]:
        raise SettingError(
            "expected a configuration of this version of pony_jax, got one with unknown keys "
            f"({', '.join(unknown)}); use the version that trained the run, or train anew"
        )
    wrong = [
        f"{key}: expected {rule.expected}, got {values[key]!r}"
        for key, rule in RULES.items()
        if not rule.accepts(values[key])
    ]
    wrong = wrong or list(_disagreements(config))
    if wrong:
        raise SettingError(f"configuration: {'; '.join(wrong)}")


def check_data(config: ConfigDict, token_shape: tuple[int, int], feature_dim: int) -> None:
    """Raises `SettingError` for values that do not suit the data set's tokens and features.

    Args:
      token_shape: side and channels of the token maps.
      feature_dim: channels of the pixels' features.
    """
    side, size = token_shape[0], config.data.image_size
    if side < 8 or side & (side - 1):
        raise SettingError(
            f"data.name: expected token maps of side 8, 16, 32, ..., got {side} x {side} in "
            f"{config.data.name}; extract the features with another --token_grid"
        )
    if config.model.silhouette_hidden and size % (2 * side):
        raise SettingError(
            f"data.image_size: expected a multiple of {2 * side}, twice the {side} tokens along a "
            f"side of {config.data.name}, got {size}; change it, extract with another "
            "--token_grid, or set model.silhouette_hidden and model.refine_steps to 0"
        )
    if config.model.feature_dim != feature_dim:
        raise SettingError(
            f"model.feature_dim: expected {feature_dim}, the channels of the features of "
            f"{config.data.name}, got {config.model.feature_dim}"
        )


def _disagreements(config: ConfigDict) -> Iterator[str]:
    """What is wrong between keys that are right each on its own."""
    data, model, loss, schedule = config.data, config.model, config.loss, config.schedule
    if data.batch_size % data.clip_frames:
        yield (
            f"data.batch_size: expected a multiple of data.clip_frames ({data.clip_frames}), since "
            f"clips come whole, got {data.batch_size}"
        )
    if loss.flow and data.clip_frames == 1:
        yield (
            f"loss.flow: expected 0 for single images, got {loss.flow}; flow is between the frames "
            "of a clip, so set data.clip_frames to 2 or more as well"
        )
    if loss.leg_gap and not model.num_legs:
        yield f"loss.leg_gap: expected 0 for an animal without legs, got {loss.leg_gap}"
    if model.refine_steps and not model.silhouette_hidden:
        yield (
            f"model.refine_steps: expected 0 without a silhouette head, got {model.refine_steps}; "
            "poses are refined against its silhouettes, so set model.silhouette_hidden as well"
        )
    if data.image_size * model.samples > 8192:
        yield (
            "model.samples: expected at most 8,192 samples along a side of the image, got "
            f"{model.samples} a pixel of {data.image_size}"
        )
    if model.articulation_kind == "mlp" and model.articulation_own_layers:
        yield (
            "model.articulation_own_layers: expected False for articulation_kind 'mlp', got True; "
            "only the kind 'attention' has layers of its own for each bone"
        )
    if model.articulation_kind == "attention" and model.hidden % model.articulation_heads:
        yield (
            f"model.articulation_heads: expected a divisor of model.hidden ({model.hidden}), got "
            f"{model.articulation_heads}"
        )
    if model.num_legs and not model.num_leg_bones:
        yield f"model.num_leg_bones: expected at least 1 for {model.num_legs} legs, got 0"
    attachments = model.leg_attachments
    if attachments and len(attachments) != model.num_legs:
        yield (
            f"model.leg_attachments: expected a bone for each of {model.num_legs} legs, or (), got "
            f"{tuple(attachments)}"
        )
    if any(bone >= model.num_body_bones for bone in attachments):
        yield (
            f"model.leg_attachments: expected body bones 0 to {model.num_body_bones - 1}, got "
            f"{tuple(attachments)}"
        )
    for first, last in (("uniform_until", "softmax_from"), ("best_from", "best_full")):
        if schedule[first] > schedule[last]:
            yield (
                f"schedule.{last}: expected at least schedule.{first} ({schedule[first]}), got "
                f"{schedule[last]}"
            )


def _leaves(node: ConfigDict | dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, ConfigDict | dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
