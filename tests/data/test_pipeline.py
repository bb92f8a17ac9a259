"""Splits and batches against the original's data set, and against bad input."""

import dataclasses
import functools
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pony_jax.data import decoding, pipeline, schema, shards
from pony_jax.data.example_cache import ExampleCache
from pony_jax.data.photograph_builder import PhotographBuilder

SIZES = {"image_size": 16, "feature_size": 8, "token_grid": 4, "token_dim": 3}


def _example(number, rng, *, image=None, mask=None):
    def features():
        return {
            "feature": rng.integers(0, 256, (8, 8, 16), np.uint8),
            "patch_key": rng.normal(size=(4, 4, 3)).astype(np.float16),
            "patch_out": rng.normal(size=(4, 4, 3)).astype(np.float16),
        }

    if mask is None:
        mask = np.zeros((16, 16, 1), np.uint8)
        mask[4:12, 2 : 6 + number % 8] = 255
    pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
    return {
        "id": f"photo{number:03d}",
        "image": schema.encode_png(pixels) if image is None else image,
        "mask": schema.encode_png(mask),
        "box": np.array([number, 3, 0, 100, 100, 90, 100, 0], np.float32),
        **features(),
        "flip": features(),
    }


def _write(data_dir, examples, name="toy"):
    builder = PhotographBuilder(
        name=name,
        data_dir=data_dir,
        sizes=SIZES | {"has_sequences": "sequence" in examples[0]},
        splits={"train": lambda: [(example["id"], example) for example in examples]},
        provenance={"backbone": "none"},
        projection={"mean": np.zeros(3)},
    )
    tfds.disable_progress_bar()
    builder.download_and_prepare()


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    _write(data_dir, [_example(number, rng) for number in range(7)])
    return pipeline.load_split("toy", "train", data_dir=data_dir, image_size=16)


def _stored(split, key, row, side):
    """A feature array of a decoded example; side 1 is that of the mirrored image."""
    (example,) = split.examples.take(split.index[[row]])
    return example[key][side]


def _tokens(split, rows, side):
    return np.stack([_stored(split, "patch_key", row, side) for row in rows]).astype(np.float32)


def test_batch_has_the_documented_arrays(split):
    batch = pipeline.TrainingBatches(split, batch_size=3, seed=0).batch(0)
    shapes = {key: (value.dtype.name, value.shape) for key, value in batch.items()}
    assert shapes == {
        "image": ("float32", (3, 16, 16, 3)),
        "mask": ("float32", (3, 16, 16, 1)),
        "valid": ("float32", (3, 16, 16, 1)),
        "distance_inside": ("float32", (3, 16, 16, 1)),
        "distance_outside": ("float32", (3, 16, 16, 1)),
        "feature": ("float32", (3, 16, 16, 16)),
        "patch_key": ("float32", (3, 4, 4, 3)),
        "patch_out": ("float32", (3, 4, 4, 3)),
        "index": ("int32", (3,)),
    }
    assert (split.token_grid, split.token_dim, split.image_size) == (4, 3, 16)


def test_distances_cover_the_image_once(split):
    batch = next(pipeline.evaluation_batches(split, 7))
    inside, outside = batch["distance_inside"] > 0, batch["distance_outside"] > 0
    np.testing.assert_array_equal(inside, batch["mask"] == 1)
    np.testing.assert_array_equal(outside, batch["mask"] == 0)


def test_batches_are_a_function_of_seed_and_step(split):
    first = pipeline.TrainingBatches(split, batch_size=3, seed=5)
    second = pipeline.TrainingBatches(split, batch_size=3, seed=5)
    resumed = second.iterate(first_step=4)
    for step in (4, 5, 6):
        batch, again = first.batch(step), next(resumed)
        for key in batch:
            np.testing.assert_array_equal(batch[key], again[key])
    other = pipeline.TrainingBatches(split, batch_size=3, seed=6)
    assert any((other.batch(s)["index"] != first.batch(s)["index"]).any() for s in range(5))


