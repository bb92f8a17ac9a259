"""Rendered pictures as files: what is written, what is found again, and what is refused."""

import sys

import numpy as np
import pytest

from pony_jax import command_line
from pony_jax.data import photographs, rendered_folder, rendered_models
from pony_jax.data.picture_pairs import MissingPhotographsError
from pony_jax.errors import UserError
from tests.data.rendered_examples import SHARED, SIZE_PX, make_examples
from tests.data.rigged_glb import write_glb
from tests.training.command_flags import command_module, forget_values


@pytest.fixture
def folder(tmp_path):
    rendered_folder.write_examples(tmp_path / "out", SHARED, make_examples())
    return tmp_path / "out"


def test_what_is_written_is_found_again(folder):
    examples = make_examples()
    found = rendered_folder.find_photographs(folder)
    assert [(p.id, p.split) for p in found] == sorted(
        (e["id"], e["id"].split("_")[0]) for e in examples
    )
    by_id = {e["id"]: e for e in examples}
    for photograph in found:
        crop = photographs.read_crop(photograph)
        assert crop.image.size == (SIZE_PX, SIZE_PX)  # the square as it was rendered
        np.testing.assert_array_equal(crop.box, by_id[photograph.id]["box"])
        truth = rendered_folder.read_truth(photograph.truth_path)
        expected = by_id[photograph.id]["truth"]
        assert truth.keys() == expected.keys()
        for key, values in truth.items():
            assert values.dtype == expected[key].dtype
            np.testing.assert_array_equal(values, expected[key])


def test_equal_examples_give_equal_files(folder, tmp_path):
    rendered_folder.write_examples(tmp_path / "again", SHARED, make_examples())
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(files) == 4 * 7 + 1
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "template.npz").unlink(), "expected template.npz in .* finished"),
        (lambda f: (f / "truth" / "test_00001.npz").unlink(), "expected .*test_00001.npz, found"),
        (lambda f: (f / "boxes" / "train_00000.txt").unlink(), "expected .*train_00000.txt, found"),
        (lambda f: _rename(f, "test_00000", "other"), "expected names that start with train_ or"),
        (lambda f: (f / "images").rename(f / "pictures"), "expected a folder of images"),
    ],
)
def test_folders_that_are_not_whole_are_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        rendered_folder.find_photographs(folder)
    assert "\n" not in str(error.value)


def _rename(folder, old, new):
    for file in folder.rglob(f"{old}.*"):
        file.rename(file.with_stem(new))


def test_damaged_truth_is_one_line(folder):
    file = folder / "truth" / "test_00000.npz"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(rendered_folder.TruthError, match="found a damaged file"):
        rendered_folder.read_truth(file)


def test_a_folder_that_is_no_rendering_is_refused(tmp_path):
    with pytest.raises(MissingPhotographsError, match="give the --out folder of a finished"):
        rendered_folder.find_photographs(tmp_path)


@pytest.fixture(scope="module")
def command():
    with command_module("pony_jax.data.render_rigged") as module:
        yield module
    forget_values()


def _run(command, monkeypatch, *arguments: str) -> str | int | None:
    forget_values()
    monkeypatch.setattr(sys, "argv", ["render_rigged", *arguments])
    with pytest.raises(SystemExit) as caught:
        command_line.run(command.main)
    return caught.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=none.glb"], "none.glb"),
        (["--model=synthetic/dragon"], "expected synthetic/SPECIES with one out of horse"),
        (["--model=synthetic/horse", "--model=a.glb"], "expected synthetic/horse alone, got 2"),
        (["--model=synthetic/horse", "--image_size=100"], "--image_size: expected feature_size to"),
        (["--model=box.glb", "--num_train=0", "--num_test=0"], "expected pictures to render"),
        (["--model=box.glb", "--image_size=8"], "--image_size"),
        (["--model=box.glb", "--forward=up"], "--forward"),
        (["--model=still.glb"], "expected animations to take poses from"),
        (["--model=box.glb", "--clips=Nod,Walk"], "expected animations of box out of Nod, got 'W"),
        (["--model=synthetic/horse", "--clips=Nod"], "expected --clips with glTF files only"),
    ],
)
def test_mistakes_are_one_line(command, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_glb(tmp_path / "box.glb")
    write_glb(tmp_path / "still.glb", clips=False)
    line = _run(command, monkeypatch, "--out=out", *arguments)
    assert isinstance(line, str) and "\n" not in line
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "out").exists()


def test_no_file_is_overwritten(command, monkeypatch, tmp_path, folder):
    line = _run(command, monkeypatch, "--model=synthetic/horse", f"--out={folder}")
    assert "expected an empty or no folder" in line


def test_the_command_writes_what_examples_it_is_given(command, monkeypatch, tmp_path, capsys):
    def open_models(models, **options):
        assert options.pop("say") is print
        assert options == {"image_size": 64, "seed": 0, "forward": "+z", "clips": []}
        by_split = {"train": make_examples()[:5], "test": make_examples()[5:]}
        return SHARED, lambda split, count: iter(by_split[split][:count])

    monkeypatch.setattr(command, "open_models", open_models)
    code = _run(
        command,
        monkeypatch,
        *("--model=a.glb", f"--out={tmp_path / 'out'}", "--num_train=3", "--num_test=2"),
        "--image_size=64",
    )
    assert not code
    assert "5 pictures in" in capsys.readouterr().out
    splits = [p.split for p in rendered_folder.find_photographs(tmp_path / "out")]
    assert splits == ["test"] * 2 + ["train"] * 3


def test_synthetic_animals_have_their_own_template():
    shared, _ = rendered_models.open_models(
        ["synthetic/horse"], image_size=64, seed=0, say=lambda line: None
    )
    assert {"faces", "bone_names", "keypoint_names", "gaits"} <= shared.keys()
