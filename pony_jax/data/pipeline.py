"""From shards on disk to batches for the model.

Examples are decoded when a batch needs them, and those that were read first stay in memory, up to a
stated size. Which examples a training batch holds, and which of them are mirrored, is
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
import functools
import os
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import logging
from jaxtyping import Bool, Float32, Int, Shaped, UInt8

from pony_jax.data.decoding import decode_example
from pony_jax.data.example_cache import ExampleCache
from pony_jax.data.shards import DataError, open_split

Batch = dict[str, np.ndarray]

_NUM_EXAMPLES = 2**50
"""Length of the endless stream. Grain's own endless one is so long that it has no length in batches
of one; this one outlives every run, and a double, which Grain divides it in, holds it exactly."""


CACHE_BYTES = 2 * 2**30
"""Memory for decoded examples of a split; those beyond it are decoded each time."""


@dataclasses.dataclass(frozen=True)
class Frames:
    """Where the n images of a split lie in sequences."""

    name: Shaped[np.ndarray, " n"]  # texts
    frame: Int[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Split:
    """The n usable examples of a split of a data set; S = image_size."""

    examples: ExampleCache
    index: Int[np.ndarray, " n"]  # positions in the split
    ids: tuple[str, ...]
    skipped: int  # examples of the split that could not be used, each logged when it was read
    frames: Frames | None = None  # if the images are frames of sequences

    def __len__(self) -> int:
        return len(self.index)

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        (example,) = self.examples.take(self.index[:1])
        return {key: value.shape for key, value in example.items() if hasattr(value, "shape")}

    @property
    def image_size(self) -> int:
        return self._shapes["image"][0]

    @property
    def feature_dim(self) -> int:
        return self._shapes["feature"][-1]

    @property
    def token_grid(self) -> int:
        return self._shapes["patch_key"][1]

    @property
    def token_dim(self) -> int:
        return self._shapes["patch_key"][-1]

    @property
    def num_bytes(self) -> int:
        """Memory that decoded examples take, in bytes; it does not grow once it is full."""
        return self.examples.num_bytes

    def clips(self, num_frames: int) -> Int[np.ndarray, "c frames"]:
        """Rows of the frames of every clip of `num_frames` consecutive frames, in order.

        Clips of one frame are the images. Longer ones start at every frame that enough others
        follow; a frame that could not be used ends a clip. Raises `DataError` if there is no clip.
        """
        if num_frames == 1:
            return np.arange(len(self))[:, None]
        if self.frames is None:
            raise DataError(
                f"expected a data set of sequences with flow for clips of {num_frames} frames, got "
                "one of single images; set data.clip_frames to 1, or data.name to a data set with "
                "sequences, such as synthetic_quadruped/horse_sequences"
            )
        places = list(zip(self.frames.name.tolist(), self.frames.frame.tolist(), strict=True))
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

    def gather(
        self,
        rows: Int[np.ndarray, " b"],
        mirrored: Bool[np.ndarray, " b"],
        *,
        with_flow: bool = False,
    ) -> Batch:
        """The batch of the examples in `rows`, those marked in `mirrored` flipped left to right.

        `with_flow`, only of a split with `frames`, adds what a batch of clips has. Raises
        `DataError` if a record has been damaged since the split was loaded.
        """
        examples = self.examples.take(self.index[rows])
        side = mirrored.astype(np.int32)

        def pixels(taken: Shaped[np.ndarray, "b s s *c"]) -> Shaped[np.ndarray, "b s s *c"]:
            taken[mirrored] = taken[mirrored, :, ::-1]
            return taken

        def stacked(key: str) -> np.ndarray:
            return np.stack([example[key] for example in examples])

        def of_side(key: str) -> np.ndarray:
            return np.stack([e[key][s] for e, s in zip(examples, side, strict=True)])

        signed_distance = pixels(stacked("signed_distance")).astype(np.float32)[..., None]
        columns = stacked("valid_columns")
        columns[mirrored] = columns[mirrored, ::-1]
        valid = stacked("valid_rows")[:, :, None] & columns[:, None, :]
        batch = {
            "image": _unit_range(pixels(stacked("image"))),
            "mask": (signed_distance > 0).astype(np.float32),
            "valid": valid[..., None].astype(np.float32),
            "distance_inside": np.maximum(signed_distance, 0),
            "distance_outside": np.maximum(-signed_distance, 0),
            "feature": _unit_range(of_side("feature")),
            "patch_key": of_side("patch_key").astype(np.float32),
            "patch_out": of_side("patch_out").astype(np.float32),
            "index": self.index[rows].astype(np.int32),
        }
        if not with_flow:
            return batch
        sequences = [example["sequence"] for example in examples]
        flow = np.stack([sequence["flow"] for sequence in sequences]).astype(np.float32)
        flow = pixels(flow)
        flow[mirrored] *= np.float32([-1, 1])  # what went right goes left
        flow_valid = pixels(np.stack([sequence["flow_valid"] for sequence in sequences]))
        return batch | {"flow": flow, "flow_valid": flow_valid[..., None].astype(np.float32)}


def load_split(
    dataset_name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str],
    image_size: int,
    max_examples: int | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Split:
    """Opens a split, images, masks and features resized to S = `image_size`.

    Reads `data_dir/dataset_name/VERSION`, the newest version there. Every example is read once: one
    that is corrupt, or whose mask is empty at this size, is skipped, logged and counted.
    `max_examples` keeps only the first ones. Decoded examples take at most `cache_bytes` of memory;
    those that find no room are decoded again when a batch needs them. Raises `MissingDataError` if
    there is no such data set or split, `DataError` if its files are damaged, it is empty or none of
    its examples can be used.
    """
    records = open_split(dataset_name, split, data_dir)
    num_wanted = len(records) if max_examples is None else min(max_examples, len(records))
    if num_wanted == 0:
        raise DataError(
            f"expected examples in split {split!r} of data set {dataset_name!r} under {data_dir}, "
            "found none; build the data set again"
        )
    examples = ExampleCache(
        lambda position: decode_example(records.read(position), image_size), cache_bytes
    )
    index, facts, first_reason = [], [], ""
    for position, fact in enumerate(examples.survey(num_wanted, _facts)):
        if isinstance(fact, DataError):
            logging.warning("skipped example %d of %s/%s: %s", position, dataset_name, split, fact)
            first_reason = first_reason or str(fact)
        else:
            index.append(position)
            facts.append(fact)
    skipped = num_wanted - len(index)
    if not index:
        raise DataError(
            f"expected usable examples in split {split!r} of data set {dataset_name!r} under "
            f"{data_dir}, found {skipped} bad ones; the first: {first_reason}"
        )
    if skipped:
        logging.warning(
            "%s/%s: %d examples skipped, %d left", dataset_name, split, skipped, len(index)
        )
    ids, names, numbers = zip(*facts, strict=True)
    frames = None if names[0] is None else Frames(np.array(names), np.array(numbers))
    return Split(examples, np.array(index), ids, skipped, frames)


def _facts(example: dict[str, Any]) -> tuple[str, str | None, int | None]:
    """What has to be known of every example: id, sequence and frame."""
    sequence = example.get("sequence", {})
    return example["id"], sequence.get("name"), sequence.get("frame")


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
            return split.gather(rows, mirrored, with_flow=clip_frames > 1)

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


def _unit_range(stored: UInt8[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    return stored * np.float32(1 / 255)
