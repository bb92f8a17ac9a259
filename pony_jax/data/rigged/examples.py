"""Examples of a data set of rigged models: encoded pictures, and the truth about each.

The truth has the keys of `pony_jax.data.synthetic_quadruped` but `angles_rad` and `gait`, and in
their place:

| key       | type and shape | meaning |
|-----------|----------------|---|
| `model`   | int64          | index into `model_names` |
| `clip`    | int64          | index into the model's row of `clip_names` |
| `time_s`  | float32        | in that clip |

Where several models share a data set, the arrays of each are as long as those of the largest: rows
that a model has not repeat its last one. The template's arrays have a first axis over models; faces
that a model has not are (0, 0, 0), names that it has not are empty.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pony_jax.data import schema
from pony_jax.data.gltf_file import GltfError
from pony_jax.data.rigged.scene import Renderer, RiggedShot
from pony_jax.data.rigged.template import CHAINS, RiggedTemplate

SPLITS = ("train", "test")
_BATCH = 20  # images rendered together; part of what an image is, down to the last bit
_FRAMES_PER_SECOND = 30.0


def shared_arrays(templates: Sequence[RiggedTemplate]) -> dict[str, np.ndarray]:
    """What all examples share, for the template's file.

    `model_names [m]`, `verts [m,v,3]`, `faces [m,f,3]`, `weights [m,v,k]`, `bone_names [m,k]`,
    `bone_parents [m,k]`, `segments [m,k,2,3]`, `keypoint_names [n]`, `keypoints [m,n]`,
    `clip_names [m,c]`, and where the joints of all models are known, `chain_names [6]` and
    `chain_points [m,6,j]` (rows of `bones_posed.reshape(-1, 3)` along each chain).

    Raises `GltfError` where the models have different keypoints.
    """
    names = templates[0].keypoint_names
    for template in templates:
        if template.keypoint_names != names:
            raise GltfError(
                f"expected models of one kind of rig, got {templates[0].name} and {template.name} "
                "with different keypoints; make a data set of each"
            )
    arrays = {
        "model_names": np.array([template.name for template in templates]),
        "verts": _stacked([template.verts for template in templates]),
        "faces": _stacked([template.faces for template in templates], repeat=False),
        "weights": _stacked([_columns(t, templates) for t in templates], repeat=False),
        "bone_names": _named([template.bone_names for template in templates]),
        "bone_parents": _stacked([np.array(t.parents) for t in templates]),
        "segments": _stacked([template.segments for template in templates]),
        "keypoint_names": np.array(names),
        "keypoints": np.stack([template.keypoints for template in templates]),
        "clip_names": _named([template.poses.clip_names for template in templates]),
    }
    if all(template.chain_points is not None for template in templates):
        arrays["chain_names"] = np.array(CHAINS)
        points = [template.chain_points.T for template in templates]
        arrays["chain_points"] = _stacked(points).transpose(0, 2, 1)
    return arrays


def make_examples(
    templates: Sequence[RiggedTemplate],
    renderers: Sequence[Renderer],
    *,
    seed: int,
    split: str,
    count: int,
) -> Iterator[dict[str, Any]]:
    """The first `count` examples of a split, `id`, `image`, `mask`, `box` and `truth`; the models
    take turns.

    An example is a function of the models, the size, the seed, the split and its index alone.

    Args:
      renderers: of each template, from `make_renderer`.
    """
    waiting: dict[int, dict[str, Any]] = {}
    num_models = len(templates)
    key = jax.random.key(seed, impl="threefry2x32")  # whatever the process's default is
    split_key = jax.random.fold_in(key, SPLITS.index(split))
    sizes = (max(len(t.verts) for t in templates), max(len(t.segments) for t in templates))
    for first in range(0, count, _BATCH * num_models):
        for model, template in enumerate(templates):
            indices = first + model + num_models * np.arange(_BATCH)
            keys = jax.vmap(lambda index: jax.random.fold_in(split_key, index))(
                jnp.asarray(indices)
            )
            shot = jax.tree.map(np.asarray, renderers[model](keys))
            for row, index in enumerate(indices[indices < count].tolist()):
                one = jax.tree.map(lambda array, row=row: array[row], shot)
                waiting[index] = _encode(one, template, model, f"{split}_{index:05d}", sizes)
        yield from (waiting.pop(index) for index in sorted(waiting))


def _encode(
    shot: RiggedShot, template: RiggedTemplate, model: int, name: str, sizes: tuple[int, int]
) -> dict[str, Any]:
    size = shot.image.shape[0]
    num_verts, num_bones = sizes
    individual, poses = shot.individual, template.poses
    return {
        "id": name,
        "image": schema.encode_png(np.round(255.0 * shot.image).astype(np.uint8)),
        "mask": schema.encode_png(np.where(shot.mask, 255, 0).astype(np.uint8)),
        # The crop lies in the middle of a photograph twice as wide, so no part of it is outside.
        "box": np.array([0, size / 2, size / 2, size, size, 2 * size, 2 * size, 0], np.float32),
        "truth": {
            **shot.viewpoint._asdict(),
            "verts_rest": _longer(individual.verts_rest, num_verts).astype(np.float16),
            "verts_posed": _longer(individual.verts_posed, num_verts).astype(np.float16),
            "bones_rest": _longer(individual.bones_rest, num_bones),
            "bones_posed": _longer(individual.bones_posed, num_bones),
            "keypoints_px": shot.keypoints_px,
            "keypoints_visible": shot.keypoints_visible.astype(np.uint8),
            "light": np.concatenate(shot.light),
            "model": np.int64(model),
            "clip": np.int64(poses.clip[shot.pose]),
            "time_s": np.float32(poses.frame[shot.pose] / _FRAMES_PER_SECOND),
        },
    }


def _longer(rows: np.ndarray, num_rows: int, *, repeat: bool = True) -> np.ndarray:
    filling = rows[-1:] if repeat else np.zeros_like(rows[-1:])
    return np.concatenate([rows, np.repeat(filling, num_rows - len(rows), axis=0)])


def _stacked(arrays: Sequence[np.ndarray], *, repeat: bool = True) -> np.ndarray:
    longest = max(map(len, arrays))
    return np.stack([_longer(array, longest, repeat=repeat) for array in arrays])


def _columns(template: RiggedTemplate, templates: Sequence[RiggedTemplate]) -> np.ndarray:
    num_bones = max(len(t.segments) for t in templates)
    missing = num_bones - len(template.segments)
    return np.pad(template.weights, ((0, 0), (0, missing)))


def _named(names: Sequence[Sequence[str]]) -> np.ndarray:
    longest = max(map(len, names))
    return np.array([[*row, *[""] * (longest - len(row))] for row in names])
