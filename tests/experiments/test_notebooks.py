"""The notebooks run from the first cell to the last, in a short form."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import pony_jax
from tests.reconstruction.glb_reader import Glb

_NOTEBOOKS = Path(__file__).parents[2] / "experiments" / "notebooks"
_PATHS = sorted(_NOTEBOOKS.glob("*.ipynb"))
_NAMES = ["quickstart", "rasteriser", "reconstruct", "your_own_animals"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a notebook whose files go to `tmp_path`; returns what its code cells have put out."""
    monkeypatch.setenv("PONY_JAX_NOTEBOOK_FOLDER", str(tmp_path))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")

    def run(name: str) -> list[dict]:
        notebook = nbformat.read(_NOTEBOOKS / f"{name}.ipynb", as_version=4)
        resources = {"metadata": {"path": _NOTEBOOKS}}
        NotebookClient(notebook, timeout=600, resources=resources).execute()
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        return [output for cell in code for output in cell.outputs]

    return run


def _shows_a_viewer(output: dict) -> bool:
    return "<canvas" in output.get("data", {}).get("text/html", "").replace("&lt;", "<")


@pytest.mark.slow
def test_quickstart_runs(run, tmp_path: Path) -> None:
    outputs = run("quickstart")
    assert _shows_a_viewer(outputs[-1])
    assert len(Glb(tmp_path / "quickstart" / "horse.glb").document.skins[0].joints) == 21


@pytest.mark.slow
def test_your_own_animals_runs(run, tmp_path: Path) -> None:
    outputs = run("your_own_animals")
    assert _shows_a_viewer(outputs[-1])
    assert len(Glb(tmp_path / "my_horse.glb").document.skins[0].joints) == 21


@pytest.mark.slow
def test_rasteriser_fits_pictures(run) -> None:
    text = "".join(output.get("text", "") for output in run("rasteriser"))
    first, last = re.search(r"difference ([\d.]+) at first, ([\d.]+) at last", text).groups()
    assert float(last) < 0.2 * float(first)  # 40 of its 300 steps


@pytest.mark.slow
def test_reconstruct_runs(run, tmp_path: Path) -> None:
    if "horse" not in pony_jax.shipped_models() and "PONY_JAX_NOTEBOOK_MODEL" not in os.environ:
        pytest.skip("needs the model `horse`, which this checkout has not")
    outputs = run("reconstruct")
    assert any(map(_shows_a_viewer, outputs))
    assert len(Glb(tmp_path / "horse.glb").document.skins[0].joints) == 21
    assert (tmp_path / "index.html").stat().st_size > 100_000


@pytest.mark.parametrize("path", _PATHS, ids=lambda path: path.stem)
def test_notebooks_are_committed_ready_to_run(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells), "clear its outputs"
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert '"pip", "install"' in code[0], "expected the first cell to install"
    assert "http" not in "".join(code), "expected pip or a checkout to be all that it needs"


def test_all_notebooks_install_alike() -> None:
    """But for what else they need beside the project."""
    assert [path.stem for path in _PATHS] == _NAMES
    installs = set()
    for path in _PATHS:
        cells = nbformat.read(path, as_version=4).cells
        source = next(cell.source for cell in cells if cell.cell_type == "code")
        installs.add(re.sub(r"\[[a-z,]+\]\"", '"', source))
    assert len(installs) == 1
