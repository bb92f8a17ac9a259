"""From shards on disk to batches for the model.

A split is read and decoded once, into arrays small enough to stay in memory; a batch is then a
gather from those arrays. Which examples a training batch holds, and which of them are mirrored, is
a pure function of seed and step, so a resumed run sees what it would have seen. Neither TensorFlow
nor PyTorch is imported.

A batch is a dictionary of float32 arrays, S = image_size:

| key                | shape       | meaning |
|--------------------|-------------|---|
| `image`            | [b,S,S,3]   | RGB 0..1, row 0 at the top |
| `mask`             | [b,S,S,1]   | 1 = animal, 0 = not |
| `valid`            | [b,S,S,1]   | 1 where the crop lies inside the photograph |
| `distance_inside`  | [b,S,S,1]   | distance to the nearest pixel off the animal, over S |
| `distance_outside` | [b,S,S,1]   | distance to the nearest pixel of the animal, over S |
| `feature`          | [b,S,S,16]  | PCA features 0..1 |
| `patch_key`        | [b,T,T,d]   | tokens |
| `patch_out`        | [b,T,T,d]   | tokens |
| `index`            | [b] int32   | position of the example in the split |

Batches of clips (`clip_frames` above 1) hold the frames of a clip in order, one clip after the
other, and two more arrays:

| key                | shape       | meaning |
|--------------------|-------------|---|
| `flow`             | [b,S,S,2]   | optical flow to the next frame, in units of `schema` |
| `flow_valid`       | [b,S,S,1]   | 1 where it is known |
"""

import dataclasses
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grain
import numpy as np
from absl import logging
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8
from PIL import Image
from scipy import ndimage

from pony_jax.data.shards import DataError, open_split

Batch = dict[str, np.ndarray]

_VALID_MARGIN = 0.02
"""Share of the photograph's crop, on each side, that does not count as inside the photograph."""

