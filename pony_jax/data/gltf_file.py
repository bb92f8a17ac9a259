"""Reads nodes, arrays and animations of a glTF 2.0 file, `.glb` or `.gltf`.

`open_gltf` parses it with pygltflib, whose objects documents, animations, skins and primitives are;
the numbers behind them are asked of the `GltfFile`. Everything that a damaged or foreign file does
ends in a `GltfError` of one line.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation, Slerp

from pony_jax.errors import UserError

_TYPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_COMPONENTS = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
"""Types of numbers by glTF's code for them."""
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, struct.error, OSError)
"""What damaged and foreign files raise in the library and here."""

NodeParts = tuple[
    Float[np.ndarray, "t j 3"], Float[np.ndarray, "t j 3 3"], Float[np.ndarray, "t j 3"]
]
"""Shift, turn and scale of every node against its parent, in every frame."""


class GltfError(UserError, ValueError):
    """A file that cannot be used: one line with what was expected, found, and what to do."""


def open_gltf(path: str | Path) -> "GltfFile":
    """Opens a file.

    Raises:
      GltfError: for one that is cut or no glTF, or has no nodes; where pygltflib is missing.
      OSError: if it cannot be read.
    """
    try:
        import pygltflib  # the extra `export` brings it
    except ModuleNotFoundError as error:
        raise GltfError(
            "glTF files need pygltflib; install it: pip install 'pony_jax[export]'"
        ) from error
    path = Path(path)
    path.stat()  # raises where nothing is
    with naming_damage(path):
        document = pygltflib.GLTF2().load(str(path))
        if document is None or not document.nodes:
            raise GltfError(f"{path}: expected glTF with nodes, got none")
        return GltfFile(path, document)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turns what damaged files raise while they are read into a `GltfError`."""
    try:
        yield
    except UserError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120]
        raise GltfError(
            f"{path}: expected whole glTF, got {path.stat().st_size} bytes that are not "
            f"({reason}); the file is cut or of another kind"
        ) from error


class GltfFile:
    """An opened file. Its methods raise `GltfError` for numbers that are missing or damaged.

    Attributes:
      path: of the file.
      document: as pygltflib has parsed it.
      parents: of every node; -1 for those that hang on nothing.
      order: of all nodes, parents before their children.
    """

    def __init__(self, path: Path, document: Any) -> None:
        self.path, self.document = path, document
        self.parents = np.full(len(document.nodes), -1)
        for i, node in enumerate(document.nodes):
            for child in node.children or []:
                if not 0 <= child < len(document.nodes) or self.parents[child] >= 0 or child == i:
                    raise GltfError(f"{path}: expected a tree of nodes, got another graph")
                self.parents[child] = i
        self.order = self._root_first()

    def _root_first(self) -> list[int]:
        order = [int(i) for i in np.flatnonzero(self.parents < 0)]
        for node in order:
            order += self.document.nodes[node].children or []
        if len(order) != len(self.parents):
            raise GltfError(f"{self.path}: expected a tree of nodes, got a circle")
        return order

    def rest_parts(self, num_frames: int = 1) -> NodeParts:
        """The nodes as the file places them, the same in all frames."""
        shifts, turns, scales = [], [], []
        for node in self.document.nodes:
            if node.matrix:
                matrix = np.array(node.matrix, np.float64).reshape(4, 4).T
                shifts.append(matrix[:3, 3])
                scales.append(np.linalg.norm(matrix[:3, :3], axis=0))
                turns.append(matrix[:3, :3] / np.maximum(scales[-1], 1e-12))
            else:
                shifts.append(node.translation or [0.0, 0.0, 0.0])
                scales.append(node.scale or [1.0, 1.0, 1.0])
                turns.append(Rotation.from_quat(node.rotation or [0, 0, 0, 1]).as_matrix())
        return tuple(
            np.tile(np.array(part, np.float64), (num_frames, *[1] * np.ndim(part)))
            for part in (shifts, turns, scales)
        )

    def animated_parts(
        self, animation: Any, frames_per_second: float
    ) -> tuple[Float[np.ndarray, " t"], NodeParts]:
        """The times (s) at which an animation is looked at, and the nodes at each of them."""
        channels = [c for c in animation.channels if c.target.node is not None]
        keys = {id(c): self.array(animation.samplers[c.sampler].input)[:, 0] for c in channels}
        end_s = max((float(times[-1]) for times in keys.values() if len(times)), default=0.0)
        times_s = np.arange(max(1, round(end_s * frames_per_second)) + 1) / frames_per_second
        shifts, turns, scales = self.rest_parts(len(times_s))
        for channel in channels:
            sampler, node = animation.samplers[channel.sampler], channel.target.node
            values = self.array(sampler.output)
            arguments = (np.minimum(times_s, end_s), keys[id(channel)], values)
            if channel.target.path == "rotation":
                turns[:, node] = _sampled_turns(*arguments, sampler.interpolation or "LINEAR")
            elif channel.target.path in ("translation", "scale"):
                parts = shifts if channel.target.path == "translation" else scales
                parts[:, node] = _sampled(*arguments, sampler.interpolation or "LINEAR")
        return times_s, (shifts, turns, scales)

    def worlds(
        self, parts: NodeParts
    ) -> tuple[Float[np.ndarray, "t j 4 4"], Float[np.ndarray, "t j 3 3"]]:
        """Matrices of the nodes in the world, and their turns without any scale."""
        shifts, turns, scales = parts
        local = np.tile(np.eye(4), (*shifts.shape[:2], 1, 1))
        local[..., :3, :3] = turns * scales[..., None, :]
        local[..., :3, 3] = shifts
        matrices, rotations = local.copy(), turns.copy()
        for node in self.order:
            parent = self.parents[node]
            if parent >= 0:
                matrices[:, node] = matrices[:, parent] @ local[:, node]
                rotations[:, node] = rotations[:, parent] @ turns[:, node]
        return matrices, rotations

    def inverse_bind_matrices(self, skin: Any) -> Float[np.ndarray, "k 4 4"]:
        """From the space of a skin's mesh to that of each of its joints."""
        if skin.inverseBindMatrices is None:
            return np.tile(np.eye(4), (len(skin.joints), 1, 1))
        matrices = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        return matrices[: len(skin.joints)]

    def array(self, index: int) -> Float[np.ndarray, "n c"]:
        """The values of an accessor, integers as shares of the largest one."""
        values = self._stored(index)
        kind, values = values.dtype, values.astype(np.float64)
        if np.issubdtype(kind, np.integer):
            values = np.maximum(values / np.iinfo(kind).max, -1.0)
        if not np.all(np.isfinite(values)):
            raise GltfError(
                f"{self.path}: expected finite numbers, got some in accessor {index} that are "
                "not; the file is damaged"
            )
        return values

    def integers(self, index: int) -> Int[np.ndarray, "n c"]:
        """The values of an accessor of indices."""
        values = self._stored(index)
        if not np.issubdtype(values.dtype, np.integer):
            raise GltfError(f"{self.path}: expected whole numbers in accessor {index}, got others")
        return values.astype(np.int64)

    def _stored(self, index: int) -> np.ndarray:
        accessor = self.document.accessors[index]
        kind = _COMPONENTS.get(accessor.componentType)
        if (
            kind is None
            or accessor.type not in _TYPES
            or accessor.sparse is not None
            or (accessor.bufferView is None)
        ):
            raise GltfError(
                f"{self.path}: expected plain numbers in accessor {index}, got type "
                f"{accessor.type} of {accessor.componentType} (sparse ones are not read)"
            )
        view = self.document.bufferViews[accessor.bufferView]
        data = self.buffer_bytes(view.buffer)
        width, size = _TYPES[accessor.type], np.dtype(kind).itemsize
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        stride = view.byteStride or width * size
        end = start + stride * (accessor.count - 1) + width * size
        if accessor.count < 1 or end > len(data):
            raise GltfError(
                f"{self.path}: expected {end} bytes of data, got {len(data)}; the file is cut"
            )
        return np.ndarray((accessor.count, width), kind, data, start, (stride, size))

    def buffer_bytes(self, buffer: int) -> bytes:
        """The data of a buffer, in the file or beside it."""
        uri = self.document.buffers[buffer].uri
        if uri is None:
            return self.document.binary_blob() or b""
        try:
            return self.document.get_data_from_buffer_uri(uri)
        except (OSError, ValueError) as error:
            raise GltfError(f"{self.path}: expected the data {uri[:60]}: {error}") from error


