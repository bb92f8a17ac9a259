"""Every value of every key: what cannot be used is refused in a line that names the key."""

import copy
import json
import math

import pytest
from ml_collections import ConfigDict

from configs import base, bird, cow, giraffe, horse, zebra
from pony_jax.model import build_model
from pony_jax.training.config_rules import RULES, check_config, check_data
from pony_jax.training.errors import SettingError


def _leaves(node: ConfigDict, prefix: str = "") -> dict[str, object]:
    leaves = {}
    for key, value in node.items():
        is_group = isinstance(value, ConfigDict)
        leaves |= _leaves(value, f"{prefix}{key}.") if is_group else {prefix + key: value}
    return leaves


_TEST = json.loads(horse.get_config("test").to_json())


def _with(key: str, value: object) -> ConfigDict:
    """The configuration `test` with one value of any type."""
    content = copy.deepcopy(_TEST)
    group, _, leaf = key.rpartition(".")
    (content[group] if group else content)[leaf] = value
    return ConfigDict(content)


KEYS = list(_leaves(base.get_config()))

# Right for some keys, wrong for most; each key has to refuse or take each without another error.
VALUES = [
    *(-1, 0, 1, 2, 3, 13, 2**31, 2**63, 10**400, True, None, "", "1", "nonsense", "a/../b", "\0"),
    *(-0.5, 0.0, 0.5, 2.0, 1e-30, 1e30, math.nan, math.inf, -math.inf, 1 + 2j, b"x"),
    *((), (1,), (1, 2), (1.0, 2.0, 3.0), (1, 2, 3), (0, 1, 2), [1, 2, 3], ("a",) * 3, (-1, -1, -1)),
    *((math.nan,) * 3, (None,), (0, 1, 2, 3), (8, 8, 8, 8), {1, 2}, object()),
]


def test_every_key_has_a_rule_and_every_rule_a_key() -> None:
    assert sorted(RULES) == sorted(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_value_is_taken_or_refused_by_its_key(key: str) -> None:
    refused = 0
    for value in VALUES:
        try:
            check_config(_with(key, value))
        except SettingError as error:
            refused += 1
            assert key in str(error) and "expected " in str(error), (value, error)
            assert "\n" not in str(error)
    # Each key takes the value that it has, and no key takes nearly all of them.
    assert refused > len(VALUES) / 2


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("seed", [-1, 2**32, 1.5, True, "1"]),
        ("num_steps", [0, -5, 2**31, 10.0]),
        ("start.share", [-0.1, 1.0, 1]),
        ("data.name", ["", "/etc", "../x", "a b", "a//b", "x/"]),
        ("data.image_size", [0, 7, 4097, 32.0]),
        ("data.batch_size", [0, -1, 1.0]),
        ("data.mirror_probability", [-0.01, 2, math.nan]),
        ("optimizer.prior_learning_rate", [-1e-3, math.nan, math.inf, "1e-3"]),
        ("optimizer.decay_from", [1.5, -0.5]),
        ("loss.mask", [-1.0, math.nan]),
        ("schedule.articulation_from", [-0.1, 8.0]),
        ("model.grid_extent", [(1, 2), (1, 2, 0), (1, 2, -3), (1, 2, "3"), 5.0, (1, 2, math.inf)]),
        ("model.coarse_resolution", [0, 13, -2, 1026, 12.0]),
        ("model.samples", [0, -1, 17, 2.5]),
        ("model.encoder_hidden", [0, 2, 6]),
        ("model.texture_layers", [0, 1]),
        ("model.num_legs", [1, 2, 3, 5, True, 4.0]),
        ("model.num_body_bones", [0, 1, 7]),
        ("model.fov_y_deg", [0, 180, -25]),
        ("model.hypotheses", ["", "cube", None]),
        ("model.leg_attachments", [(1,), (0, 1, 2, 8), (0, 1, 2, -1), "0"]),
        ("model.silhouette_hidden", [1, 3, -2]),
        ("log.every_steps", [-1, 1.0]),
        ("log.panel_images", [0]),
        ("log.eval_minutes", [(0,), (-1,), ("5",), 5.0]),
        ("checkpoint.keep", [0, -1, None]),
    ],
)
def test_values_beyond_what_a_key_takes(key: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(SettingError, match=f"{key}: expected .*, got "):
            check_config(_with(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2**32 - 1),
        ("num_steps", 1),
        ("data.batch_size", 1),
        ("data.name", "horse"),
        ("optimizer.prior_learning_rate", 0),
        ("optimizer.prior_learning_rate", 1),
        ("schedule.max_gain_at", 2.5),
        ("model.grid_extent", [1, 2.5, 3]),
        ("model.leg_attachments", [0, 4, 4, 0]),
        ("model.silhouette_hidden", 2),
        ("log.every_steps", 0),
        ("checkpoint.every_steps", 0),
        ("log.eval_minutes", [5, 2.5]),
        ("checkpoint.keep", 1),
        ("compilation_cache_dir", ""),
    ],
)
def test_values_at_the_edge_of_what_a_key_takes(key: str, value: object) -> None:
    check_config(_with(key, value))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.batch_size": 3, "data.clip_frames": 2}, r"data.batch_size: expected a multiple"),
        ({"loss.flow": 1.0}, r"loss.flow: expected 0 for single images, got 1.0"),
        (
            {"loss.leg_gap": 1.0, "model.num_legs": 0},
            r"loss.leg_gap: expected 0 for an animal without",
        ),
        ({"model.silhouette_hidden": 0}, r"model.refine_steps: expected 0 without a silhouette"),
        ({"model.samples": 16, "data.image_size": 1024}, r"model.samples: expected at most 8,192"),
        ({"model.articulation_kind": "mlp"}, r"own_layers: expected False for articulation_kind"),
        ({"model.articulation_heads": 3}, r"heads: expected a divisor of model.hidden \(16\)"),
        ({"model.num_leg_bones": 0}, r"model.num_leg_bones: expected at least 1 for 4 legs, got 0"),
        ({"model.leg_attachments": (1, 2)}, r"expected a bone for each of 4 legs, or \(\), got"),
        ({"model.leg_attachments": (0, 1, 2, 8)}, r"expected body bones 0 to 7, got \(0, 1, 2, 8"),
        ({"schedule.uniform_until": 0.5}, r"softmax_from: expected at least schedule.uniform_unti"),
        ({"schedule.best_from": 0.5}, r"schedule.best_full: expected at least schedule.best_from"),
    ],
)
def test_values_that_do_not_go_together(changes: dict[str, object], message: str) -> None:
    config = horse.get_config("test")
    for key, value in changes.items():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(SettingError, match=message):
        check_config(config)


