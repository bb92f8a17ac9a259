"""The conversion as a user runs it: what it prints, and that nothing is written when it fails."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.training.command_flags import command_module, forget_values, refusal

_ROOT = Path(__file__).parents[2]
SETTINGS = _ROOT / "tests" / "golden" / "tiny_checkpoint_config.json"
pytestmark = pytest.mark.slow


def _flags(checkpoint: Path, out: Path, settings: Path = SETTINGS) -> list[str]:
    return [f"--checkpoint={checkpoint}", f"--config={settings}", f"--out={out}"]


@pytest.fixture(scope="module")
def convert_module() -> Iterator[ModuleType]:
    with command_module("pony_jax.interop.convert") as module:
        yield module


@pytest.fixture
def refuses(
    convert_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable]:
    """Asserts that the command, run in this process, ends with one line that says why."""

    def check(expected: str, *arguments: Path) -> None:
        forget_values()
        line = refusal(convert_module, monkeypatch, "convert", *_flags(*arguments))
        assert line.startswith("error: ") and expected in line, line
        assert capsys.readouterr().out == ""

    yield check
    forget_values()


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def test_prints_what_became_of_every_tensor(torch, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = subprocess.run(  # from a folder that is not the repository's
        [sys.executable, "-m", "pony_jax.interop.convert", *_flags(checkpoint, out)],
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *lines, last = result.stdout.strip().splitlines()
    assert last == f"wrote {out}, 70000 steps trained"
    content = torch.load(checkpoint, weights_only=True)
    for name in [*content["netPrior"], *content["netInstance"]]:
        if not name.startswith("netEncoder.ViT."):
            assert any(line.startswith((f"{name} ->", f"{name}: checked")) for line in lines), name
    assert any(line.startswith("netEncoder.ViT.*: ") for line in lines)
    assert sorted(path.name for path in out.iterdir()) == [
        "backbone.npz",
        "checkpoints",
        "config.json",
    ]


class Bomb:
    """Unpickling it with `pickle` makes a folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder),)


CHANGES: dict[str, tuple[Callable[[dict, object], object], str]] = {
    "missing": (
        lambda content, torch: content["netInstance"].pop("netTexture.mlp.network.4.weight"),
        "(netTexture.mlp.network.4.weight)",
    ),
    "extra": (
        lambda content, torch: content["netInstance"].update(netWings=torch.zeros(3)),
        "tensor netWings: expected a name of the original",
    ),
    "shape": (
        lambda content, torch: content["netPrior"].update(
            {"netDINO.in_layer.bias": torch.zeros(7)}
        ),
        "tensor netDINO.in_layer.bias: expected the shape of prior/feature/network/input/",
    ),
    "epoch": (
        lambda content, torch: content.update(epoch="late"),
        "epoch: expected a whole number, got str",
    ),
    "foreign": (
        lambda content, torch: content.update(
            netInstance={"fc.weight": torch.zeros(2, 2)}, netPrior={}
        ),
        "expected a tensor netPose.network.0.weight in netInstance, found none",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_wrong_tensor_is_named_in_one_line(
    torch, checkpoint: Path, tmp_path: Path, refuses: Callable, kind: str
) -> None:
    change, expected = CHANGES[kind]
    content = torch.load(checkpoint, weights_only=True)
    change(content, torch)
    path = tmp_path / "changed.pth"
    torch.save(content, path)
    refuses(expected, path, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["changed.pth"]


def test_a_hostile_pickle_does_nothing(
    torch, checkpoint: Path, tmp_path: Path, refuses: Callable
) -> None:
    path, target = tmp_path / "hostile.pth", tmp_path / "made"
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content | {"netPrior": Bomb(target)}, path)
    refuses(".mkdir at netPrior; nothing of it was run", path, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.pth"]


def test_files_that_are_no_checkpoint(checkpoint: Path, tmp_path: Path, refuses: Callable) -> None:
    part, other = tmp_path / "part.pth", tmp_path / "other.pth"
    part.write_bytes(checkpoint.read_bytes()[:100_000])
    other.write_text("a page that says: not found")
    for path in (part, other):
        refuses(f"{path}: expected a zip archive written by torch.save", path, tmp_path / "run")
    missing = tmp_path / "none.pth"
    refuses(f"expected a checkpoint at {missing}", missing, tmp_path / "run")
    settings = tmp_path / "bad.yml"
    settings.write_text("a: [\nb: }\n")
    refuses("expected YAML or JSON", checkpoint, tmp_path / "run", settings)
    assert {p.name for p in tmp_path.iterdir()} == {"part.pth", "other.pth", "bad.yml"}
