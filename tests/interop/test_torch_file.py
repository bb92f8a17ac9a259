"""The reader of PyTorch's files: what PyTorch wrote, and files that must do no harm."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pony_jax.interop.torch_file import CheckpointError, Foreign, _tensor, read_torch_file


class Trace:
    """Stands for the original's metrics object."""

    def __init__(self):
        self.values = {"loss": [1.0, 2.0]}


class Bomb:
    """Unpickling it with `pickle` makes a folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder),)


def write(path: Path, content: object, protocol: int = 2) -> Path:
    """An archive as torch.save writes it, of content without tensors."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=protocol))
    return path


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("archive", [True, False], ids=["1.6 and later", "before 1.6"])
def test_reads_what_torch_wrote(torch, tmp_path, archive):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "state": {
            "whole": base,
            "transposed": base.T,
            "part": base[1:3, ::2],
            "parameter": torch.nn.Parameter(torch.ones(2)),
            "scalar": torch.tensor(3.5),
            "empty": torch.zeros(0, 3),
            "long": torch.tensor([2**40, -1]),
            "half": torch.tensor([0.5], dtype=torch.float16),
            "bool": torch.tensor([True, False]),
        },
        "step": 7,
        "betas": (0.9, 0.999),
    }
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    read = read_torch_file(path)
    assert (read["step"], read["betas"]) == (7, (0.9, 0.999))
    assert read["state"].keys() == content["state"].keys()
    for name, value in content["state"].items():
        np.testing.assert_array_equal(read["state"][name], value.detach().numpy(), strict=True)


def test_the_metrics_object_is_inert(torch, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"weights": torch.ones(3), "metrics_trace": Trace()}, path)
    read = read_torch_file(path, foreign_allowed=("metrics_trace",))
    assert isinstance(read["metrics_trace"], Foreign)
    assert read["metrics_trace"].name.endswith("test_torch_file.Trace")
    with pytest.raises(
        CheckpointError, match=r"found .*Trace at metrics_trace; nothing .* was run"
    ):
        read_torch_file(path)


@pytest.mark.parametrize("place", ["weights", "metrics_trace"])
def test_hostile_pickles_do_nothing(tmp_path, place):
    target = tmp_path / "made"
    path = write(tmp_path / "a.pth", {place: [Bomb(target)]})
    if place == "weights":
        with pytest.raises(CheckpointError, match=r"found \w+\.mkdir at weights/0; nothing"):
            read_torch_file(path, foreign_allowed=("metrics_trace",))
    else:
        read_torch_file(path, foreign_allowed=("metrics_trace",))
    assert not target.exists()


def test_truncated_file_raises(torch, tmp_path):
    whole, part = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"weights": torch.ones(1000)}, whole)
    part.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"b\.pth: expected a zip archive .* again"):
        read_torch_file(part)


def legacy(path: Path, *parts: object, tail: bytes = b"") -> Path:
    """A file as torch.save wrote it before PyTorch 1.6, of content without tensors."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in (*head, *parts)) + tail)
    return path


def test_damaged_and_hostile_legacy_files(torch, tmp_path):
    whole, part = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"weights": torch.ones(1000)}, whole, _use_new_zipfile_serialization=False)
    for cut, message in [
        (500, "storage .*: expected 1000 numbers of float32, found 3500 bytes"),
        (4100, "damaged"),
    ]:
        part.write_bytes(whole.read_bytes()[:-cut])
        with pytest.raises(CheckpointError, match=message):
            read_torch_file(part)
    target = tmp_path / "made"
    with pytest.raises(CheckpointError, match=r"found \w+\.mkdir at weights; nothing"):
        read_torch_file(legacy(part, {"weights": Bomb(target)}, []))
    assert not target.exists()
    with pytest.raises(CheckpointError, match="damaged"):
        read_torch_file(legacy(part, {"a": 1}, ["unknown"], tail=bytes(8)))
    assert read_torch_file(legacy(part, {"a": 1}, [])) == {"a": 1}


def test_damaged_pickle_raises(tmp_path):
    path = tmp_path / "a.pth"
    for pickled in (b"", b"\x80\x02garbage", pickle.dumps({"a": 1})[:-3]):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
        with pytest.raises(CheckpointError, match="expected a pickle of tensors, it is damaged"):
            read_torch_file(path)


def test_other_archives_and_contents_raise(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"expected one data\.pkl, as torch\.save writes"):
        read_torch_file(path)
    with pytest.raises(CheckpointError, match="expected a dictionary, got list"):
        read_torch_file(write(path, [1, 2]))
    with pytest.raises(FileNotFoundError, match=r"expected a checkpoint at .*none\.pth"):
        read_torch_file(tmp_path / "none.pth")


def test_tensor_beyond_its_storage_raises(torch, tmp_path):
    whole, short = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"weights": torch.ones(1000)}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(short, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry.filename, content[:8] if "/data/" in entry.filename else content)
    with pytest.raises(
        CheckpointError, match="storage 0: expected 1000 numbers of float32, found 8"
    ):
        read_torch_file(short)


def test_tensor_with_wild_strides_raises():
    storage = np.zeros(4, np.float32)
    for shape, strides, offset in [
        ((5,), (1,), 0),
        ((2,), (9,), 0),
        ((2,), (-1,), 3),
        ((1,), (1,), 4),
    ]:
        with pytest.raises(CheckpointError, match=r"does not fit its storage of 4"):
            _tensor(storage, offset, shape, strides)
