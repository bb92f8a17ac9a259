"""One record of a data set as the arrays that batches are made of."""

import io
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image
from scipy import ndimage

from pony_jax.data.shards import DataError

_VALID_MARGIN = 0.02
"""Share of the photograph's crop, on each side, that does not count as inside the photograph."""


def decode_example(example: dict[str, Any], image_size: int) -> dict[str, Any]:
    """The compact form of one example at S = `image_size`, from a record of `schema`.

    | key               | type and shape    | meaning |
    |-------------------|-------------------|---|
    | `id`              | text              | |
    | `image`           | uint8 [S,S,3]     | |
    | `signed_distance` | float16 [S,S]     | units of S pixels, positive on the animal |
    | `valid_rows`      | bool [S]          | rows inside the photograph; `valid_columns` too |
    | `feature`         | uint8 [2,S,S,16]  | as stored, and mirrored |
    | `patch_key`       | float16 [2,T,T,d] | as stored, and mirrored; `patch_out` too |
    | `sequence`        | a dictionary      | of frames only: `name`, `frame`, and `flow` float16 |
    |                   |                   | [S,S,2], 0 where `flow_valid` bool [S,S] is not set |

    Raises `DataError` if it is corrupt, not finite, or shows no animal at this size.
    """
    size = (image_size, image_size)
    image = _open_image(example["image"], "image").convert("RGB")
    mask = _open_image(example["mask"], "mask").convert("L").resize(size, Image.Resampling.NEAREST)
    is_animal = np.asarray(mask) > 0.9 * 255
    if not is_animal.any():
        raise DataError(f"expected a mask with foreground, {example['id']!r} has none")
    _check_finite(example)
    _, x0, y0, width, height, full_width, full_height, _ = example["box"]
    sides = (example, example["flip"])
    sequence = example.get("sequence")
    return {
        "id": example["id"].decode(),
        "image": np.asarray(image.resize(size, Image.Resampling.BILINEAR)),
        "signed_distance": (signed_distance(is_animal) / image_size).astype(np.float16),
        "valid_rows": valid_extent(y0, height, full_height, image_size),
        "valid_columns": valid_extent(x0, width, full_width, image_size),
        "feature": np.stack([_resize_feature(side["feature"], image_size) for side in sides]),
        "patch_key": np.stack([side["patch_key"] for side in sides]),
        "patch_out": np.stack([side["patch_out"] for side in sides]),
    } | ({"sequence": decode_sequence(sequence, image_size)} if sequence else {})


def signed_distance(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Exact Euclidean distance in pixels of each pixel to the nearest one of the other kind.

    Positive on the animal, negative off it, never 0. A mask with one kind of pixel only counts as
    surrounded by the other kind (the original gets 1.8e19 there, which explodes its loss).
    Source: elliottwu/MagicPony@e4a8b20, its distance maps (mask == 1, mask == 0).
    """
    if mask.all() or not mask.any():
        padded = np.pad(mask, 1, constant_values=not mask.flat[0])
        return signed_distance(padded)[1:-1, 1:-1]
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return (inside - outside).astype(np.float32)


def valid_extent(
    start: float, length: float, full_length: float, size: int
) -> Bool[np.ndarray, " size"]:
    """Along one axis, which of the `size` pixels of a crop lie inside the photograph.

    The crop covers `start` .. `start + length` of a photograph of `full_length` pixels; a margin of
    2 % of the crop on each side of the photograph counts as outside. Source:
    elliottwu/MagicPony@e4a8b20, its valid mask (nearest sampling of the crop).
    """
    margin = int(length * _VALID_MARGIN)
    pixel = np.floor(np.arange(size) * (int(length) / size))
    position = int(start) + pixel
    return (position >= margin) & (position < int(full_length) - margin)


def _check_finite(example: dict[str, Any]) -> None:
    """Raises `DataError` for a number that would make a loss infinite or no number."""
    stored = {"box": example["box"]}
    for prefix, side in (("", example), ("flip/", example["flip"])):
        stored |= {f"{prefix}{key}": side[key] for key in ("patch_key", "patch_out")}
    for key, values in stored.items():
        if not np.isfinite(values).all():
            raise DataError(f"expected finite numbers in {key}, {example['id']!r} has others")


def decode_sequence(sequence: dict[str, Any], image_size: int) -> dict[str, Any]:
    """`sequence` of `decode_example`."""
    flow = sequence["flow"].astype(np.float32)
    is_known = (sequence["flow_valid"] > 0) & np.isfinite(flow).all(axis=-1, keepdims=True)
    flow, valid = np.where(is_known, flow, 0), is_known.astype(np.float32)
    flow, valid = (_resize_bilinear(array, image_size) for array in (flow, valid))
    # Known is what is made from known flow alone.
    valid = valid[..., 0] > 0.999
    return {
        "name": sequence["name"].decode(),
        "frame": sequence["frame"],
        "flow": np.where(valid[..., None], flow, 0).astype(np.float16),
        "flow_valid": valid,
    }


def _open_image(encoded: bytes, what: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except Exception as error:  # Pillow raises whatever a damaged file happens to cause
        raise DataError(f"expected a readable {what}, got a corrupt file ({error})") from error
    return image


def _resize_feature(
    feature: UInt8[np.ndarray, "p p c"], size: int
) -> UInt8[np.ndarray, "size size c"]:
    if feature.shape[0] == size:
        return feature
    return np.rint(_resize_bilinear(feature.astype(np.float32), size)).astype(np.uint8)


def _resize_bilinear(
    values: Float32[np.ndarray, "p p c"], size: int
) -> Float32[np.ndarray, "size size c"]:
    """Bilinear with half-pixel centres, borders clamped and no antialiasing, as the original."""
    return _stretch(_stretch(values, size, axis=0), size, axis=1)


def _stretch(
    values: Float32[np.ndarray, "..."], size: int, axis: int
) -> Float32[np.ndarray, "..."]:
    """Linear interpolation along one axis; without BLAS, whose threads would fight the loader's."""
    num_stored = values.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * num_stored / size - 0.5, 0, num_stored - 1)
    before = position.astype(int)
    weight = (position - before).astype(np.float32)
    low = np.take(values, before, axis)
    high = np.take(values, np.minimum(before + 1, num_stored - 1), axis)
    return low + (high - low) * weight.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