@pytest.mark.parametrize(
    ("examples", "batch_size"), [(7, 1), (1, 1), (1, 3), (2, 7), (7, 7), (7, 20)]
)
def test_any_batch_size_suits_any_number_of_examples(split, examples, batch_size):
    """Also batches of one, whose endless stream was once too long for Grain to count."""
    few = dataclasses.replace(split, index=split.index[:examples], ids=split.ids[:examples])
    batches = pipeline.TrainingBatches(few, batch_size=batch_size, seed=3)
    stream = batches.iterate(2)
    seen = []
    for step in range(2, 2 + 2 * examples):
        batch, again = batches.batch(step), next(stream)
        for key, value in batch.items():
            assert len(value) == batch_size
            np.testing.assert_array_equal(value, again[key])
        seen += batch["index"].tolist()
    assert set(seen) == set(range(examples))


def test_a_batch_may_be_one_clip(sequences):
    batches = pipeline.TrainingBatches(sequences, batch_size=2, seed=0, clip_frames=2)
    stream = batches.iterate()
    seen = [tuple(next(stream)["index"].tolist()) for _ in range(6)]
    assert set(seen) == {(2, 3), (4, 5), (5, 6)}


def test_every_epoch_holds_every_example_once_in_an_order_of_its_own(split):
    batches = pipeline.TrainingBatches(split, batch_size=7, seed=0)
    epochs = [batches.batch(step)["index"] for step in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_mirroring_flips_pixels_and_takes_the_stored_mirrored_features(split):
    rows = np.array([2, 5])
    plain = split.gather(rows, np.array([False, False]))
    mixed = split.gather(rows, np.array([False, True]))
    for key, value in plain.items():
        np.testing.assert_array_equal(mixed[key][0], value[0])
    for key in ("image", "mask", "valid", "distance_inside", "distance_outside"):
        np.testing.assert_array_equal(mixed[key][1], plain[key][1][:, ::-1])
    np.testing.assert_array_equal(
        mixed["patch_key"][1], _stored(split, "patch_key", 5, 1).astype(np.float32)
    )
    np.testing.assert_array_equal(
        mixed["feature"][1], _stored(split, "feature", 5, 1) * np.float32(1 / 255)
    )


def test_evaluation_can_mirror_every_image(split):
    for plain, mirrored in zip(
        pipeline.evaluation_batches(split, 3),
        pipeline.evaluation_batches(split, 3, mirrored=True),
        strict=True,
    ):
        np.testing.assert_array_equal(mirrored["real"], plain["real"])
        np.testing.assert_array_equal(mirrored["image"], plain["image"][:, :, ::-1])
        tokens = _tokens(split, plain["index"], 1)
        np.testing.assert_array_equal(mirrored["patch_key"], tokens)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_mirror_probability(split, probability):
    batches = pipeline.TrainingBatches(split, batch_size=7, seed=0, mirror_probability=probability)
    mirrored = []
    for step in range(20):
        batch = batches.batch(step)
        stored = _tokens(split, batch["index"], 1)
        mirrored.append((batch["patch_key"] == stored).all(axis=(1, 2, 3)))
    share = np.mean(mirrored)
    assert share == probability if probability != 0.5 else 0.35 < share < 0.65


def test_evaluation_covers_all_and_marks_padding(split):
    batches = list(pipeline.evaluation_batches(split, 3))
    assert [batch["real"].tolist() for batch in batches] == [
        [True] * 3,
        [True] * 3,
        [True, *[False] * 2],
    ]
    real = np.concatenate([batch["index"][batch["real"]] for batch in batches])
    np.testing.assert_array_equal(real, np.arange(7))
    assert (batches[-1]["index"] == 6).all()


def test_signed_distance_matches_the_original(golden):
    arrays = golden("model_07_data")
    masks, expected = arrays["dt/in/masks"][:, 0], arrays["dt/out"]
    for mask, (inside, outside) in zip(masks, expected, strict=True):
        if not np.isin(mask, (0, 1)).all():
            continue  # soft edges: ours are thresholded before
        distance = decoding.signed_distance(mask == 1)
        np.testing.assert_allclose(np.maximum(distance, 0), inside, atol=1e-5)
        np.testing.assert_allclose(np.maximum(-distance, 0), outside, atol=1e-5)


@pytest.mark.parametrize("value", [False, True])
def test_signed_distance_of_one_kind_of_pixel_is_finite(value):
    distance = decoding.signed_distance(np.full((5, 7), value))
    assert np.abs(distance).max() == 3  # the middle of 5 rows, to a border just beyond the image
    assert ((distance > 0) == value).all()


def test_valid_extent_matches_the_original(golden):
    arrays = golden("model_07_data")
    for size in (27, 32, 41):
        if f"validmask_{size}/out" not in arrays:
            continue
        for box, expected in zip(
            arrays["validmask/in/boxes"], arrays[f"validmask_{size}/out"], strict=True
        ):
            _, x0, y0, width, height, full_width, full_height, _ = box
            rows = decoding.valid_extent(y0, height, full_height, size)
            columns = decoding.valid_extent(x0, width, full_width, size)
            np.testing.assert_array_equal(rows[:, None] & columns, expected)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("item", range(5))
def test_examples_equal_the_original(golden_case, equals_original, item, mirrored):
    """From files to a batch, as the original's data set, which repeats frames (a quirk)."""
    arrays = golden_case("model_07_data", f"ds_single/item{item}_flip{int(mirrored)}")
    source = golden_case("model_07_data", "ds")
    stem = f"in/seq{arrays['seq_idx'][0]}_frame{arrays['frame_idx'][0]}"
    unread = {
        "feature": np.zeros((8, 8, 16), np.uint8),
        "patch_key": np.zeros((4, 4, 3), np.float16),
        "patch_out": np.zeros((4, 4, 3), np.float16),
    }
    example = {
        "id": b"photo",
        "image": schema.encode_png(source[f"{stem}/rgb"]),
        "mask": schema.encode_png(source[f"{stem}/mask"][..., None]),
        "box": source[f"{stem}/box"],
        **unread,
        "flip": unread,
    }
    size = source["cfg"]["in_image_size"]
    decoded = decoding.decode_example(example, size)
    split = pipeline.Split(
        ExampleCache(lambda _: decoded, 0), index=np.zeros(1, int), ids=("photo",), skipped=0
    )
    batch = split.gather(np.zeros(1, int), np.array([mirrored]))
    image = np.moveaxis(arrays["images"], 1, -1)
    equals_original("image", batch["image"], image, 1e-6)
    mask = arrays["masks"][:, 0] > 0.9
    equals_original("mask", batch["mask"][..., 0], mask, 0.0)
    equals_original("valid", batch["valid"][..., 0], arrays["mask_valid"], 0.0)
    # Distances are kept in float16, which is good to 2^-11 of them.
    distances = np.concatenate([batch["distance_inside"], batch["distance_outside"]], axis=-1)
    equals_original("distance", size * distances, np.moveaxis(arrays["mask_dt"], 1, -1), 5e-4)


FRAMES = [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 5), ("b", 6), ("b", 7), ("c", 0)]
"""Sequence and frame of each example; frame 1 of the first cannot be read."""


