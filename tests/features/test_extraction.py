"""From photographs to a data set on disk, with a backbone that needs no network."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn comes with the extra 'extract'")

from pony_jax import extract
from pony_jax.data import (
    mask_files,
    photograph_builder,
    photographs,
    pipeline,
    rendered_folder,
    synthetic_quadruped,
)
from pony_jax.errors import UserError
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


def _extract(found, data_dir):
    return extract.extract(
        found,
        dataset="toy",
        data_dir=data_dir,
        backbone_name="pixels",
        weights=None,
        image_size=24,
        sizes=SIZES,
        pca_photographs=5,
    )


@pytest.fixture(autouse=True)
def _pixel_backbone(monkeypatch):
    monkeypatch.setattr(extract, "load_backbone", lambda name, weights: _Pixels())


def test_photographs_become_a_data_set(tmp_path):
    found = _make_photographs(tmp_path, 12)
    found[3].image_path.write_bytes(b"corrupt")
    folder = _extract(found, tmp_path / "tfds")
    train, test = (
        pipeline.load_split("toy", name, data_dir=tmp_path / "tfds", image_size=24)
        for name in ("train", "test")
    )
    assert test.ids == ("p00", "p10")
    assert train.ids == tuple(f"p{number:02d}" for number in (1, 2, 4, 5, 6, 7, 8, 9, 11))
    assert train.patch_key.shape == (9, 2, 4, 4, 6)
    provenance = json.loads((folder / "extraction.json").read_text())
    assert provenance["backbone"] == "pixels"
    assert len(provenance["skipped"]) == 1 and "p03" in provenance["skipped"][0]
    stored = np.load(folder / "projection.npz")
    assert stored["feature/basis"].shape == (20, 16)
    assert stored["patch_out/mean"].shape == (20,)


def test_mirrored_features_are_those_of_the_mirrored_crop(tmp_path):
    found = _make_photographs(tmp_path, 6)
    _extract(found, tmp_path / "tfds")
    split = pipeline.load_split("toy", "train", data_dir=tmp_path / "tfds", image_size=16)
    # The animal's pixels are where the mirrored mask is ...
    plain, mirrored = (split.feature[:, side].any(axis=-1) for side in (0, 1))
    assert (plain[:, :, ::-1] == mirrored).mean() > 0.97
    # ... but this backbone sees a mirrored cell differently.
    assert np.abs(split.patch_key[:, 0, :, ::-1] - split.patch_key[:, 1]).max() > 0.1


def test_truth_of_rendered_pictures_is_kept_for_evaluation_alone(tmp_path):
    examples = rendered_examples.make_examples()
    rendered_folder.write_examples(tmp_path / "in", rendered_examples.SHARED, examples)
    folder = _extract(extract.find_photographs("rendered", tmp_path / "in", None, 10), tmp_path)
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
        extract.fit_extractor(
            _Pixels(),
            FeatureSizes(feature_size=16, feature_dim=16, token_grid=3, token_dim=6),
            extract._crops_to_fit(found, 2),
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
    monkeypatch.setattr(extract, "load_backbone", lambda *_: _NotFinite(value, is_dark))
    folder = _extract(found, tmp_path / "tfds")
    train, test = (
        pipeline.load_split("toy", name, data_dir=tmp_path / "tfds", image_size=24)
        for name in ("train", "test")
    )
    assert "p02" not in train.ids and len(train) == 9
    assert test.ids == ("p00",)
    assert np.isfinite(train.patch_out).all() and np.isfinite(test.patch_out).all()
    skipped = json.loads((folder / "extraction.json").read_text())["skipped"]
    assert [line.split(" from")[0] for line in skipped] == [
        f"{name}: expected finite features" for name in ("p02", "p10")
    ]


def test_a_backbone_that_makes_nothing_finite_ends_in_one_line(tmp_path, monkeypatch):
    found = _make_photographs(tmp_path, 4)
    monkeypatch.setattr(extract, "load_backbone", lambda *_: _NotFinite(np.nan, lambda _: True))
    with pytest.raises(UserError, match="expected finite features, the backbone made NaN"):
        _extract(found, tmp_path / "tfds")
    assert not (tmp_path / "tfds" / "toy" / "1.0.0").exists()


def test_photographs_that_are_all_one_colour_end_in_one_line():
    crop = Image.new("RGB", (40, 40), (90, 90, 90)), Image.new("L", (40, 40), 255)
    with pytest.raises(UserError, match="expected photographs that differ"):
        extract.fit_extractor(_Pixels(), SIZES, [crop] * 3)


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
    assert split.patch_out.shape == (3, 2, 8, 8, 8)
    assert Image.open(tmp_path / "sheet.png").size == (8 * 128, 2 * 128)
