"""Packed models: round trips, and files that must do no harm."""

import dataclasses
import io
import json
import pickle
import zipfile

import jax
import numpy as np
import pytest

from pony_jax.reconstruction.learned import ModelError
from pony_jax.reconstruction.pony_file import read_pony, write_pony
from tests.reconstruction.red_animals import learned


@pytest.fixture(scope="module")
def model():
    return learned()


@pytest.fixture
def packed(model, tmp_path):
    write_pony(model, tmp_path / "a.pony")
    return tmp_path / "a.pony"


@pytest.mark.parametrize("precision, tolerance", [("float32", 0), ("float16", 2**-11)])
def test_round_trip(model, tmp_path, precision, tolerance):
    path = tmp_path / "a.pony"
    write_pony(model, path, precision)
    read = read_pony(path)
    for before, after in zip(
        jax.tree.leaves((model.params, model.features)),
        jax.tree.leaves((read.params, read.features)),
        strict=True,
    ):
        # Numbers below float16's normal ones lose more than half of a last digit.
        np.testing.assert_allclose(after, before, rtol=tolerance, atol=tolerance * 2**-13)
    assert jax.tree.structure(read.params) == jax.tree.structure(model.params)
    assert json.loads(read.config.to_json()) == json.loads(model.config.to_json())
    for field in ("name", "num_updates", "token_shape", "capacities", "backbone", "card"):
        assert getattr(read, field) == getattr(model, field)
    read.check_params(read.build())


def test_the_same_model_gives_the_same_bytes_and_half_of_them_in_half_precision(model, tmp_path):
    for name, precision in [("a", "float16"), ("b", "float16"), ("c", "float32")]:
        write_pony(model, tmp_path / name, precision)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and len(a) < 0.6 * len(c)


def test_numbers_that_do_not_fit_are_refused(model, tmp_path):
    for value, precision in [(np.nan, "float32"), (np.inf, "float16"), (1e6, "float16")]:
        wrong = dataclasses.replace(model, features={"x": np.float32([1, value])})
        with pytest.raises(ValueError, match="features/x: expected finite numbers within float"):
            write_pony(wrong, tmp_path / "a.pony", precision)
    with pytest.raises(ValueError, match="precision: expected one of"):
        write_pony(model, tmp_path / "a.pony", "int8")


def test_cut_files_are_refused(packed, tmp_path):
    content, cut = packed.read_bytes(), tmp_path / "cut.pony"
    for share in (0, 0.01, 0.3, 0.7, 0.95, 0.9999):
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ModelError, match=r"cut\.pony: expected a model file .*download it"):
            read_pony(cut)


def test_damaged_files_are_refused(packed, tmp_path):
    content, path = packed.read_bytes(), tmp_path / "damaged.pony"
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 30):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            read = read_pony(path)
            read.check_params(read.build())
        except ModelError as error:
            assert "\n" not in str(error)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "x.pony"
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ModelError, match="a cut, damaged or foreign one"):
        read_pony(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelError, match=r"found no model\.json in it"):
        read_pony(path)


def _rewritten(packed, path, name, content):
    """A copy of a file in which one entry is another."""
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if entry.filename != name:
                target.writestr(entry.filename, source.read(entry))
        target.writestr(name, content)
    return path


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_pickles_are_not_run(packed, tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Bomb()], object), allow_pickle=True)
    for content in (buffer.getvalue(), pickle.dumps(_Bomb())):
        path = _rewritten(packed, tmp_path / "b.pony", "params/prior/x.npy", content)
        with pytest.raises(ModelError, match="a cut, damaged or foreign one"):
            read_pony(path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "other"}, "expected the header of a pony_jax model"),
        ({"version": 99}, "got version 99; install a newer pony_jax"),
        ({"version": None}, "got version None"),
        ({"name": 3}, "name: expected str, got 3"),
        ({"token_shape": [8]}, "token_shape: expected 2 whole numbers"),
        ({"token_shape": [8, 10**9]}, "token_shape: expected 2 whole numbers of 1 to 4096"),
        ({"capacities": [10**12] * 5}, "capacities: expected 5 whole numbers"),
        ({"num_updates": "many"}, "num_updates: expected int"),
        ({"config": {}}, "config data.image_size: expected 1 whole number"),
    ],
)
def test_headers_that_say_something_else_are_refused(packed, tmp_path, change, message):
    with zipfile.ZipFile(packed) as archive:
        header = json.loads(archive.read("model.json"))
    content = json.dumps(header | change)
    path = _rewritten(packed, tmp_path / "b.pony", "model.json", content)
    with pytest.raises(ModelError, match=message):
        read_pony(path)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("fine_resolution", 10**6, "config model.fine_resolution: expected 1 whole numbers of 0"),
        ("refine_steps", 10**9, "config model.refine_steps"),
        ("hidden", 10**9, r"parameter instance/\S+: expected the shape"),
        ("hypotheses", "guess", "expected a configuration of this version"),
    ],
)
def test_configurations_that_ask_for_too_much_are_refused(packed, tmp_path, key, value, message):
    with zipfile.ZipFile(packed) as archive:
        header = json.loads(archive.read("model.json"))
    header["config"]["model"][key] = value
    path = _rewritten(packed, tmp_path / "b.pony", "model.json", json.dumps(header))
    with pytest.raises(ModelError, match=message):
        read = read_pony(path)
        read.check_params(read.build())


def test_missing_and_wrong_parameters_are_named(model):
    built = model.build()
    params = {"prior": model.params["prior"], "instance": {}}
    with pytest.raises(ModelError, match=r"parameter instance/\S+: .* found absent"):
        dataclasses.replace(model, params=params).check_params(built)
    wrong = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), model.params)
    with pytest.raises(ModelError, match="expected finite numbers"):
        dataclasses.replace(model, params=wrong).check_params(built)