def test_all_wrong_values_are_told_at_once() -> None:
    config = horse.get_config("test")
    config.model.samples = 0
    config.checkpoint.keep = 0
    with pytest.raises(SettingError, match=r"model.samples: .*, got 0; checkpoint.keep: .*, got 0"):
        check_config(config)


ALL_VARIANTS = [
    *(
        (horse, variant)
        for variant in ("", "photos", "photos_all_sides", "paper", "unified", "test")
    ),
    *((animal, variant) for animal in (bird, cow, giraffe, zebra) for variant in ("paper",)),
    *((animal, "unified") for animal in (bird, cow, giraffe, zebra)),
]


@pytest.mark.parametrize(("animal", "variant"), ALL_VARIANTS)
def test_every_variant_passes_also_as_it_is_stored(animal, variant) -> None:
    config = animal.get_config(variant)
    check_config(config)
    check_config(ConfigDict(json.loads(config.to_json())))


def test_keys_of_other_versions_are_named() -> None:
    config = horse.get_config("test")
    with config.unlocked():
        del config.model["hidden"]
    with pytest.raises(SettingError, match=r"without a key \(model.hidden\); use the version"):
        check_config(config)
    config = horse.get_config("test")
    with config.unlocked():
        config.model.wings = 2
    with pytest.raises(SettingError, match=r"with unknown keys \(model.wings\); use the version"):
        check_config(config)
    with pytest.raises(SettingError, match=r"without a key \(model.grid_scale, "):
        check_config(_with("model", 3))


@pytest.mark.parametrize(
    ("token_side", "image_size", "feature_dim", "message"),
    [
        (12, 24, 16, r"data.name: expected token maps of side 8, 16, 32, ..., got 12 x 12"),
        (4, 32, 16, r"got 4 x 4"),
        (8, 24, 16, r"data.image_size: expected a multiple of 16, twice the 8 tokens .* got 24"),
        (8, 32, 12, r"model.feature_dim: expected 12, .* got 16"),
    ],
)
def test_a_data_set_that_does_not_suit_is_refused(
    token_side: int, image_size: int, feature_dim: int, message: str
) -> None:
    config = horse.get_config("test")
    config.data.image_size = image_size
    with pytest.raises(SettingError, match=message):
        check_data(config, (token_side, 32), feature_dim)
    check_data(horse.get_config("test"), (8, 32), 16)


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith("model.")])
def test_what_the_rules_let_through_the_model_is_built_of(key: str) -> None:
    built = 0
    for value in VALUES:
        config = _with(key, value)
        try:
            check_config(config)
        except SettingError:
            continue
        build_model(config, (8, 32))
        built += 1
        if built == 5:
            break