def _sampled_turns(times_s, keys_s, values, interpolation: str) -> Float[np.ndarray, "t 3 3"]:
    if interpolation == "LINEAR" and len(keys_s) > 1:
        turns = Rotation.from_quat(values)
        return Slerp(keys_s, turns)(np.clip(times_s, keys_s[0], keys_s[-1])).as_matrix()
    return Rotation.from_quat(_sampled(times_s, keys_s, values, interpolation)).as_matrix()


def _sampled(times_s, keys_s, values, interpolation: str) -> np.ndarray:
    """Values between keys, as glTF 2.0 (3.11 and appendix C) says; constant before and after."""
    times_s = np.clip(times_s, keys_s[0], keys_s[-1])
    after = np.clip(np.searchsorted(keys_s, times_s, side="right"), 1, max(len(keys_s) - 1, 1))
    before = after - 1
    if interpolation == "CUBICSPLINE":
        tangent_in, points, tangent_out = np.moveaxis(values.reshape(len(keys_s), 3, -1), 1, 0)
    else:
        points = values
    if len(keys_s) == 1:
        return np.repeat(points, len(times_s), axis=0)
    step = keys_s[after] - keys_s[before]
    s = ((times_s - keys_s[before]) / step)[:, None]
    if interpolation == "STEP":
        return np.where(s < 1, points[before], points[after])
    if interpolation == "LINEAR":
        return points[before] * (1 - s) + points[after] * s
    step = step[:, None]
    return (
        (2 * s**3 - 3 * s**2 + 1) * points[before]
        + step * (s**3 - 2 * s**2 + s) * tangent_out[before]
        + (3 * s**2 - 2 * s**3) * points[after]
        + step * (s**3 - s**2) * tangent_in[after]
    )
