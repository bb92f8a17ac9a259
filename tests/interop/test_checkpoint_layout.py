"""Checkpoints in the wrappings that people have them in: the same networks come out of each."""

import argparse
import collections
import datetime
import enum
from pathlib import Path

import jax
import numpy as np
import pytest

from pony_jax.interop import convert as command
from pony_jax.interop.checkpoint_layout import find_networks
from pony_jax.interop.torch_file import CheckpointError, Foreign, read_torch_file
from pony_jax.training.errors import RunError
from tests.interop.test_torch_file import Bomb, write

SETTINGS = Path(__file__).parents[1] / "golden" / "tiny_checkpoint_config.json"

PRIOR = {"netShape.in_layer.weight": np.ones(2), "netDINO.min_max": np.zeros((1, 2))}
INSTANCE = {"netPose.network.0.weight": np.full(3, 2.0), "netEncoder.ViT.cls_token": np.ones(1)}
PLAIN = {"netPrior": PRIOR, "netInstance": INSTANCE, "epoch": 60, "total_iter": 70_000}


def _prefixed(state: dict, prefix: str) -> dict:
    return {prefix + name: value for name, value in state.items()}


def _inside(state: dict, wrapper: str) -> dict:
    """A part of the network was wrapped, not all of it."""
    return {name.replace(".", f".{wrapper}.", 1): value for name, value in state.items()}


def _networks(change) -> dict:
    return PLAIN | {"netPrior": change(PRIOR), "netInstance": change(INSTANCE)}


FLAT = _prefixed(PRIOR, "netPrior.") | _prefixed(INSTANCE, "netInstance.")
COUNTS = {"epoch": 60, "total_iter": 70_000}

