"""From photographs to a data set on disk, with a backbone that needs no network."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import flags
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn comes with the extra 'extract'")

from pony_jax import extract
from pony_jax.data import (
    keypoints,
    layouts,
    mask_files,
    photograph_builder,
    photographs,
    pipeline,
    rendered_folder,
    synthetic_quadruped,
)
from pony_jax.data.shards import dataset_directory
from pony_jax.errors import UserError
from pony_jax.features import extraction_job, reused_projections, shard_job, token_reader
from pony_jax.features.backbones import Tokens
from pony_jax.features.extraction import FeatureSizes
from tests.data import rendered_examples

SIZES = FeatureSizes(feature_size=16, feature_dim=16, token_grid=4, token_dim=6)


class _Pixels:
    """Tokens are random linear maps of the pixels of each cell."""

    name, image_size, weights_sha256 = "pixels", 32, "0" * 64

    def __call__(self, image):
        maps = np.random.default_rng(0).normal(size=(2, 48, 20))
        cells = image.reshape(8, 4, 8, 4, 3).swapaxes(1, 2).reshape(8, 8, 48) / 255
        return Tokens(cells @ maps[0], cells @ maps[1])


def _make_photographs(folder, count):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(count):
        pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
        mask = np.zeros((40, 60), np.uint8)
        mask[8:32, 10 : 45 - number % 5] = 255
        Image.fromarray(pixels).save(folder / "images" / f"p{number:02d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{number:02d}.png")
    return photographs.find_pairs(folder / "images", folder / "masks")


def _extract(found, data_dir, **changed):
    settings = {
        "dataset": "toy",
        "backbone_name": "pixels",
        "weights": None,
        "image_size": 24,
        "sizes": SIZES,
        "pca_photographs": 5,
    }
    return extraction_job.extract(found, data_dir=data_dir, **settings | changed)


def _stored_examples(data_dir, dataset):
    builder = tfds.builder_from_directory(dataset_directory(dataset, data_dir))
    splits = [builder.as_data_source(split) for split in builder.info.splits]
    return {example["id"].decode(): example for split in splits for example in split}


@pytest.fixture(autouse=True)
def _pixel_backbone(monkeypatch):
    monkeypatch.setattr(extraction_job, "load_backbone", lambda name, weights: _Pixels())


def test_photographs_become_a_data_set(tmp_path):
    found = _make_photographs(tmp_path, 12)
    found[3].image_path.write_bytes(b"corrupt")
    said = []
    folder = _extract(found, tmp_path / "tfds", say=said.append)
    assert len(said) == 1 and said[0].startswith("11 photographs: about ")
    assert "p03: expected" in (folder / "report.html").read_text()
    train, test = (
        pipeline.load_split("toy", name, data_dir=tmp_path / "tfds", image_size=24)
        for name in ("train", "test")
    )
    assert test.ids == ("p00", "p10")
    assert train.ids == tuple(f"p{number:02d}" for number in (1, 2, 4, 5, 6, 7, 8, 9, 11))
    assert (train.token_grid, train.token_dim) == (4, 6)
    provenance = json.loads((folder / "extraction.json").read_text())
    assert provenance["backbone"] == "pixels"
    assert len(provenance["skipped"]) == 1 and "p03" in provenance["skipped"][0]
    stored = np.load(folder / "projection.npz")
    assert stored["feature/basis"].shape == (20, 16)
    assert stored["patch_out/mean"].shape == (20,)

    shares = provenance["explained_variance"]
    assert [len(shares[name]) for name in ("feature", "patch_key", "patch_out")] == [16, 6, 6]
    assert all(0 < sum(each) <= 1.001 for each in shares.values())  # rounded to four digits


def test_projections_of_another_data_set_make_its_features(tmp_path):
    """Its own photographs have the features that they had, whatever they are beside."""
    found = _make_photographs(tmp_path, 12)
    first = _extract(found, tmp_path)
    again = reused_projections.read_projections("toy", tmp_path)
    by_folder = reused_projections.read_projections(first, tmp_path / "elsewhere")
    assert (again.folder, again.sha256) == (first, by_folder.sha256)
    all_to_test = [photograph._replace(split="test") for photograph in found[5:]]
    folder = _extract(all_to_test, tmp_path, dataset="more", projections=again)
    old, new = (_stored_examples(tmp_path, name) for name in ("toy", "more"))
    assert len(new) == 7
    for name, example in new.items():
        for key in ("feature", "patch_key", "patch_out"):
            np.testing.assert_array_equal(example[key], old[name][key])
    ours, theirs = (dict(np.load(each / "projection.npz")) for each in (folder, first))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():  # the foreground classifier too: no photograph is for training
        np.testing.assert_array_equal(value, theirs[key])
    provenance = json.loads((folder / "extraction.json").read_text())
    assert provenance["projections_of"] == "toy/1.0.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, "expected the backbone pixels, since .* were fitted to it, got other"),
        ({"weights_sha256": "1" * 64}, "expected weights with the SHA-256 000"),
        ({"token_grid": 8}, "expected a --token_grid of 4, since .* got 8; leave it to"),
        ({"token_dim": 7}, "expected a --token_dim of 6, since .* got 7"),
    ],
)
def test_projections_of_something_else_are_refused_in_one_line(stored_projections, change, message):
    backbone, sizes = _Pixels(), SIZES
    for name, value in change.items():
        if hasattr(sizes, name):
            sizes = dataclasses.replace(sizes, **{name: value})
        else:
            setattr(backbone, name, value)
    with pytest.raises(UserError, match=message) as caught:
        stored_projections.extractor(backbone, sizes)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def stored_projections(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction_job, "load_backbone", lambda *_: _Pixels())
        _extract(_make_photographs(folder, 4), folder)
    return reused_projections.read_projections("toy", folder)


def test_data_sets_without_projections_are_refused_in_one_line(stored_projections, tmp_path):
    with pytest.raises(FileNotFoundError, match="--projections: expected a data set, found none"):
        reused_projections.read_projections("nothing", tmp_path)
    folder = tmp_path / "toy" / "1.0.0"
    shutil.copytree(stored_projections.folder, folder)
    (folder / "projection.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"one is damaged .* extract that data set again"):
        reused_projections.read_projections("toy", tmp_path)
    (folder / "projection.npz").unlink()
    with pytest.raises(UserError, match=r"found no projection\.npz; give a data set"):
        reused_projections.read_projections(tmp_path / "toy", tmp_path / "elsewhere")


def test_tokens_without_pca_are_the_backbones(tmp_path):
    found = _make_photographs(tmp_path, 3)
    sizes = dataclasses.replace(SIZES, token_dim=0)
    folder = _extract(found, tmp_path, sizes=sizes)
    crop = photographs.read_crop(found[1]).image
    tokens = token_reader.backbone_tokens(_Pixels(), crop)
    example = _stored_examples(tmp_path, "toy")["p01"]
    for name, expected in (("patch_key", tokens.key), ("patch_out", tokens.out)):
        pooled = token_reader.pool(expected, 4).astype(np.float16)
        np.testing.assert_array_equal(example[name], pooled)
    stored = np.load(folder / "projection.npz")
    assert not [name for name in stored if name.startswith("patch")]
    # The next data set has none either, and as many channels.
    more = reused_projections.read_projections("toy", tmp_path)
    assert more.sizes.token_dim == 20
    for name, asked in (("more", more.sizes), ("yet_more", sizes)):
        _extract(found, tmp_path, dataset=name, sizes=asked, projections=more)
        np.testing.assert_array_equal(
            _stored_examples(tmp_path, name)["p01"]["patch_out"], example["patch_out"]
        )


def test_tokens_without_pca_must_be_of_one_width(tmp_path):
    class Uneven(_Pixels):
        def __call__(self, image):
            key, out = super().__call__(image)
            return Tokens(key, out[..., :9])

    sizes = dataclasses.replace(SIZES, token_dim=0)
    crop = photographs.read_crop(_make_photographs(tmp_path, 2)[1])
    with pytest.raises(UserError, match="for --token_dim=0, got pixels with 20 and 9; ask for"):
        extraction_job.fit_extractor(Uneven(), sizes, [(crop.image, crop.mask)])


def test_mirrored_features_are_those_of_the_mirrored_crop(tmp_path):
    found = _make_photographs(tmp_path, 6)
    _extract(found, tmp_path / "tfds")
    split = pipeline.load_split("toy", "train", data_dir=tmp_path / "tfds", image_size=16)
    # The animal's pixels are where the mirrored mask is ...
    examples = split.examples.take(split.index)
    feature, keys = (np.stack([e[key] for e in examples]) for key in ("feature", "patch_key"))
    plain, mirrored = (feature[:, side].any(axis=-1) for side in (0, 1))
    assert (plain[:, :, ::-1] == mirrored).mean() > 0.97
    # ... but this backbone sees a mirrored cell differently.
    assert np.abs(keys[:, 0, :, ::-1] - keys[:, 1]).max() > 0.1


class _Counting(_Pixels):
    """Counts what it looks at, and stops like Ctrl+C before one of the looks."""

    def __init__(self, last=10**9):
        self.count, self._last = 0, last

    def __call__(self, image):
        if self.count == self._last:
            raise KeyboardInterrupt
        self.count += 1
        return super().__call__(image)


def _contents(folder):
    """Bytes of what a data set consists of, without the page about it."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "report.html"}


