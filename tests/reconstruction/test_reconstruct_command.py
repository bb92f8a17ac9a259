"""The command line: which pictures it takes, and that one bad picture does not stop the others."""

import base64
import dataclasses
import re
from urllib.parse import unquote

import pytest
from absl import flags
from absl.testing import flagsaver

from pony_jax.data.picture_files import BadPhotographError
from pony_jax.errors import UserError
from pony_jax.reconstruction.motion import make_clips
from pony_jax.training.errors import RunError
from tests.reconstruction.red_animals import picture
from tests.reconstruction.sample_animal import make_animal
from tests.training.command_flags import command_module


@pytest.fixture(scope="module")
def reconstruct():
    """The command line, whose flags have names that other command lines use too."""
    with command_module("pony_jax.reconstruct") as module:
        yield module


def test_pictures_of_folders_and_files_get_names_of_their_own(reconstruct, tmp_path):
    for name in ("a/horse.png", "a/zebra.png", "b/horse.png", "a/notes.txt", "masks/horse.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    arguments = [str(tmp_path / "a"), str(tmp_path / "b/horse.png")]
    jobs = reconstruct.find_jobs(arguments, tmp_path / "masks")
    assert [job.name for job in jobs] == ["horse", "zebra", "horse_2"]
    assert [job.mask.name for job in jobs] == ["horse.png", "zebra.png", "horse.png"]
    assert not jobs[1].mask.exists()  # fails when it is opened, with its name
    assert reconstruct.find_jobs(arguments, None)[0].mask is None


def test_what_is_passed_over_is_counted_and_named(reconstruct, tmp_path):
    names = [f"photos/{i}.heic" for i in range(6)]
    names += ["photos/a.png", "photos/.hidden", "photos/more/b.png", "masks/A.png", "masks/b.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    arguments, masks = [str(tmp_path / "photos")], tmp_path / "masks"
    jobs = reconstruct.find_jobs(arguments, masks)
    assert [(job.picture.name, job.mask.name) for job in jobs] == [("a.png", "A.png")]
    photos_line, masks_line = reconstruct.passed_over(arguments, jobs, masks)
    assert photos_line.startswith(f"passed over 7 in {tmp_path / 'photos'}, which do not end like")
    assert photos_line.endswith("0.heic, 1.heic, 2.heic, 3.heic, 4.heic and 2 more")
    assert "passed over 1 in" in masks_line and masks_line.endswith(": b.png")
    assert not reconstruct.passed_over([str(tmp_path / "photos/a.png")], jobs, None)


def test_a_mask_of_another_pictures_very_name_is_not_taken(reconstruct, tmp_path):
    for name in ("a/Horse.png", "a/horse.png", "masks/horse.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    upper, lower = reconstruct.find_jobs([str(tmp_path / "a")], tmp_path / "masks")
    assert lower.mask.exists() and not upper.mask.exists()


def test_the_page_of_all_leads_to_each(reconstruct, tmp_path, monkeypatch):
    for name in ("index", "a & b"):
        picture((30, 20)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(reconstruct, "load", lambda model, weights: _Model())
    monkeypatch.setattr(reconstruct, "prepare_process", lambda folder, **options: None)
    flags.FLAGS.mark_as_parsed()
    out = tmp_path / "out"
    with flagsaver.as_parsed(model="m", out=str(out), formats="html,glb", clips=""):
        reconstruct.main(["", str(tmp_path / "index.png"), str(tmp_path / "a & b.png")])
    text = (out / "index.html").read_text()
    links = re.findall(r'href="([^"]+)"', text)
    assert links == ["index_2.html", "a%20%26%20b.html"]
    assert "a &amp; b</a>" in text and "seen from its" in text
    for link in links:
        assert (out / unquote(link)).is_file()
    glb = base64.b64encode((out / "a & b.glb").read_bytes()).decode()
    assert glb in (out / "a & b.html").read_text()


def test_a_fault_of_this_project_is_not_called_the_pictures(reconstruct, tmp_path, monkeypatch):
    class Faulty:
        def reconstruct(self, source, mask, refine, name, finetune_texture):
            raise ValueError("operands could not be broadcast together")

    picture((30, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(reconstruct, "load", lambda model, weights: Faulty())
    monkeypatch.setattr(reconstruct, "prepare_process", lambda folder, **options: None)
    flags.FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(model="m", out=str(tmp_path / "out")):
        with pytest.raises(ValueError, match="broadcast"):
            reconstruct.main(["", str(tmp_path / "a.png")])


def test_no_pictures_and_no_masks_are_refused(reconstruct, tmp_path):
    with pytest.raises(UserError, match="expected pictures, got none; give files"):
        reconstruct.find_jobs([], None)
    with pytest.raises(UserError, match="--masks: expected a folder, found none"):
        reconstruct.find_jobs(["a.png"], tmp_path / "none")


class _Model:
    def reconstruct(self, source, mask, refine, name, finetune_texture):
        if "bad" in name:
            raise BadPhotographError(f"{name}: expected a picture")
        return dataclasses.replace(make_animal(subdivisions=1), name=name)


def test_a_bad_picture_is_named_and_the_others_go_on(reconstruct, tmp_path, monkeypatch, capsys):
    for name in ("bad", "good"):
        picture((30, 20)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(reconstruct, "load", lambda model, weights: _Model())
    monkeypatch.setattr(reconstruct, "prepare_process", lambda folder, **options: None)
    arguments = ["", *(str(tmp_path / f"{name}.png") for name in ("bad", "good"))]
    out = tmp_path / "out"
    flags.FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(model="m", out=str(out), formats="ply,bvh", clips=""):
        with pytest.raises(RunError, match="1 of 2 photographs failed"):
            reconstruct.main(arguments)
        assert (out / "good.ply").is_file() and not (out / "bad.ply").exists()
        reconstruct.main([arguments[0], arguments[2]])
    written = capsys.readouterr()
    assert f"failed {tmp_path / 'bad.png'}: bad: expected a picture" in written.err
    with flagsaver.as_parsed(model="m", out=str(out), formats="stl"):
        with pytest.raises(UserError, match=r"--formats: expected some of glb, .*got 'stl'"):
            reconstruct.main(arguments)


def test_every_format_is_written_with_the_motions_that_it_holds(reconstruct, tmp_path):
    animal = dataclasses.replace(make_animal(subdivisions=1), name="horse")
    clips, missing = make_clips(animal, ("idle", "graze"))
    assert [clip.name for clip in clips] == ["idle", "graze"] and not missing
    formats = ("glb", "obj", "ply", "bvh")
    names = {"head": "Head"}
    written = reconstruct.write_files(animal, tmp_path, formats, clips, names)
    assert {path.suffix for path in written} == {".glb", ".obj", ".mtl", ".png", ".ply", ".bvh"}
    assert b'"Head"' in (tmp_path / "horse.glb").read_bytes()


def test_a_gait_that_the_legs_cannot_make_is_named():
    animal = make_animal(subdivisions=1)
    bones = animal.skeleton.bones_rest.copy()
    bones[list(animal.skeleton.leg("rear_left"))] = 0.0  # the mesh lacks this leg
    lame = dataclasses.replace(
        animal, skeleton=dataclasses.replace(animal.skeleton, bones_rest=bones)
    )
    clips, missing = make_clips(lame, ("walk",))
    assert not clips and "the mesh may lack this leg" in missing["walk"]