_NUM_EXAMPLES = 2**50
"""Length of the endless stream. Grain's own endless one is so long that it has no length in batches
of one; this one outlives every run, and a double, which Grain divides it in, holds it exactly."""


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What a split of n frames of sequences holds beside images (`schema`)."""

    name: Shaped[np.ndarray, " n"]  # texts
    frame: Int[np.ndarray, " n"]
    flow: Float[np.ndarray, "n s s 2"]  # float16, 0 where it is not known
    flow_valid: Bool[np.ndarray, "n s s"]


@dataclasses.dataclass(frozen=True)
class Split:
    """A decoded split of a data set, n examples; S = image_size, the first axis of the feature
    arrays' second dimension is 0 as stored, 1 mirrored."""

    image: UInt8[np.ndarray, "n s s 3"]
    signed_distance: Float[np.ndarray, "n s s"]  # float16, units of S px, positive on the animal
    valid_rows: Bool[np.ndarray, "n s"]
    valid_columns: Bool[np.ndarray, "n s"]
    feature: UInt8[np.ndarray, "n 2 s s 16"]
    patch_key: Float[np.ndarray, "n 2 t t d"]  # float16
    patch_out: Float[np.ndarray, "n 2 t t d"]  # float16
    index: Int[np.ndarray, " n"]
    ids: tuple[str, ...]
    skipped: int  # examples of the split that could not be used, each logged when it was read
    sequences: Sequences | None = None  # if the images are frames of sequences

    def __len__(self) -> int:
        return len(self.index)

    @property
    def image_size(self) -> int:
        return self.image.shape[1]

    @property
    def token_grid(self) -> int:
        return self.patch_key.shape[2]

    @property
    def token_dim(self) -> int:
        return self.patch_key.shape[-1]

    @property
    def num_bytes(self) -> int:
        """Memory held, in bytes."""
        held = vars(self) | (vars(self.sequences) if self.sequences else {})
        return sum(value.nbytes for value in held.values() if isinstance(value, np.ndarray))

    def clips(self, num_frames: int) -> Int[np.ndarray, "c frames"]:
        """Rows of the frames of every clip of `num_frames` consecutive frames, in order.

        Clips of one frame are the images. Longer ones start at every frame that enough others
        follow; a frame that could not be used ends a clip. Raises `DataError` if there is no clip.
        """
        if num_frames == 1:
            return np.arange(len(self))[:, None]
        if self.sequences is None:
            raise DataError(
                f"expected a data set of sequences with flow for clips of {num_frames} frames, got "
                "one of single images; set data.clip_frames to 1, or data.name to a data set with "
                "sequences, such as synthetic_quadruped/horse_sequences"
            )
        places = list(zip(self.sequences.name.tolist(), self.sequences.frame.tolist(), strict=True))
        row_of = {place: row for row, place in enumerate(places)}
        clips = [
            [row_of.get((name, frame + i), -1) for i in range(num_frames)] for name, frame in places
        ]
        whole = [clip for clip in clips if -1 not in clip]
        if not whole:
            raise DataError(
                f"expected sequences of at least {num_frames} consecutive frames, found none among "
                f"{len(self)} images; set data.clip_frames to fewer"
            )
        return np.array(whole)

    def gather(self, rows: Int[np.ndarray, " b"], mirrored: Bool[np.ndarray, " b"]) -> Batch:
        """The batch of the examples in `rows`, those marked in `mirrored` flipped left to right."""

        def pixels(stored: np.ndarray) -> np.ndarray:
            taken = stored[rows]
            taken[mirrored] = taken[mirrored, :, ::-1]
            return taken

        signed_distance = pixels(self.signed_distance).astype(np.float32)[..., None]
        columns = self.valid_columns[rows]
        columns[mirrored] = columns[mirrored, ::-1]
        valid = self.valid_rows[rows][:, :, None] & columns[:, None, :]
        side = mirrored.astype(np.int32)
        return {
            "image": _unit_range(pixels(self.image)),
            "mask": (signed_distance > 0).astype(np.float32),
            "valid": valid[..., None].astype(np.float32),
            "distance_inside": np.maximum(signed_distance, 0),
            "distance_outside": np.maximum(-signed_distance, 0),
            "feature": _unit_range(self.feature[rows, side]),
            "patch_key": self.patch_key[rows, side].astype(np.float32),
            "patch_out": self.patch_out[rows, side].astype(np.float32),
            "index": self.index[rows].astype(np.int32),
        }

    def gather_flow(self, rows: Int[np.ndarray, " b"], mirrored: Bool[np.ndarray, " b"]) -> Batch:
        """What a batch of clips has beside `gather`'s arrays; only where there are `sequences`."""
        flow = self.sequences.flow[rows].astype(np.float32)
        valid = self.sequences.flow_valid[rows]
        flow[mirrored] = flow[mirrored, :, ::-1] * np.float32([-1, 1])  # what went right goes left
        valid[mirrored] = valid[mirrored, :, ::-1]
        return {"flow": flow, "flow_valid": valid[..., None].astype(np.float32)}


def load_split(
    dataset_name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str],
    image_size: int,
    max_examples: int | None = None,
) -> Split:
    """Reads and decodes a whole split, images, masks and features resized to S = `image_size`.

    Reads `data_dir/dataset_name/VERSION`, the newest version there. An example that is corrupt, or
    whose mask is empty at this size, is skipped, logged and counted. `max_examples` keeps only the
    first ones. Raises `MissingDataError` if there is no such data set or split, `DataError` if its
    files are damaged, it is empty or none of its examples can be used.
    """
    records = open_split(dataset_name, split, data_dir)
    num_wanted = len(records) if max_examples is None else min(max_examples, len(records))
    if num_wanted == 0:
        raise DataError(
            f"expected examples in split {split!r} of data set {dataset_name!r} under {data_dir}, "
            "found none; build the data set again"
        )

    reasons: dict[int, str] = {}

    def read(position: int) -> dict[str, Any] | None:
        try:
            return _decode(records.read(position), image_size) | {"index": position}
        except DataError as error:
            reasons[position] = str(error)
            logging.warning("skipped example %d of %s/%s: %s", position, dataset_name, split, error)
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        examples = [example for example in pool.map(read, range(num_wanted)) if example]
    skipped = num_wanted - len(examples)
    if not examples:
        raise DataError(
            f"expected usable examples in split {split!r} of data set {dataset_name!r} under "
            f"{data_dir}, found {skipped} bad ones; the first: {reasons[min(reasons)]}"
        )
    if skipped:
        logging.warning(
            "%s/%s: %d examples skipped, %d left", dataset_name, split, skipped, len(examples)
        )
    ids = tuple(example.pop("id") for example in examples)
    frames = [example.pop("sequence") for example in examples if "sequence" in example]
    sequences = Sequences(**_stack(frames)) if frames else None
    return Split(**_stack(examples), ids=ids, skipped=skipped, sequences=sequences)