def test_an_interrupted_extraction_goes_on_and_makes_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_job, "shard_ranges", lambda n: map(range, *_bounds(n, 3)))
    found = _make_photographs(tmp_path, 12)  # 10 for training, in 4 shards, 2 for testing
    whole = _Counting()
    monkeypatch.setattr(extraction_job, "load_backbone", lambda *_: whole)
    expected = _contents(_extract(found, tmp_path / "whole"))
    assert len([name for name in expected if "array_record" in name]) == 5
    # 2 looks for the estimate, 5 for the PCA, 30 for the foreground; then 2 a photograph.
    assert whole.count == 2 + 5 + 30 + 24
    data_dir = tmp_path / "again"
    # In the estimate; in the fit; in the third shard; in it again; in the test's shard, its last.
    for stop in (1, 20, 37 + 13, 2 + 5, 2 + 11):
        backbone = _Counting(stop)
        monkeypatch.setattr(extraction_job, "load_backbone", lambda *_, b=backbone: b)
        with pytest.raises(KeyboardInterrupt):
            _extract(found, data_dir)
        assert not (data_dir / "toy" / "1.0.0").exists()
        for partial in data_dir.glob("toy/unfinished/*.partial"):
            partial.write_bytes(b"what a lost process has left")
    last, said = _Counting(), []
    monkeypatch.setattr(extraction_job, "load_backbone", lambda *_: last)
    folder = _extract(found, data_dir, say=said.append)
    assert _contents(folder) == expected
    assert said[1] == f"going on with the unfinished work in {data_dir / 'toy' / 'unfinished'}"
    assert not (data_dir / "toy" / "unfinished").exists()
    assert last.count == 2 + 2 * 2  # only the two photographs for testing were left


