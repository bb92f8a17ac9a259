"""Predicted bones against the true skeleton, where the two correspond.

The skeletons differ: the model's chains of bones are read off its mesh (`pony_jax.ops.bones`), the
true ones are an animal's (`pony_jax.data.synthetic.anatomy`). Chains correspond as follows, and the
true chain is cut into as many pieces of equal length as the model has bones in it:

| chain              | model                         | truth, joint by joint (synthetic animal) |
|--------------------|-------------------------------|---|
| `front`            | body bones, centre to head    | chest, neck_low, neck_high, head |
| `rear`             | body bones, centre to tail    | hips, tail_dock, tail_hair |
| `left_fore`, ...   | leg, hip to foot              | upper_arm .. fore_hoof, thigh .. hind_hoof |

Data sets of rendered glTF say which of their joints make these chains (`chain_points`).

The chains do not start in the same places (a model's leg hangs from its spine) and the model's are
straight at rest, so a bone may differ from its true piece by a constant: for each bone the smallest
rotation between the two mean directions, one for all images, is taken out. `still_error_deg` is
what a skeleton would get that never moves: a model that reads poses is below it.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from pony_jax.ops.bones import Skeleton

_TRUE_BODY = {
    "front": ("chest", "neck_low", "neck_high", "head"),
    "rear": ("hips", "tail_dock", "tail_hair"),
}
_TRUE_LEGS = {
    "fore": ("upper_arm", "forearm", "fore_cannon", "fore_hoof"),
    "hind": ("thigh", "gaskin", "hind_cannon", "hind_hoof"),
}
# Signs of x and z of the legs in the order of `Skeleton`; the animal's left is +x.
_LEG_SIGNS = ((1, 1), (1, -1), (-1, -1), (-1, 1))
_LEG_NAMES = {
    (1, 1): "left_fore",
    (1, -1): "left_hind",
    (-1, -1): "right_hind",
    (-1, 1): "right_fore",
}
_APART_DEG = 15.0
_LEAST_COSINE = 0.7

Chains = dict[str, Float[np.ndarray, "n j 3"]]
"""Joints of each chain, from the centre or hip outwards."""


def predicted_chains(
    bones: Float[np.ndarray, "n k 2 3"],
    skeleton: Skeleton,
    learned_from_true: Float[np.ndarray, "3 3"],
) -> Chains | None:
    """The model's chains under the truth's names, in axes of the true object frame.

    Where the change of frame is a half turn about y, front and rear, left and right change places.
    None where it is neither close to that nor to no turn at all: no bones correspond then.
    """
    x_sign, z_sign = (_sign(learned_from_true[i, i]) for i in (0, 2))
    if not x_sign or not z_sign:
        return None
    bones = bones @ learned_from_true
    half = skeleton.num_body_bones // 2
    ends = ("front", "rear") if z_sign > 0 else ("rear", "front")
    chains = {ends[0]: _joints(bones[:, :half]), ends[1]: _joints(bones[:, half : 2 * half])}
    for leg in range(skeleton.num_legs):
        first = skeleton.num_body_bones + leg * skeleton.num_leg_bones
        x, z = _LEG_SIGNS[leg]
        name = _LEG_NAMES[x * x_sign, z * z_sign]
        chains[name] = _joints(bones[:, first : first + skeleton.num_leg_bones])
    return chains


def chain_points(names: list[str]) -> dict[str, Int[np.ndarray, " j"]]:
    """Rows of the synthetic animal's `bones.reshape(-1, 3)` along each chain: heads of its bones
    and the tail of the last."""
    parts = dict(_TRUE_BODY)
    for side in ("left", "right"):
        for leg, leg_bones in _TRUE_LEGS.items():
            parts[f"{side}_{leg}"] = tuple(f"{side}_{bone}" for bone in leg_bones)
    rows = {chain: [names.index(bone) for bone in of_chain] for chain, of_chain in parts.items()}
    return {
        chain: np.array([2 * i for i in row] + [2 * row[-1] + 1]) for chain, row in rows.items()
    }


def true_chains(
    bones: Float[np.ndarray, "n k 2 3"],
    points: Mapping[str, Int[np.ndarray, " j"] | Int[np.ndarray, "n j"]],
) -> Chains:
    """The true chains as they are, joint by joint, object frame.

    Args:
      points: rows of each image's `bones.reshape(-1, 3)` along a chain, the same for all images or
        not; one that is repeated adds nothing.
    """
    ends = bones.reshape(len(bones), -1, 3)
    images = np.arange(len(bones))[:, None]
    return {chain: ends[images, np.atleast_2d(rows)] for chain, rows in points.items()}


def cut(joints: Float[np.ndarray, "n j 3"], num_bones: int) -> Float[np.ndarray, "n p 3"]:
    """The `num_bones` + 1 ends of pieces of equal length along each polyline."""
    length = np.linalg.norm(np.diff(joints, axis=1), axis=-1)
    along = np.concatenate([np.zeros((len(joints), 1)), np.cumsum(length, axis=1)], axis=1)
    shares = np.linspace(0, 1, num_bones + 1)
    return np.stack(
        [
            np.stack([np.interp(shares * at[-1], at, line[:, i]) for i in range(3)], axis=-1)
            for at, line in zip(along, joints, strict=True)
        ]
    )


def score_poses(
    predicted: Chains,
    true: Chains,
    pairs_seen: Mapping[str, Bool[np.ndarray, " n"]] | None = None,
) -> dict[str, Float[np.ndarray, " n"]]:
    """One number an image, degrees or shares.

    Args:
      pairs_seen: for `fore` and `hind` the images in which both hooves can be seen.

    Returns:
      for `front`, `rear` and `legs` (all four together): `<chain>_error_deg`, the angle between a
        predicted bone and the true piece, without the constant, mean over bones;
        `<chain>_still_error_deg`; and `<chain>_raw_error_deg`, with the constant;
      `leg_swing_error_deg`: error of the angle between foot-to-hip and the vertical in the plane
        of symmetry, less the leg's mean over all images, in prediction and truth: a constant
        difference between the skeletons drops out. `leg_swing_still_error_deg` accordingly;
      `share_leg_pairs_swapped`: of the pairs (fore, hind) whose true legs swing more than 15
        degrees apart, those where the model has the wrong leg in front; NaN without such a pair.
        It is 0.5 for a model that cannot tell left from right;
      `share_seen_leg_pairs_swapped`: the same of the pairs in `pairs_seen`, where that is given.
    """
    directions = {
        chain: (_directions(joints), _directions(cut(true[chain], joints.shape[1] - 1)))
        for chain, joints in predicted.items()
    }
    legs = [name for name in _LEG_NAMES.values() if name in predicted]
    groups = {"front": ["front"], "rear": ["rear"], "legs": legs}
    scores = {}
    for group, chains in groups.items():
        if not chains:
            continue
        ours = np.concatenate([directions[chain][0] for chain in chains], axis=1)
        truth = np.concatenate([directions[chain][1] for chain in chains], axis=1)
        still = np.broadcast_to(_unit(truth.mean(axis=0)), truth.shape)
        scores[f"{group}_error_deg"] = _angles_deg(_without_constant(ours, truth), truth).mean(1)
        scores[f"{group}_still_error_deg"] = _angles_deg(still, truth).mean(axis=1)
        scores[f"{group}_raw_error_deg"] = _angles_deg(ours, truth).mean(axis=1)
    if legs:
        scores |= _score_swings(
            {name: _swing_deg(predicted[name]) for name in legs},
            {name: _swing_deg(true[name]) for name in legs},
            pairs_seen,
        )
    return scores


def _without_constant(
    ours: Float[np.ndarray, "n p 3"], truth: Float[np.ndarray, "n p 3"]
) -> Float[np.ndarray, "n p 3"]:
    """Our directions, each bone turned so that its mean direction is the true one."""
    turned = ours.copy()
    for bone in range(ours.shape[1]):
        means = _unit(truth[:, bone].mean(axis=0)), _unit(ours[:, bone].mean(axis=0))
        if all(mean.any() for mean in means):
            turned[:, bone] = Rotation.align_vectors(*means)[0].apply(ours[:, bone])
    return turned


def _score_swings(
    ours: dict, truth: dict, pairs_seen: Mapping[str, np.ndarray] | None
) -> dict[str, Float[np.ndarray, " n"]]:
    error, still_error = [], []
    for name in ours:
        wanted = _wrap_deg(truth[name] - _mean_angle_deg(truth[name]))
        got = _wrap_deg(ours[name] - _mean_angle_deg(ours[name]))
        error.append(np.abs(_wrap_deg(got - wanted)))
        still_error.append(np.abs(wanted))
    pairs = {}
    for leg in _TRUE_LEGS:
        wanted, got = (
            _wrap_deg(swing[f"left_{leg}"] - swing[f"right_{leg}"]) for swing in (truth, ours)
        )
        pairs[leg] = np.where(np.abs(wanted) > _APART_DEG, wanted * got < 0, np.nan)
    scores = {
        "leg_swing_error_deg": np.mean(error, axis=0),
        "leg_swing_still_error_deg": np.mean(still_error, axis=0),
        "share_leg_pairs_swapped": _mean_of_known(list(pairs.values())),
    }
    if pairs_seen is not None:
        seen = [np.where(pairs_seen[leg], pair, np.nan) for leg, pair in pairs.items()]
        scores["share_seen_leg_pairs_swapped"] = _mean_of_known(seen)
    return scores


def _mean_of_known(values: list[Float[np.ndarray, " n"]]) -> Float[np.ndarray, " n"]:
    """The mean in each image of what is not NaN; NaN where all is."""
    num_known = np.sum(np.isfinite(values), axis=0)
    mean = np.nansum(values, axis=0) / np.maximum(num_known, 1)
    return np.where(num_known > 0, mean, np.nan)


def _joints(bones: Float[np.ndarray, "n p 2 3"]) -> Float[np.ndarray, "n j 3"]:
    """Joints from the centre outwards; the model's chains start at the far end."""
    bones = bones[:, ::-1]
    return np.concatenate([bones[:, :, 0], bones[:, -1:, 1]], axis=1)


def _directions(joints: Float[np.ndarray, "n j 3"]) -> Float[np.ndarray, "n p 3"]:
    return _unit(np.diff(joints.astype(np.float64), axis=1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _angles_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(np.sum(a * b, axis=-1), -1, 1)))


def _swing_deg(joints: Float[np.ndarray, "n j 3"]) -> Float[np.ndarray, " n"]:
    """0 = foot below the hip, positive = in front of it."""
    _, y, z = (joints[:, -1] - joints[:, 0]).T
    return np.degrees(np.arctan2(z, -y))


def _wrap_deg(angle: np.ndarray) -> np.ndarray:
    return (angle + 180) % 360 - 180


def _mean_angle_deg(angle: np.ndarray) -> float:
    radians = np.radians(angle)
    return float(np.degrees(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean())))


def _sign(cosine: float) -> int:
    """1 or -1 where an axis keeps or reverses its direction, else 0."""
    return int(np.sign(cosine)) if abs(cosine) > _LEAST_COSINE else 0
