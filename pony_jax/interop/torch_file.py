"""Reads PyTorch's checkpoint files without PyTorch, and without running anything in them.

A `.pth` file is a zip archive: a pickle that describes the objects, and one file of raw numbers a
storage. Unpickling calls whatever the pickle names, so a hostile file could run any program. Here
only tensors and plain containers are ever built; every other class or function that the pickle
names becomes an inert `Foreign`, and is refused unless it lies where the caller expects one.
"""

import collections
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np


class CheckpointError(ValueError):
    """A checkpoint file that cannot be used; the message says what and where."""


class Foreign:
    """Stands for an object of a class that is not known here. Never runs its code."""

    name = "?"

    def __init__(self, *args: object, **kwargs: object):
        del args, kwargs

    def __setstate__(self, state: object) -> None:
        del state

    def append(self, item: object) -> None:
        del item

    def extend(self, items: object) -> None:
        del items

    def __setitem__(self, key: object, value: object) -> None:
        del key, value


_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read_torch_file(path: Path, foreign_allowed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The dictionary in a file that `torch.save` wrote (PyTorch 1.6 or later); tensors as arrays.

    Args:
      foreign_allowed: top keys under which objects of unknown classes may lie. They come back as
        inert `Foreign` objects.

    Raises:
      FileNotFoundError: if there is no such file.
      CheckpointError: if the file is truncated or no such archive, holds something else than a
        dictionary, or an object of an unknown class elsewhere.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint at {path}, found no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            content = _Reader(archive).read()
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path}: expected a zip archive written by torch.save (PyTorch 1.6 or later), got "
            f"something else or part of one ({error}); copy or download the file again"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle fails in whatever way its bytes happen to
        raise CheckpointError(
            f"{path}: expected a pickle of tensors, it is damaged ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dictionary, got {type(content).__name__}")
    for place, name in _foreign_objects(content):
        if place[0] not in foreign_allowed:
            raise CheckpointError(
                f"{path}: expected tensors and plain containers, found {name} at "
                f"{'/'.join(map(str, place))}; nothing of it was run"
            )
    return content


def _foreign_objects(node: object, place: tuple = ()) -> Iterator[tuple[tuple, str]]:
    if isinstance(node, Foreign) or (isinstance(node, type) and issubclass(node, Foreign)):
        yield place or ("top",), node.name
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _foreign_objects(key, (*place, "a key"))
            yield from _foreign_objects(value, (*place, key))
    elif isinstance(node, list | tuple | set):
        for i, value in enumerate(node):
            yield from _foreign_objects(value, (*place, i))


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile):
        names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(names) != 1:
            raise CheckpointError("expected one data.pkl, as torch.save writes, found none or more")
        self._archive = archive
        self._folder = names[0].removesuffix("data.pkl")
        self._storages: dict[str, np.ndarray] = {}
        super().__init__(archive.open(names[0]))

    def read(self) -> object:
        folder = self._folder
        if f"{folder}byteorder" in self._archive.namelist():
            order = self._archive.read(f"{folder}byteorder").decode()
            if order != "little":
                raise CheckpointError(f"expected little-endian numbers, got {order!r}")
        return self.load()

    def find_class(self, module: str, name: str) -> object:
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, requires_grad, hooks: data,
            ("torch", "Size"): tuple,
        }
        if (module, name) in known:
            return known[module, name]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        return type(name, (Foreign,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: tuple) -> np.ndarray:
        kind, dtype, key, _, size = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise CheckpointError(
                f"expected a storage of numbers, got {getattr(dtype, 'name', pid)}"
            )
        if key not in self._storages:
            numbers = np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), np.uint8)
            if len(numbers) < size * dtype.itemsize:
                raise CheckpointError(
                    f"storage {key}: expected {size} numbers of {dtype}, found {len(numbers)} bytes"
                )
            self._storages[key] = numbers[: size * dtype.itemsize].view(dtype)
        return self._storages[key]


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
