"""One file that holds a trained model: a zip archive of arrays (`.npy`) and one JSON header.

`unzip` and `numpy.load` open it anywhere. Reading one runs nothing that is in it: there are numbers
and JSON, and both are checked. Numbers of 16 bits are stored as two planes of bytes, all high ones
and then all low ones: high bytes are much alike, so the archive is a seventh smaller.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pony_jax.model import Capacities
from pony_jax.reconstruction.head_direction import HEAD_DIRECTIONS
from pony_jax.reconstruction.learned import Learned, ModelError

SUFFIX = ".pony"
PRECISIONS = ("float16", "float32")

_HEADER = "model.json"
_FORMAT = "pony_jax model"
_VERSION = 1
_PARAMS, _FEATURES = "params/", "features/"
_PLANES = ".planes"
_MAX_BYTES = 1 << 30  # of one array or header, unpacked
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time that every entry is given, so that equal models are equal

_LARGEST = {
    "data.image_size": 1024,
    "model.coarse_resolution": 512,
    "model.fine_resolution": 512,
    "model.samples": 16,
    "model.refine_steps": 10_000,
    "model.num_body_bones": 64,
    "model.num_legs": 64,
    "model.num_leg_bones": 64,
}
"""Settings that decide how much memory and time one picture takes, whatever the arrays are."""


def write_pony(learned: Learned, path: Path, precision: str = "float16") -> None:
    """Writes a model to one file; the same model gives the same bytes.

    Args:
      precision: of the numbers, 'float16' or 'float32'; float16 halves the file.

    Raises:
      ValueError: for another precision, or numbers that it does not hold.
      OSError: if the file cannot be written; what was there before then stays.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {PRECISIONS}, got {precision!r}")
    arrays = {
        **{_PARAMS + k: v for k, v in flatten_dict(learned.params, sep="/").items()},
        **{_FEATURES + k: v for k, v in learned.features.items()},
    }
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": learned.name,
        "config": json.loads(learned.config.to_json()),
        "num_updates": learned.num_updates,
        "token_shape": list(learned.token_shape),
        "capacities": list(learned.capacities),
        "backbone": learned.backbone,
        "backbone_sha256": learned.backbone_sha256,
        "card": dict(learned.card),
        "head": learned.head,
    }
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w") as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name, _EPOCH)
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)

        add(_HEADER, json.dumps(header, indent=1, sort_keys=True).encode())
        for name, array in sorted(arrays.items()):
            add(*_stored(name, np.asarray(array), precision))
    partial.replace(path)


def read_pony(path: Path) -> Learned:
    """The model in a file that `write_pony` wrote.

    Raises:
      ModelError: if the file is cut, damaged, foreign, of a newer version, or asks for more than
        any model needs. One line.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {entry.filename: entry for entry in archive.infolist()}
            if _HEADER not in contents:
                raise ModelError(
                    f"expected a model that python -m pony_jax.pack wrote, found no {_HEADER} in it"
                )
            for name, entry in contents.items():
                if entry.file_size > _MAX_BYTES:
                    raise ModelError(
                        f"{name}: expected at most {_MAX_BYTES >> 20} MiB, "
                        f"found {entry.file_size >> 20} MiB"
                    )
            header = _checked_header(json.loads(archive.read(_HEADER)))
            arrays = dict(
                _restored(name, archive.read(name)) for name in contents if name != _HEADER
            )
        return _learned(header, arrays)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except Exception as error:  # a damaged archive fails in whatever way its bytes happen to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{path}: expected a model file ({SUFFIX}), got a cut, damaged or foreign one "
            f"({reason:.100}); copy or download it again"
        ) from error


def _stored(name: str, array: np.ndarray, precision: str) -> tuple[str, bytes]:
    """Name and content of an entry."""
    if not np.all(np.isfinite(array)) or np.max(np.abs(array), initial=0) > np.finfo(precision).max:
        raise ValueError(
            f"{name}: expected finite numbers within {precision}, found others; pack the model "
            "with --precision=float32, or train anew if it has diverged"
        )
    numbers = np.ascontiguousarray(array, np.dtype(precision).newbyteorder("<"))
    if precision == "float16":
        planes = numbers.reshape(*array.shape, 1).view(np.uint8)
        numbers, name = np.ascontiguousarray(np.moveaxis(planes, -1, 0)[::-1]), name + _PLANES
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, numbers, allow_pickle=False)
    return f"{name}.npy", buffer.getvalue()


def _restored(name: str, content: bytes) -> tuple[str, np.ndarray]:
    """The opposite of `_stored`, as float32."""
    array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    name = name.removesuffix(".npy")
    if name.endswith(_PLANES):
        if array.dtype != np.uint8 or array.ndim < 1 or array.shape[0] != 2:
            raise ModelError(f"{name}: expected two planes of bytes, got {array.dtype}")
        planes = np.ascontiguousarray(np.moveaxis(array[::-1], 0, -1))
        array, name = planes.view("<f2")[..., 0], name.removesuffix(_PLANES)
    if array.dtype.kind != "f":
        raise ModelError(f"{name}: expected numbers, got {array.dtype}")
    return name, array.astype(np.float32)


def _checked_header(header: Any) -> dict[str, Any]:
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ModelError(f"expected the header of a {_FORMAT}, found another in {_HEADER}")
    version = header.get("version")
    if not isinstance(version, int) or not 1 <= version <= _VERSION:
        raise ModelError(
            f"expected a model file of version {_VERSION} or older, got version {version!r}; "
            "install a newer pony_jax"
        )
    kinds = {
        "name": str,
        "config": dict,
        "num_updates": int,
        "token_shape": list,
        "capacities": list,
        "backbone": str,
        "backbone_sha256": str,
        "card": dict,
    }
    for key, kind in kinds.items():
        if not isinstance(header.get(key), kind):
            raise ModelError(
                f"{_HEADER}, {key}: expected {kind.__name__}, got {header.get(key)!r:.40}"
            )
    head = header.setdefault("head", "auto")  # files of earlier versions do not say
    if head not in HEAD_DIRECTIONS:
        raise ModelError(f"{_HEADER}, head: expected one of {HEAD_DIRECTIONS}, got {head!r:.40}")
    _check_range("num_updates", [header["num_updates"]], 1, 1 << 31, count=1)
    _check_range("token_shape", header["token_shape"], 1, 4096, count=2)
    count = len(Capacities._fields)
    _check_range("capacities", header["capacities"], 0, 1 << 26, count=count)
    for key, largest in _LARGEST.items():
        group, _, name = key.partition(".")
        value = dict(header["config"].get(group) or {}).get(name)
        _check_range(f"config {key}", [value], 0, largest, count=1)
    return dict(header)


def _check_range(key: str, values: list, smallest: int, largest: int, *, count: int) -> None:
    fits = len(values) == count and all(
        isinstance(value, int) and smallest <= value <= largest for value in values
    )
    if not fits:
        raise ModelError(
            f"{_HEADER}, {key}: expected {count} whole numbers of {smallest} to {largest}, got "
            f"{values!r:.60}"
        )


def _learned(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Learned:
    def under(prefix: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }

    return Learned(
        name=header["name"],
        config=ConfigDict(header["config"]).lock(),
        params=unflatten_dict(under(_PARAMS), sep="/"),
        num_updates=header["num_updates"],
        token_shape=tuple(header["token_shape"]),
        capacities=Capacities(*header["capacities"]),
        backbone=header["backbone"],
        backbone_sha256=header["backbone_sha256"],
        features=under(_FEATURES),
        card=header["card"],
        head=header["head"],
    )