def _flow_of(number):
    """A flow that says which example it is of, and where it was before mirroring."""
    flow = np.zeros((16, 16, 2), np.float16)
    flow[:, :, 0], flow[:, :, 1] = np.arange(1, 17) / 64, number / 32
    return flow


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("sequences")
    rng = np.random.default_rng(0)
    examples = []
    for number, (name, frame) in enumerate(FRAMES):
        image = b"not an image" if (name, frame) == ("a", 1) else None
        valid = np.ones((16, 16, 1), np.uint8)
        valid[number] = 0
        flow = {"flow": _flow_of(number), "flow_valid": valid}
        example = _example(number, rng, image=image)
        examples.append(example | {"sequence": {"name": name, "frame": frame, **flow}})
    _write(data_dir, examples)
    return pipeline.load_split("toy", "train", data_dir=data_dir, image_size=16)


@pytest.mark.parametrize(
    ("num_frames", "wanted"),
    [
        (1, [[0], [2], [3], [4], [5], [6], [7]]),
        (2, [[2, 3], [4, 5], [5, 6]]),
        (3, [[4, 5, 6]]),
    ],
)
def test_clips_are_consecutive_frames_of_one_sequence(sequences, num_frames, wanted):
    assert sequences.index[sequences.clips(num_frames)].tolist() == wanted


