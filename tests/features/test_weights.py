"""Weights from files: what is loaded is what was asked for."""

import argparse

import numpy as np
import pytest

from pony_jax.errors import UserError

pytestmark = pytest.mark.slow  # PyTorch takes seconds to import

_SHAPES = {"weight": (3, 2), "norm.bias": (3,)}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch comes with the extra 'extract'")


def _read(path):
    from pony_jax.features.weights import read_weights

    return read_weights(path, _SHAPES, "a network")


def _state(torch):
    return {"weight": torch.arange(6.0).reshape(3, 2), "norm.bias": torch.ones(3)}


def _prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


_WRAPPED = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "DataParallel": lambda state: _prefixed("module.", state),
    "torch.compile": lambda state: _prefixed("_orig_mod.", state),
    "all at once": lambda state: {"model": {"state_dict": _prefixed("_orig_mod.module.", state)}},
    "a training checkpoint of DINO": lambda state: {
        "student": {name: -value for name, value in _prefixed("module.backbone.", state).items()},
        "teacher": _prefixed("backbone.", state) | {"head.mlp.0.weight": state["weight"]},
        "optimizer": {"param_groups": [{"lr": np.float64(0.1)}]},
        "args": argparse.Namespace(arch="vit_small"),
        "epoch": 100,
    },
}


@pytest.mark.parametrize("name", _WRAPPED)
def test_weights_are_found_inside_checkpoints(tmp_path, torch, name):
    torch.save(_WRAPPED[name](_state(torch)), tmp_path / "a.pth")
    read = _read(tmp_path / "a.pth")
    assert read.keys() == _SHAPES.keys()
    for key, value in _state(torch).items():
        np.testing.assert_array_equal(np.asarray(read[key]), value)


def test_safetensors_are_read_whatever_they_are_called(tmp_path, torch):
    safetensors = pytest.importorskip("safetensors.torch")
    for name in ("a.safetensors", "a.pth"):
        safetensors.save_file(_state(torch), tmp_path / name)
        np.testing.assert_array_equal(_read(tmp_path / name)["weight"], _state(torch)["weight"])


def _legacy(torch, path):
    torch.save(_state(torch), path, _use_new_zipfile_serialization=False)


def test_files_of_old_versions_are_read(tmp_path, torch):
    _legacy(torch, tmp_path / "a.pth")
    np.testing.assert_array_equal(_read(tmp_path / "a.pth")["weight"], _state(torch)["weight"])


class _Hostile:
    def __reduce__(self):
        return print, ("run by a pickle",)


def _saved(change):
    """A writer of the state with what `change(torch, state)` makes of it."""

    def write(torch, path):
        torch.save(change(torch, _state(torch)), path)

    return write


def _cut(torch, path):
    _legacy(torch, path)
    path.write_bytes(path.read_bytes()[:-10])


_REFUSED = {
    # name: (writer, what the message says)
    "empty": (lambda _, path: path.write_bytes(b""), "found an empty file; fetch the file again"),
    "a page": (lambda _, path: path.write_bytes(b"<html>no</html>"), "found a web page"),
    "Git LFS": (
        lambda _, path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1"),
        "found a Git LFS pointer",
    ),
    "text": (lambda _, path: path.write_bytes(b"weights"), "found one that fails with"),
    "zeros": (lambda _, path: path.write_bytes(bytes(999)), "found zero bytes"),
    "cut": (_cut, "found one that fails with"),
    "a safetensors header alone": (
        lambda _, path: path.write_bytes((99).to_bytes(8, "little") + b"{}"),
        "found one that fails with",
    ),
    "hostile": (
        _saved(lambda torch, state: state | {"x": _Hostile()}),
        r"found one that wants to run \S*print, which is not done",
    ),
    "another shape": (
        _saved(lambda torch, state: state | {"weight": torch.zeros(3, 4)}),
        r"found others: weight \[3, 4\] instead of \[3, 2\]$",
    ),
    "one too many": (
        _saved(lambda torch, state: state | {"head": torch.zeros(3)}),
        r"found others: head \[3\] instead of nothing$",
    ),
    "another network": (
        _saved(lambda torch, state: {"conv": torch.zeros(3)}),
        r"found others: conv \[3\] instead of nothing and 2 more differences",
    ),
    "no tensors": (
        _saved(lambda torch, state: [1, 2]),
        "found one that fails with: expected a dictionary",
    ),
    "a whole number": (
        _saved(lambda torch, state: 7),
        "found one that fails with: expected a dictionary",
    ),
    "NaN": (
        _saved(lambda torch, state: state | {"weight": state["weight"] / 0}),
        "found NaN or infinity in weight",
    ),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_other_files_are_refused_in_one_line(tmp_path, torch, name, capsys):
    write, message = _REFUSED[name]
    write(torch, tmp_path / "a.pth")
    with pytest.raises(UserError, match=message) as caught:
        _read(tmp_path / "a.pth")
    assert f"weights of a network in {tmp_path / 'a.pth'}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "run by a pickle" not in capsys.readouterr().out