WRAPPED = {
    "as the original writes it": PLAIN,
    "DataParallel": _networks(lambda state: _prefixed(state, "module.")),
    "torch.compile": _networks(lambda state: _prefixed(state, "_orig_mod.")),
    "both": _networks(lambda state: _prefixed(state, "_orig_mod.module.")),
    "both, the other way": _networks(lambda state: _prefixed(state, "module._orig_mod.")),
    "a part of each network": _networks(lambda state: _inside(state, "module")),
    "a compiled part of each": _networks(lambda state: _inside(state, "_orig_mod")),
    "one network only": PLAIN | {"netInstance": _prefixed(INSTANCE, "module.")},
    "state_dict": {"state_dict": PLAIN},
    "model_state_dict": {"model_state_dict": PLAIN, "optimizer_state_dict": {"state": {}}},
    "counts outside": {"state_dict": {"netPrior": PRIOR, "netInstance": INSTANCE}} | COUNTS,
    "twice": {"checkpoint": {"state_dict": PLAIN}},
    "a state_dict for each network": _networks(lambda state: {"state_dict": state}),
    "state_dict of DataParallel": {
        "state_dict": _networks(lambda state: _prefixed(state, "module.")),
    },
    "one dictionary of all tensors": FLAT | COUNTS,
    "Lightning": {"state_dict": _prefixed(FLAT, "model.")} | COUNTS,
    "Lightning of DataParallel": {"state_dict": _prefixed(FLAT, "module.")} | COUNTS,
    "counts as tensors": PLAIN | {"epoch": np.array(60), "total_iter": np.array([70_000])},
    "counts as floats": PLAIN | {"epoch": 60.0, "total_iter": 7e4},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_the_same_networks_come_out_of_every_wrapping(kind: str) -> None:
    notes: list[str] = []
    found = find_networks(WRAPPED[kind], notes)
    assert {key: found[key] for key in COUNTS} == COUNTS
    assert all(type(found[key]) is int for key in COUNTS)
    for network, state in (("netPrior", PRIOR), ("netInstance", INSTANCE)):
        assert list(found[network]) == list(state)  # in their order, by which optimisers count
        for name, value in state.items():
            assert found[network][name] is value
    left_out = [note.partition(":")[0] for note in notes]
    assert left_out == (["optimizer_state_dict"] if "optimizer_state_dict" in WRAPPED[kind] else [])


def test_of_3danimals() -> None:
    content = {"netBase": PRIOR, "netInstance": INSTANCE, "optimizerBase": {"state": {}}}
    found = find_networks(content, [])
    assert sorted(found) == ["netBase", "netInstance", "optimizerBase"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected the entries netPrior or netBase, and netInstance, found ;"),
        ({"weights": {"fc.weight": np.ones(2)}}, "found weights; is this a checkpoint of Magic"),
        ({"netInstance": INSTANCE}, "expected an entry netPrior or netBase, got netInstance"),
        ({"netPrior": PRIOR}, "expected an entry netInstance, got netPrior"),
        (PLAIN | {"netPrior": [1, 2]}, "netPrior: expected tensors by name, got list"),
        (PLAIN | {"netPrior": {"a": 3}}, "netPrior.a: expected a tensor, got something else"),
        (PLAIN | {"netPrior": {1: np.ones(1)}}, "netPrior.1: expected a tensor"),
        (
            PLAIN | {"netPrior": {"a": np.ones(1), "module.a": np.ones(1)}},
            "netPrior: expected one tensor a, got two",
        ),
        (PLAIN | {"netPrior": Foreign()}, "found . at netPrior; nothing of it was run"),
        (PLAIN | {"epoch": "late"}, "epoch: expected a whole number, got str"),
        (PLAIN | {"epoch": True}, "epoch: expected a whole number, got bool"),
        (PLAIN | {"epoch": -3}, "epoch: expected a whole number, got int -3"),
        (PLAIN | {"epoch": 2.5}, "epoch: expected a whole number, got float 2.5"),
        (PLAIN | {"total_iter": np.ones(2)}, "total_iter: expected a whole number, got ndarray"),
        (PLAIN | {"total_iter": 2**40}, "total_iter: expected a whole number, got int"),
        (PLAIN | {"epoch": Foreign()}, r"epoch: expected a whole number, got \?"),
    ],
)
def test_what_is_no_checkpoint_of_the_original(content: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        find_networks(content, [])


class Colour(enum.Enum):
    RED = 1


class Settings(dict):
    pass


HARMLESS = {
    "best_loss": np.float64(0.5),
    "small": np.float32(0.25),
    "count": np.int64(3),
    "args": argparse.Namespace(lr=1, names=["a"]),
    "history": np.arange(6.0).reshape(2, 3),
    "when": datetime.datetime(2026, 11, 30),
    "path": Path("a/b"),
    "losses": collections.defaultdict(list, {"rgb": [1.0]}),
    "recent": collections.deque([1, 2]),
    "colour": Colour.RED,
    "names": {"a", "b"},
    "frozen": frozenset({"a"}),
    "settings": Settings(a=1),
    "kind": np.dtype("float32"),
    "maker": np.sum,
    "complex": 1 + 2j,
    "nothing": None,
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("key", HARMLESS)
def test_harmless_objects_beside_the_networks_are_read_over(tmp_path, key, protocol) -> None:
    content = {"weights": {"a": [1.5]}, key: HARMLESS[key]}
    path = write(tmp_path / "a.pth", content, protocol)
    read = read_torch_file(path, foreign_allowed=None)
    assert read["weights"] == {"a": [1.5]}
    if isinstance(HARMLESS[key], np.number):
        assert read[key] == HARMLESS[key] and type(read[key]) in (int, float)


@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_objects_beside_the_networks_do_nothing(tmp_path, protocol) -> None:
    target = tmp_path / "made"
    content = {"netPrior": {}, "args": [Bomb(target)], "epoch": {"a": Bomb(target)}}
    read = read_torch_file(write(tmp_path / "a.pth", content, protocol), foreign_allowed=None)
    assert not target.exists()
    assert isinstance(read["args"][0], Foreign)
    content = {"netPrior": {"a": Bomb(target)}, "netInstance": {}}
    read = read_torch_file(write(tmp_path / "a.pth", content, protocol), foreign_allowed=None)
    with pytest.raises(CheckpointError, match=r"found \w+\.mkdir at netPrior/a; nothing of it"):
        find_networks(read, [])
    assert not target.exists()


@pytest.mark.slow
def test_the_checkpoint_of_the_original_in_other_wrappings(
    checkpoint: Path, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    content = torch.load(checkpoint, weights_only=True)
    wrapped = {net: _prefixed(content[net], "module.") for net in ("netPrior", "netInstance")}
    beside = {"best": np.float64(0.5), "args": argparse.Namespace(lr=1)}
    cases = {
        "plain": (content, {}),
        "old": (content | beside | {"epoch": torch.tensor(content["epoch"])}, {"old": True}),
        "wrapped": ({"state_dict": content | wrapped | beside}, {}),
        "old and wrapped": ({"state_dict": content | wrapped}, {"old": True}),
    }
    results = {}
    for name, (case, options) in cases.items():
        path = tmp_path / f"{name}.pth"
        torch.save(case, path, _use_new_zipfile_serialization=not options.get("old"))
        results[name] = command.convert(path, str(SETTINGS), tmp_path / name)
    plain = results.pop("plain")
    for name, result in results.items():
        assert result.num_updates == plain.num_updates, name
        jax.tree.map(np.testing.assert_array_equal, result.params, plain.params)
        jax.tree.map(np.testing.assert_array_equal, result.moments, plain.moments)
    assert any(note.startswith("args: left out (argparse") for note in results["old"].notes)
    # A second checkpoint is never mixed up with the first.
    with pytest.raises(RunError, match="out: expected a folder without checkpoints"):
        command.convert(checkpoint, str(SETTINGS), tmp_path / "plain")