def test_batches_of_clips_hold_frames_in_order_with_their_own_flow(sequences):
    batches = pipeline.TrainingBatches(
        sequences, batch_size=6, seed=0, mirror_probability=0.0, clip_frames=2
    )
    for step in range(4):  # three clips there are, so each batch is an epoch
        batch = batches.batch(step)
        pairs = batch["index"].reshape(3, 2)
        assert sorted(pairs.tolist()) == [[2, 3], [4, 5], [5, 6]]
        for row, number in enumerate(batch["index"]):
            known = np.arange(16) != number
            np.testing.assert_array_equal(
                batch["flow"][row], _flow_of(number) * known[:, None, None]
            )
            np.testing.assert_array_equal(batch["flow_valid"][row, :, 0, 0], known)
    assert (batch["flow"].dtype, batch["flow_valid"].dtype) == (np.float32, np.float32)


def test_single_images_come_as_from_a_data_set_without_sequences(sequences):
    kept = dataclasses.replace(sequences, frames=None)
    for step in range(3):
        plain, other = (
            pipeline.TrainingBatches(split, batch_size=3, seed=1).batch(step)
            for split in (sequences, kept)
        )
        assert "flow" not in plain and plain.keys() == other.keys()
        for key, value in plain.items():
            np.testing.assert_array_equal(value, other[key])


def test_a_clip_is_mirrored_whole_and_its_flow_turns_around(sequences):
    plain, mixed = (
        pipeline.TrainingBatches(
            sequences, batch_size=6, seed=0, mirror_probability=probability, clip_frames=2
        )
        for probability in (0.0, 0.5)
    )
    seen = set()
    for step in range(6):
        batch, before = mixed.batch(step), plain.batch(step)
        np.testing.assert_array_equal(batch["index"], before["index"])
        for clip in range(3):
            rows = slice(2 * clip, 2 * clip + 2)
            image, flow, valid = (batch[key][rows] for key in ("image", "flow", "flow_valid"))
            mirrored = not np.array_equal(image, before["image"][rows])
            seen.add(mirrored)
            turn = slice(None, None, -1 if mirrored else 1)
            np.testing.assert_array_equal(image, before["image"][rows][:, :, turn])
            np.testing.assert_array_equal(valid, before["flow_valid"][rows][:, :, turn])
            sign = np.array([-1.0 if mirrored else 1.0, 1.0])
            np.testing.assert_array_equal(flow, sign * before["flow"][rows][:, :, turn])
    assert seen == {False, True}


def test_at_a_smaller_size_flow_is_known_where_all_that_it_is_made_of_is():
    valid = np.zeros((16, 16, 1), np.uint8)
    valid[:, :9] = 1
    flow = np.full((16, 16, 2), 0.25, np.float16)
    frame = {"name": b"a", "frame": np.int64(0), "flow": flow, "flow_valid": valid}
    decoded = decoding.decode_sequence(frame, 8)
    # Pixel 4 is made of columns 8 and 9, of which the last is not known.
    np.testing.assert_array_equal(decoded["flow_valid"], np.tile(np.arange(8) < 4, (8, 1)))
    np.testing.assert_array_equal(decoded["flow"][:, :4], 0.25)
    np.testing.assert_array_equal(decoded["flow"][:, 4:], 0.0)