def _stack(examples: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows to columns; empties the rows on the way, so that memory holds little twice."""
    return {key: np.stack([example.pop(key) for example in examples]) for key in [*examples[0]]}


class TrainingBatches:
    """Endless shuffled batches; each epoch has its own order, and a batch may span two epochs."""

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        mirror_probability: float = 0.5,
        clip_frames: int = 1,
    ):
        """Shuffles clips of `clip_frames` consecutive frames, `batch_size` frames in a batch.

        All frames of a clip are mirrored, or none. Raises `ValueError` on a batch size below 1 or
        not of whole clips or a probability outside 0..1, `DataError` on a split without clips.
        """
        if batch_size < 1:
            raise ValueError(f"expected a batch size of at least 1, got {batch_size}")
        if clip_frames < 1 or batch_size % clip_frames:
            raise ValueError(
                f"expected a batch size of whole clips, got {batch_size} for clips of {clip_frames}"
                " frames; set data.batch_size to a multiple of data.clip_frames"
            )
        if not 0 <= mirror_probability <= 1:
            raise ValueError(f"expected a mirror probability in 0..1, got {mirror_probability}")
        clips = split.clips(clip_frames)
        num_clips = batch_size // clip_frames

        def assemble(chosen: np.ndarray, rng: np.random.Generator) -> Batch:
            rows = clips[chosen].reshape(-1)
            mirrored = np.repeat(rng.random(num_clips) < mirror_probability, clip_frames)
            batch = split.gather(rows, mirrored)
            return batch | split.gather_flow(rows, mirrored) if clip_frames > 1 else batch

        self._batches = (
            grain.MapDataset.range(len(clips))
            .seed(seed)
            .shuffle()
            .repeat(_NUM_EXAMPLES // len(clips))
            .batch(num_clips)
            .random_map(assemble)
        )

    def batch(self, step: int) -> Batch:
        """The batch of training step `step`, counted from 0."""
        return self._batches[step]

    def iterate(self, first_step: int = 0) -> Iterator[Batch]:
        """The batches from `first_step` on, made ahead of time by one background thread."""
        ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
        return iter(self._batches[first_step:].to_iter_dataset(ahead))


def evaluation_batches(split: Split, batch_size: int, *, mirrored: bool = False) -> Iterator[Batch]:
    """Every example once, in order; all as they are, or all mirrored.

    The last batch is filled up by repeating its last example; the extra key `real` (bool [b]) is
    False there.
    """
    if batch_size < 1:
        raise ValueError(f"expected a batch size of at least 1, got {batch_size}")
    for start in range(0, len(split), batch_size):
        rows = np.arange(start, start + batch_size)
        real = rows < len(split)
        batch = split.gather(np.minimum(rows, len(split) - 1), np.full(batch_size, mirrored))
        yield batch | {"real": real}


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


def _decode(example: dict[str, Any], image_size: int) -> dict[str, Any]:
    """The compact form of one example, as `Split` stacks it. Raises `DataError`."""
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
    } | ({"sequence": _decode_sequence(sequence, image_size)} if sequence else {})


def _check_finite(example: dict[str, Any]) -> None:
    """Raises `DataError` for a number that would make a loss infinite or no number."""
    stored = {"box": example["box"]}
    for prefix, side in (("", example), ("flip/", example["flip"])):
        stored |= {f"{prefix}{key}": side[key] for key in ("patch_key", "patch_out")}
    for key, values in stored.items():
        if not np.isfinite(values).all():
            raise DataError(f"expected finite numbers in {key}, {example['id']!r} has others")


def _decode_sequence(sequence: dict[str, Any], image_size: int) -> dict[str, Any]:
    """One row of `Sequences`."""
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


def _unit_range(stored: UInt8[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    return stored * np.float32(1 / 255)
