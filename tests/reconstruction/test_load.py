"""Models are found by file, by name and on the hub; what is not there is said in a line."""

import pytest

import pony_jax
from pony_jax.reconstruction import hub, load
from pony_jax.reconstruction.learned import ModelError
from pony_jax.reconstruction.pony_file import read_pony, write_pony
from tests.reconstruction.red_animals import learned


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    write_pony(learned(), tmp_path / "horse.pony")
    monkeypatch.setattr(load, "_shipped_folder", lambda: tmp_path)
    return tmp_path


def test_by_file_and_by_name(shipped):
    assert load.shipped_models() == ("horse",)
    for source in (shipped / "horse.pony", "horse"):
        model = pony_jax.load(source)
        assert isinstance(model, pony_jax.Model) and model.name == "horse"
        assert model.learned.card == {"data": "red ellipses"}


@pytest.mark.parametrize(
    "source, message",
    [
        ("hose", r"or one of the shipped models \(horse\), got 'hose'; did you mean 'horse'\?"),
        ("runs/nowhere", "got 'runs/nowhere'; check the path"),
    ],
)
def test_what_is_not_there_is_said(shipped, source, message):
    with pytest.raises(ModelError, match=message):
        pony_jax.load(source)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"expected a run's config\.json in"):
        pony_jax.load(tmp_path)


class _Hub:
    """The hub's library, with a folder for a hub."""

    def __init__(self, folder):
        self._folder = folder

    def hf_hub_download(self, repo_id, filename):
        path = self._folder / repo_id / filename
        if not path.is_file():
            raise OSError(f"404: no {repo_id}")
        return str(path)

    def HfApi(self):
        return self

    def create_repo(self, repository, private, exist_ok):
        (self._folder / repository).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, repo_id, folder_path):
        for file in folder_path.iterdir():
            (self._folder / repo_id / file.name).write_bytes(file.read_bytes())
        return "commit 1"


def test_to_the_hub_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_library", lambda: _Hub(tmp_path / "hub"))
    (tmp_path / "files").mkdir()
    assert hub.push_to_hub(learned(), "me/horse", tmp_path / "files") == "commit 1"
    card = (tmp_path / "hub" / "me" / "horse" / "README.md").read_text()
    assert card.startswith("---\n") and "data: red ellipses" in card
    assert pony_jax.load("hf://me/horse").name == "horse"
    assert read_pony(tmp_path / "hub/me/horse/model.pony").token_shape == (8, 6)
    with pytest.raises(ModelError, match=r"expected model\.pony at hf://me/cow, got OSError: 404"):
        pony_jax.load("hf://me/cow")


def test_the_public_names_are_there():
    assert set(pony_jax.__all__) <= set(dir(pony_jax))
    with pytest.raises(AttributeError, match="no attribute 'horse'"):
        _ = pony_jax.horse