def _bounds(count, size):
    starts = range(0, count, size)
    return starts, [min(start + size, count) for start in starts]


def test_unfinished_work_on_other_photographs_is_not_used(tmp_path, monkeypatch):
    found = _make_photographs(tmp_path, 6)
    monkeypatch.setattr(extraction_job, "load_backbone", lambda *_: _Counting(2 + 5 + 15 + 3))
    with pytest.raises(KeyboardInterrupt):
        _extract(found, tmp_path)
    monkeypatch.setattr(extraction_job, "load_backbone", lambda *_: _Pixels())
    said = []
    Image.new("RGB", (60, 40), (200, 30, 30)).save(found[1].image_path)
    folder = _extract(found, tmp_path, say=said.append)
    assert len(said) == 1
    anew = _extract(found, tmp_path / "anew")
    assert _contents(folder) == _contents(anew)


@pytest.mark.slow
def test_processes_and_kills_do_not_change_a_byte(tmp_path):
    """The command itself: by one process, and by two that are killed and started again."""
    _make_photographs(tmp_path, 70)
    command = [sys.executable, "-m", "pony_jax.extract", "--dataset=toy", "--token_grid=4"]
    command += [f"--images={tmp_path / 'images'}", f"--masks={tmp_path / 'masks'}"]
    command += ["--token_dim=8", "--image_size=32", "--input_size=64", "--pca_photographs=9"]

    def run(name, *flags):
        done = subprocess.run(
            [*command, f"--data_dir={tmp_path / name}", *flags],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return _contents(tmp_path / name / "toy" / "1.0.0")

    expected = run("one")
    killed = subprocess.Popen(
        [*command, f"--data_dir={tmp_path / 'killed'}", "--num_workers=2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    unfinished = tmp_path / "killed" / "toy" / "unfinished"
    while killed.poll() is None and not list(unfinished.glob("*.json")):
        time.sleep(0.02)
    assert killed.poll() is None  # it was not over, nor had it failed
    killed.kill()  # this process alone, as the system does where memory runs out
    killed.wait()
    assert unfinished.exists()
    assert _has_ended(killed.pid)  # the workers too
    assert run("killed", "--num_workers=2") == expected


def _has_ended(group, timeout_s=60):
    """Waits until there is no process of a group, which ends those that there are after a while."""
    last_s = time.monotonic() + timeout_s
    while time.monotonic() < last_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False


class _EndsProcess:
    """What ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_a_lost_worker_ends_in_one_line(tmp_path):
    found = _make_photographs(tmp_path, 70)
    job = shard_job.ShardJob(
        folder=tmp_path,
        dataset="toy",
        backbone="pixels",
        weights=_EndsProcess(),
        image_size=24,
        sizes=SIZES,
        splits={"train": tuple(found)},
    )
    with pytest.raises(UserError, match=r"expected 2 processes .* lost one .* smaller") as caught:
        job.run(None, 2, lambda _: None)
    assert "\n" not in str(caught.value)


def test_truth_of_rendered_pictures_is_kept_for_evaluation_alone(tmp_path):
    examples = rendered_examples.make_examples()
    rendered_folder.write_examples(tmp_path / "in", rendered_examples.SHARED, examples)
    folder = _extract(
        layouts.find_photographs("rendered", layouts.Sources(tmp_path / "in")), tmp_path
    )
    for split_name, expected in (("train", examples[:5]), ("test", examples[5:])):
        truth = synthetic_quadruped.load_truth(folder, split_name)
        assert [name.decode() for name in truth["id"]] == [e["id"] for e in expected]
        assert truth.keys() == {"id", "box", *expected[0]["truth"]}
        for key in expected[0]["truth"]:
            stored = np.stack([e["truth"][key] for e in expected])
            np.testing.assert_array_equal(truth[key], stored)
            assert stored.ndim == 1 or truth[key].dtype == stored.dtype  # of numbers, TFDS' own
        np.testing.assert_array_equal(truth["box"], [e["box"] for e in expected])
        # What training sees is the same as without truth.
        split = pipeline.load_split("toy", split_name, data_dir=tmp_path, image_size=24)
        assert set(vars(split)) == {field.name for field in dataclasses.fields(pipeline.Split)}
        batch = next(pipeline.evaluation_batches(split, 2))
        seen = {"image", "mask", "feature", "patch_key", "patch_out", "index", "real"}
        assert not {key for key in batch if key.startswith("truth")} and seen <= batch.keys()
    anatomy = synthetic_quadruped.load_anatomy(folder)
    np.testing.assert_array_equal(anatomy["faces"], rendered_examples.SHARED["faces"])


def test_all_bad_photographs_end_in_one_line(tmp_path):
    found = _make_photographs(tmp_path, 3)
    for photograph in found:
        photograph.mask_path.write_bytes(b"corrupt")
    with pytest.raises(ValueError, match="found 3 bad ones and no good one"):
        _extract(found, tmp_path / "tfds")
    assert not (tmp_path / "tfds").exists()


def test_an_existing_data_set_is_not_overwritten(tmp_path):
    found = _make_photographs(tmp_path, 4)
    _extract(found, tmp_path / "tfds")
    with pytest.raises(FileExistsError, match=r"expected no data set at .* delete it or"):
        _extract(found, tmp_path / "tfds")


def test_token_grid_must_divide_the_backbones(tmp_path):
    found = _make_photographs(tmp_path, 4)
    with pytest.raises(ValueError, match=r"token grid that divides the backbone's 8, got 3"):
        extraction_job.fit_extractor(
            _Pixels(),
            FeatureSizes(feature_size=16, feature_dim=16, token_grid=3, token_dim=6),
            extraction_job._crops_to_fit(found, 2),
        )


class _NotFinite(_Pixels):
    """A backbone that makes NaN, or numbers that float16 does not hold, of some pictures."""

    def __init__(self, value, is_bad):
        self._value, self._is_bad = value, is_bad

    def __call__(self, image):
        key, out = super().__call__(image)
        return (
            Tokens(key, np.full_like(out, self._value)) if self._is_bad(image) else Tokens(key, out)
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e7])
def test_no_number_that_is_not_finite_reaches_a_shard(tmp_path, monkeypatch, value):
    found = _make_photographs(tmp_path, 12)
    for number in (2, 10):  # a test picture, and one that the PCA does not see
        mask = np.asarray(Image.open(found[number].mask_path))
        Image.fromarray(np.dstack([mask // 255 * 7] * 3)).save(found[number].image_path)
    is_dark = lambda image: image.mean() < 10  # noqa: E731
    monkeypatch.setattr(extraction_job, "load_backbone", lambda *_: _NotFinite(value, is_dark))
    folder = _extract(found, tmp_path / "tfds")
    train, test = (
        pipeline.load_split("toy", name, data_dir=tmp_path / "tfds", image_size=24)
        for name in ("train", "test")
    )
    assert "p02" not in train.ids and len(train) == 9
    assert test.ids == ("p00",)
    for split in (train, test):
        assert all(np.isfinite(e["patch_out"]).all() for e in split.examples.take(split.index))
    skipped = json.loads((folder / "extraction.json").read_text())["skipped"]
    assert [line.split(" from")[0] for line in skipped] == [
        f"{name}: expected finite features" for name in ("p02", "p10")
    ]


def test_a_backbone_that_makes_nothing_finite_ends_in_one_line(tmp_path, monkeypatch):
    found = _make_photographs(tmp_path, 4)
    monkeypatch.setattr(
        extraction_job, "load_backbone", lambda *_: _NotFinite(np.nan, lambda _: True)
    )
    with pytest.raises(UserError, match="expected finite features, the backbone made NaN"):
        _extract(found, tmp_path / "tfds")
    assert not (tmp_path / "tfds" / "toy" / "1.0.0").exists()


def test_photographs_that_are_all_one_colour_end_in_one_line():
    crop = Image.new("RGB", (40, 40), (90, 90, 90)), Image.new("L", (40, 40), 255)
    with pytest.raises(UserError, match="expected photographs that differ"):
        extraction_job.fit_extractor(_Pixels(), SIZES, [crop] * 3)


@pytest.mark.parametrize(
    "name",
    ["", "my-horse", "my horse", "a/b", "../a", "1horse", "_horse", "jäger", "a" * 101, "a.b"],
)
def test_names_that_tfds_or_the_disk_do_not_take_are_refused_before_the_work(tmp_path, name):
    with pytest.raises(UserError, match="expected a --dataset of at most 100 letters, digits"):
        photograph_builder.check_destination(name, tmp_path)


def test_folders_that_cannot_be_written_are_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("a" * 300)):
        with pytest.raises(UserError, match="--data_dir: expected a folder that can be written"):
            photograph_builder.check_destination("toy", folder)
    photograph_builder.check_destination("toy", tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()  # trying leaves nothing behind


def test_help_states_the_rule_of_masks():
    listed = {flag.name: flag.help for flag in flags.FLAGS.get_key_flags_for_module(extract)}
    assert mask_files.RULE in listed["masks"]
    assert {"images", "data_dir", "mask_label"} <= listed.keys()


@pytest.mark.slow
def test_command_line_reports_a_missing_folder_in_one_line(tmp_path):
    pytest.importorskip("torch", reason="PyTorch comes with the extra 'extract'")
    command = [sys.executable, "-m", "pony_jax.extract", "--dataset=weizmann_horse"]
    command += [f"--images={tmp_path}", f"--data_dir={tmp_path / 'tfds'}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "expected the Weizmann horses in" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_command_line_makes_a_data_set_with_the_real_backbone(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch", reason="comes with the extra 'extract'")
    _make_photographs(tmp_path, 4)
    command = [sys.executable, "-m", "pony_jax.extract", "--dataset=toy", "--token_grid=8"]
    command += [f"--images={tmp_path / 'images'}", f"--masks={tmp_path / 'masks'}"]
    command += [f"--data_dir={tmp_path / 'tfds'}", "--token_dim=8", "--image_size=32"]
    command += [f"--contact_sheet={tmp_path / 'sheet.png'}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "3 train, 1 test photographs" in run.stdout
    split = pipeline.load_split("toy", "train", data_dir=tmp_path / "tfds", image_size=32)
    assert (len(split), split.token_grid, split.token_dim) == (3, 8, 8)
    assert Image.open(tmp_path / "sheet.png").size == (8 * 128, 3 * 128)


def test_marked_keypoints_go_into_the_shards(tmp_path):
    """In pixels of the stored crop; nobody marked any in the other photographs."""
    found = _make_photographs(tmp_path, 12)
    marked = keypoints.Keypoints(("nose", "tail"), ((20.0, 15.0), (0.0, 0.0)), (True, False))
    found[10] = found[10]._replace(keypoints=marked)
    folder = _extract(found, tmp_path)
    stored = keypoints.load_keypoints(folder, "test")
    assert (stored.ids, stored.names, stored.image_size) == (("p00", "p10"), ("nose", "tail"), 24)
    assert stored.visible.tolist() == [[False, False], [True, False]]
    box = _stored_examples(tmp_path, "toy")["p10"]["box"]
    np.testing.assert_allclose(
        stored.px[1, 0], (np.array([20, 15]) - box[1:3]) * 24 / box[3], rtol=1e-6
    )
    left, _, width, _ = stored.boxes[1]  # the crop is 1.2 times as wide as the mask
    assert (left, width) == (2, 20)
    pipeline.load_split("toy", "train", data_dir=tmp_path, image_size=24)  # which does not read any


def test_data_sets_without_keypoints_say_so(tmp_path):
    folder = _extract(_make_photographs(tmp_path, 12), tmp_path)
    assert keypoints.load_keypoints(folder, "test") is None