@pytest.mark.parametrize("item", ["item0_flip0", "item0_flip1", "item2_flip1", "item3_flip0"])
def test_flow_of_clips_equals_the_original(golden_case, equals_original, item):
    """From the flow of stored frames to that of a batch of two of them, resized and mirrored."""
    arrays, source = (
        golden_case("model_07_data", f"ds_pair/{item}"),
        golden_case("model_07_data", "ds"),
    )
    size, sequence = source["cfg"]["in_image_size"], arrays["seq_idx"][0]
    rows = []
    for frame in range(source["cfg"]["lens"][sequence]):
        # The original keeps -1..1 as 0..65535, x before y.
        stored = source[f"in/seq{sequence}_frame{frame}/flow"][..., :2] / 65535 * 2 - 1
        row = {
            "name": b"a",
            "frame": np.int64(frame),
            "flow": stored.astype(np.float16),
            "flow_valid": np.ones((*stored.shape[:2], 1), np.uint8),
        }
        rows.append(decoding.decode_sequence(row, size))
    unread = {
        "image": np.zeros((size, size, 3), np.uint8),
        "signed_distance": np.zeros((size, size), np.float16),
        "valid_rows": np.ones(size, bool),
        "valid_columns": np.ones(size, bool),
        **dict.fromkeys(("feature", "patch_key", "patch_out"), np.zeros((2, 1, 1, 1), np.float16)),
    }
    numbers = np.arange(len(rows))
    split = pipeline.Split(
        ExampleCache(lambda row: unread | {"sequence": rows[row]}, 0),
        index=numbers,
        ids=("",) * len(rows),
        skipped=0,
        frames=pipeline.Frames(np.array(["a"] * len(rows)), numbers),
    )
    clips = split.clips(2)
    (clip,) = clips[(clips == arrays["frame_idx"]).all(axis=1)]
    mirrored = np.full(2, item.endswith("flip1"))
    flow = split.gather(clip, mirrored, with_flow=True)["flow"]
    # Flow is kept in float16, which is good to 2^-11 of it, before and after the resizing.
    equals_original("flow", flow[:1], np.moveaxis(arrays["flows"], 1, -1), 1e-3)


def test_feature_resize_is_bilinear_with_half_pixel_centres():
    ramp = np.arange(0, 80, 10, dtype=np.uint8)
    feature = np.broadcast_to(ramp[None, :, None], (8, 8, 2))
    resized = decoding._resize_feature(feature, 16)
    inner = (np.arange(16) + 0.5) / 2 - 0.5
    expected = np.rint(10 * np.clip(inner, 0, 7))
    np.testing.assert_array_equal(resized, np.broadcast_to(expected[None, :, None], (16, 16, 2)))


def test_missing_data_set_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected data set 'toy'.*found none; build it"):
        pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=16)


def test_missing_split_lists_those_there_are(tmp_path):
    _write(tmp_path, [_example(0, np.random.default_rng(0))])
    with pytest.raises(FileNotFoundError, match=r"expected split 'val'.*found \['train'\]"):
        pipeline.load_split("toy", "val", data_dir=tmp_path, image_size=16)


def test_bad_examples_are_skipped_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    empty = np.zeros((16, 16, 1), np.uint8)
    good, corrupt, blank = (
        _example(0, rng),
        _example(1, rng, image=b"not an image"),
        _example(2, rng, mask=empty),
    )
    _write(tmp_path, [corrupt, good, blank])
    split = pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=16)
    assert (len(split), split.skipped, split.ids) == (1, 2, ("photo000",))
    assert split.index.tolist() == [1]

    _write(tmp_path, [corrupt, blank], name="all_bad")
    with pytest.raises(ValueError, match=r"expected usable examples .* found 2 bad ones"):
        pipeline.load_split("all_bad", "train", data_dir=tmp_path, image_size=16)


