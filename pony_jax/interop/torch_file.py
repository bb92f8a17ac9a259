"""Reads PyTorch's checkpoint files without PyTorch, and without running anything in them.

A `.pth` file is a zip archive: a pickle that describes the objects, and one file of raw numbers a
storage. Before PyTorch 1.6 it was a row of pickles with the raw numbers behind them. Unpickling
calls whatever the pickle names, so a hostile file could run any program. Here only tensors and
plain containers are ever built; every other class or function that the pickle names becomes an
inert `Foreign`, and is refused unless it lies where the caller expects one. Numbers of numpy are
read as well, since losses and epochs often are.
"""

import collections
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import ml_dtypes
import numpy as np

from pony_jax.errors import UserError


class CheckpointError(UserError, ValueError):
    """A checkpoint file that cannot be used; the message says what and where."""


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint file."""


class Foreign:
    """Stands for an object of a class or function that is not known here. Never runs its code."""

    name = "?"

    def __init__(self, *args: object, **kwargs: object):
        del args, kwargs

    def __setstate__(self, state: object) -> None:
        del state

    def __call__(self, *args: object, **kwargs: object) -> "Foreign":
        return self  # what a function that made this one would have made

    def append(self, item: object) -> None:
        del item

    def add(self, item: object) -> None:
        del item

    def extend(self, items: object) -> None:
        del items

    def __setitem__(self, key: object, value: object) -> None:
        del key, value


_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read_torch_file(path: Path, foreign_allowed: tuple[str, ...] | None = ()) -> dict[str, Any]:
    """The dictionary in a file that `torch.save` wrote, of either format; tensors as arrays.

    Args:
      foreign_allowed: top keys under which objects of unknown classes may lie; None for all. They
        come back as inert `Foreign` objects, which `check_plain` finds.

    Raises:
      MissingCheckpointError: if there is no such file.
      CheckpointError: if the file is truncated or not of `torch.save`, holds something else than a
        dictionary, or an object of an unknown class elsewhere.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise MissingCheckpointError(f"expected a checkpoint at {path}, found {kind}")
    try:
        content = _read(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint that can be read ({error.strerror or error})"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle fails in whatever way its bytes happen to
        raise CheckpointError(
            f"{path}: expected a pickle of tensors, it is damaged ({type(error).__name__}: {error})"
        ) from error
    if isinstance(content, Foreign):
        raise CheckpointError(
            f"{path}: expected a dictionary, got an object {content.name}; save what its "
            "state_dict() gives instead of the object"
        )
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dictionary, got {type(content).__name__}")
    if foreign_allowed is not None:
        kept = {key: value for key, value in content.items() if key not in foreign_allowed}
        try:
            check_plain(kept)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
    return content


def check_plain(content: object) -> None:
    """Raises `CheckpointError` that says where an object of an unknown class lies in `content`."""
    for place, name in _foreign_objects(content):
        raise CheckpointError(
            f"expected tensors and plain containers, found {name} at "
            f"{'/'.join(map(str, place))}; nothing of it was run"
        )


def _read(path: Path) -> object:
    with path.open("rb") as file:
        start = file.read(512)
        file.seek(0)
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return _read_archive(archive)
        file.seek(0)
        if start[:1] == b"\x80":  # a pickle
            return _read_legacy(io.BytesIO(file.read()))
    kinds = {
        b"version https://git-lfs": "the pointer of a file in Git LFS; fetch the file itself",
        b"<": "a page; download the file again",
        b"\x1f\x8b": "a file packed with gzip; unpack it first",
    }
    kind = next((kind for begin, kind in kinds.items() if start.lstrip().startswith(begin)), None)
    if kind is None and tarfile.is_tarfile(path):
        kind = "a tar archive, as PyTorch before 0.2 wrote it; load and save it with a newer one"
    raise CheckpointError(
        "expected a zip archive written by torch.save, got "
        + (kind or "something else or part of one; copy or download the file again")
    )


def _foreign_objects(node: object, place: tuple = ()) -> Iterator[tuple[tuple, str]]:
    if isinstance(node, Foreign) or (isinstance(node, type) and issubclass(node, Foreign)):
        yield place or ("top",), node.name
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _foreign_objects(key, (*place, "a key"))
            yield from _foreign_objects(value, (*place, key))
    elif isinstance(node, list | tuple | set | frozenset):
        for i, value in enumerate(node):
            yield from _foreign_objects(value, (*place, i))


_GetStorage = Callable[[str, np.dtype, int], np.ndarray]
"""The numbers of a storage, by its key, their type and how many there are."""


class _Reader(pickle.Unpickler):
    """Builds tensors of storages that `get_storage` finds."""

    def __init__(self, pickled: BinaryIO, get_storage: _GetStorage, build: Callable | None = None):
        """`build` is called with a storage and where a tensor lies in it; None builds arrays."""
        super().__init__(pickled)
        self._get_storage = get_storage
        self._build = build or _tensor

    def find_class(self, module: str, name: str) -> object:
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor"): self._build,
            ("torch._utils", "_rebuild_tensor_v2"): self._build,
            ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
            ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *rest: data,
            # Tensors of subclasses or with attributes: `make` comes from this table as well.
            ("torch._tensor", "_rebuild_from_type_v2"): lambda make, kind, args, state: make(*args),
            ("torch", "Size"): tuple,
            ("numpy", "dtype"): _NumpyType,
            ("numpy.core.multiarray", "scalar"): _numpy_number,
            ("numpy._core.multiarray", "scalar"): _numpy_number,
            ("_codecs", "encode"): _latin_bytes,
        }
        if (module, name) in known:
            return known[module, name]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        return type(name, (Foreign,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: tuple) -> np.ndarray:
        kind, dtype, key, _, size = pid[:5]
        if len(pid) > 5 and pid[5] is not None:
            raise CheckpointError(
                "expected whole storages, got a part of one, as PyTorch before 0.4 wrote it; load "
                "and save the file with a newer one"
            )
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise CheckpointError(
                f"expected a storage of numbers, got {getattr(dtype, 'name', pid)}"
            )
        return self._get_storage(key, dtype, size)


class _NumpyType:
    """Stands for a numpy.dtype, of which numbers need the kind and the order of bytes."""

    def __init__(self, text: object, *options: object):
        del options
        self.text, self.order = text, "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "<"


def _numpy_number(kind: object, raw: object = None) -> object:
    """A number of numpy, as Python's own; anything else stays foreign."""
    text = getattr(kind, "text", None)
    is_simple = isinstance(text, str) and len(text) == 2 and text[0] in "biuf" and text[1] in "1248"
    if not (isinstance(kind, _NumpyType) and is_simple and isinstance(raw, bytes)):
        return type("scalar", (Foreign,), {"name": "numpy.scalar"})()
    return np.frombuffer(raw, np.dtype(kind.order + text), count=1)[0].item()


def _latin_bytes(text: object, encoding: object) -> object:
    """How bytes are written in the older protocols of pickle."""
    if isinstance(text, str) and encoding in ("latin1", "latin-1"):
        return text.encode("latin1")
    return type("encode", (Foreign,), {"name": "_codecs.encode"})()


def _read_archive(archive: zipfile.ZipFile) -> object:
    """The object in a file of PyTorch 1.6 or later."""
    if any(name.endswith("/constants.pkl") for name in archive.namelist()):
        raise CheckpointError(
            "expected a file of torch.save, got a program of TorchScript; save its state_dict()"
        )
    names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
    if len(names) != 1:
        raise CheckpointError("expected one data.pkl, as torch.save writes, found none or more")
    folder = names[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist():
        order = archive.read(f"{folder}byteorder").decode()
        if order != "little":
            raise CheckpointError(f"expected little-endian numbers, got {order!r}")
    storages: dict[str, np.ndarray] = {}

    def get_storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
        if key not in storages:
            storages[key] = _numbers(archive.read(f"{folder}data/{key}"), key, dtype, size)
        return storages[key]

    return _Reader(archive.open(names[0]), get_storage).load()


_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def _read_legacy(file: io.BytesIO) -> object:
    """The object in a file of PyTorch before 1.6.

    Pickles of a magic number, the version, the machine, the object and the keys of its storages,
    then for each key a count of 8 bytes and the numbers. The object is unpickled twice: once to
    learn what the storages behind it hold, and again to build its tensors of them.
    """

    def load(get_storage: _GetStorage = _no_storage, build: Callable | None = None) -> Any:
        return _Reader(file, get_storage, build).load()

    if load() != _LEGACY_MAGIC:
        raise CheckpointError(
            "expected a file of torch.save, got another pickle; write it with torch.save"
        )
    version, machine = load(), load()
    if version != 1001 or machine.get("little_endian") is not True:
        raise CheckpointError(f"expected version 1001, little-endian, got {version}, {machine}")
    start = file.tell()
    kinds: dict[str, tuple[np.dtype, int]] = {}

    def note_kind(key: str, dtype: np.dtype, size: int) -> None:
        kinds[key] = dtype, size

    load(note_kind, build=lambda *place: None)
    storages = {}
    for key in load():
        count = int.from_bytes(file.read(8), "little")
        dtype, size = kinds[key]
        if count != size:
            raise CheckpointError(f"storage {key}: expected {size} numbers, found {count}")
        storages[key] = _numbers(file.read(size * dtype.itemsize), key, dtype, size)
    file.seek(start)
    return load(lambda key, dtype, size: storages[key])


def _no_storage(key: str, dtype: np.dtype, size: int) -> NoReturn:
    raise CheckpointError("expected no tensor in the head of the file, found one")


def _numbers(stored: bytes, key: str, dtype: np.dtype, size: int) -> np.ndarray:
    if len(stored) < size * dtype.itemsize:
        raise CheckpointError(
            f"storage {key}: expected {size} numbers of {dtype}, found {len(stored)} bytes"
        )
    return np.frombuffer(stored, np.uint8)[: size * dtype.itemsize].view(dtype)


def _tensor(
    storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *rest: object
) -> np.ndarray:
    """A copy of the part of a storage that a tensor shows."""
    del rest  # whether it wants a gradient, hooks
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        _bad_tensor(shape, storage)
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= len(storage):
        _bad_tensor(shape, storage)
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()


def _bad_tensor(shape: tuple, storage: np.ndarray) -> NoReturn:
    raise CheckpointError(f"a tensor of shape {shape} does not fit its storage of {len(storage)}")