@pytest.mark.parametrize("key", ["box", "patch_key", "patch_out", "flip/patch_key"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_examples_with_numbers_that_are_not_finite_are_bad(key, value):
    example = _example(1, np.random.default_rng(0)) | {"id": b"photo"}
    side, _, name = key.rpartition("/")
    stored = example[side][name] if side else example[name]
    stored.flat[3] = value
    with pytest.raises(shards.DataError, match=f"finite numbers in {key}, b'photo' has others"):
        decoding.decode_example(example, 16)


def test_flow_that_is_no_number_is_not_known():
    flow = np.full((16, 16, 2), np.nan, np.float16)
    flow[:, 8:] = 0.25
    frame = {"name": b"a", "frame": np.int64(0), "flow": flow}
    decoded = decoding.decode_sequence(frame | {"flow_valid": np.ones((16, 16, 1), np.uint8)}, 16)
    np.testing.assert_array_equal(decoded["flow_valid"], np.tile(np.arange(16) >= 8, (16, 1)))
    np.testing.assert_array_equal(decoded["flow"][:, 8:], 0.25)
    np.testing.assert_array_equal(decoded["flow"][:, :8], 0)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A data set of thirty examples on disk, for tests that damage a copy of it."""
    data_dir = tmp_path_factory.mktemp("stored")
    rng = np.random.default_rng(0)
    _write(data_dir, [_example(number, rng) for number in range(30)])
    return data_dir


def _shard(folder):
    (shard,) = folder.glob("*.array_record*")
    return shard


def _cut(share):
    return lambda folder: os.truncate(_shard(folder), int(share * _shard(folder).stat().st_size))


def _swap(path):
    path.unlink()
    path.mkdir()


DAMAGED = {
    "no dataset_info": (lambda folder: (folder / "dataset_info.json").unlink(), "dataset_info"),
    "empty dataset_info": (lambda folder: os.truncate(folder / "dataset_info.json", 0), "dataset_"),
    "another dataset_info": (
        lambda folder: (folder / "dataset_info.json").write_text("[]"),
        "dataset_info",
    ),
    "binary dataset_info": (
        lambda folder: (folder / "dataset_info.json").write_bytes(b"\0\xff\xfe"),
        "dataset_info",
    ),
    "no features": (lambda folder: (folder / "features.json").unlink(), "features.json"),
    "empty features": (lambda folder: os.truncate(folder / "features.json", 0), "features.json"),
    "another features": (
        lambda folder: (folder / "features.json").write_text("{}"),
        "features.json",
    ),
    "no shard": (lambda folder: _shard(folder).unlink(), "toy-train.array_record"),
    "a folder for a shard": (lambda folder: _swap(_shard(folder)), "toy-train.array_record"),
    "empty shard": (_cut(0), "toy-train.array_record"),
    "a third of a shard": (_cut(1 / 3), "toy-train.array_record"),
    "half a shard": (_cut(1 / 2), "toy-train.array_record"),
    "a page instead of a shard": (
        lambda folder: _shard(folder).write_text("<html>not found</html>"),
        "toy-train.array_record",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_data_set_is_one_line_that_names_the_file(stored, tmp_path, kind):
    damage, named = DAMAGED[kind]
    folder = tmp_path / "toy" / "1.0.0"
    shutil.copytree(next((stored / "toy").iterdir()), folder)
    damage(folder)
    with pytest.raises(shards.DataError) as caught:
        pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=16)
    line = str(caught.value)
    assert named in line and str(folder) in line and "\n" not in line
    assert re.search("is missing or damaged .*; copy .* again, or delete .* and build", line)


def test_damaged_records_are_skipped_and_counted(stored, tmp_path, caplog):
    folder = tmp_path / "toy" / "1.0.0"
    shutil.copytree(next((stored / "toy").iterdir()), folder)
    content = bytearray(_shard(folder).read_bytes())
    whole = pipeline.load_split("toy", "train", data_dir=stored, image_size=16)
    # In the middle of the fourth record: its first half is the PNG of random pixels, stored plain.
    at = content.index(_stored(whole, "patch_key", 3, 0).tobytes())
    content[at] ^= 0xFF
    _shard(folder).write_bytes(content)
    split = pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=16)
    assert (len(split), split.skipped) == (29, 1)
    assert 3 not in split.index
    for side in (0, 1):
        kept = _tokens(whole, [row for row in range(30) if row != 3], side)
        np.testing.assert_array_equal(_tokens(split, range(29), side), kept)


def test_a_data_set_of_another_kind_is_refused_by_its_keys(stored, tmp_path):
    folder = tmp_path / "toy" / "1.0.0"
    shutil.copytree(next((stored / "toy").iterdir()), folder)
    features = json.loads((folder / "features.json").read_text())
    for key in ("mask", "flip"):
        del features["featuresDict"]["features"][key]
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(shards.DataError, match="found none for mask, flip; build it with"):
        pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=16)


def test_interrupted_writing_leaves_no_data_set(tmp_path):
    def interrupted():
        yield "a", _example(0, np.random.default_rng(0))
        raise OSError("no space left on device")

    builder = PhotographBuilder(
        name="toy",
        data_dir=tmp_path,
        sizes=SIZES,
        splits={"train": interrupted},
        provenance={},
        projection={},
    )
    with pytest.raises(OSError, match="no space left"):
        builder.download_and_prepare()
    with pytest.raises(FileNotFoundError, match="expected data set 'toy'"):
        pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=16)


@pytest.mark.parametrize("cache_bytes", [0, 100_000])
@pytest.mark.parametrize("clip_frames", [1, 2])
def test_batches_do_not_depend_on_how_much_stays_in_memory(
    stored, sequences, tmp_path, cache_bytes, clip_frames
):
    if clip_frames == 1:
        load = functools.partial(
            pipeline.load_split, "toy", "train", data_dir=stored, image_size=16
        )
        whole, partly = load(), load(cache_bytes=cache_bytes)
        assert partly.num_bytes <= cache_bytes < whole.num_bytes
    else:
        whole = sequences
        examples = ExampleCache(sequences.examples._read, cache_bytes)
        partly = dataclasses.replace(sequences, examples=examples)
    options = {"batch_size": 4, "seed": 2, "clip_frames": clip_frames}
    expected = pipeline.TrainingBatches(whole, **options)
    resumed = pipeline.TrainingBatches(partly, **options).iterate(first_step=5)
    for step in range(5, 20):
        batch, again = expected.batch(step), next(resumed)
        assert batch.keys() == again.keys()
        for key, value in batch.items():
            np.testing.assert_array_equal(again[key], value)


def _memory_of_reading(data_dir, count):
    """Bytes that stay and bytes at most, of opening and reading a data set of `count` examples."""
    gc.collect()
    tracemalloc.start()
    split = pipeline.load_split(
        f"n{count}", "train", data_dir=data_dir, image_size=64, cache_bytes=1_000_000
    )
    batches = pipeline.TrainingBatches(split, batch_size=4, seed=0)
    for step in range(count // 4):  # all examples
        batches.batch(step)
    assert split.num_bytes <= 1_000_000
    gc.collect()
    stays, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return stays, peak


def test_memory_does_not_grow_with_the_data_set(tmp_path):
    rng = np.random.default_rng(0)
    for count in (40, 240):
        _write(tmp_path, [_example(number, rng) for number in range(count)], name=f"n{count}")
    few, many = (_memory_of_reading(tmp_path, count) for count in (40, 240))
    # 200 more examples of 160 kB each would be 32 MB. What grows are their ids and positions, less
    # than 1 kB each; what threads happen to decode ahead is some examples more or less.
    for before, after in zip(few, many, strict=True):
        assert before > 1_000_000 - 160_000  # no other example has room
        assert after - before < 2_000_000


def test_a_record_damaged_after_loading_is_named(stored, tmp_path):
    folder = tmp_path / "toy" / "1.0.0"
    shutil.copytree(next((stored / "toy").iterdir()), folder)
    split = pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=16, cache_bytes=0)
    content = bytearray(_shard(folder).read_bytes())
    at = content.index(_stored(split, "patch_key", 3, 0).tobytes())
    content[at] ^= 0xFF
    _shard(folder).write_bytes(content)
    with pytest.raises(shards.DataError, match=r"expected a whole shard at .*toy-train"):
        split.gather(np.array([2, 3]), np.zeros(2, bool))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0, "seed": 0}, "batch size of at least 1"),
        ({"batch_size": 1, "seed": 0, "mirror_probability": 2.0}, "probability in 0..1"),
        (
            {"batch_size": 4, "seed": 0, "clip_frames": 2},
            r"expected a data set of sequences .* clips of 2 frames, got one of single images; set",
        ),
        ({"batch_size": 3, "seed": 0, "clip_frames": 2}, r"got 3 for clips of 2 frames; set data"),
        ({"batch_size": 3, "seed": 0, "clip_frames": 0}, r"got 3 for clips of 0 frames"),
    ],
)
def test_wrong_settings(split, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipeline.TrainingBatches(split, **arguments)


def test_sequences_that_are_too_short_are_told(sequences):
    with pytest.raises(ValueError, match=r"sequences of at least 4 .* found none among 7 images"):
        pipeline.TrainingBatches(sequences, batch_size=4, seed=0, clip_frames=4)


@pytest.mark.slow
def test_reading_needs_neither_tensorflow_nor_pytorch():
    code = (
        "import sys, pony_jax.data.pipeline; "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
