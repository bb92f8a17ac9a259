"""Reads the skeleton and one animation of a glTF file."""

import struct
from pathlib import Path

import numpy as np
import pygltflib
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from pony_jax.reconstruction.motion.source import MotionFileError, SourceMotion, near_names

_TYPES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_COMPONENTS = {
    pygltflib.BYTE: np.int8,
    pygltflib.UNSIGNED_BYTE: np.uint8,
    pygltflib.SHORT: np.int16,
    pygltflib.UNSIGNED_SHORT: np.uint16,
    pygltflib.FLOAT: np.float32,
}
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, struct.error, OSError)
"""What damaged and foreign files raise in the library and here."""


def read_gltf_motion(
    path: str | Path, clip: str | None = None, *, frames_per_second: float = 30.0
) -> SourceMotion:
    """One animation of a `.glb` or `.gltf` file. All nodes are joints.

    At rest, joints of a skin stand as they are bound to it; other nodes as the file places them.

    Args:
      clip: name of the animation, or what follows `|` in it. None takes the only one.
      frames_per_second: at which it is looked at.

    Raises:
      MotionFileError: for a file that is cut or no glTF, or an animation that is not in it.
      OSError: if the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size  # raises where nothing is
    try:
        document = pygltflib.GLTF2().load(str(path))
        if document is None or not document.nodes:
            raise MotionFileError(f"{path}: expected glTF with nodes, got none")
        animation = _find_animation(path, document, clip)
        return _Reader(path, document).motion(animation, frames_per_second)
    except MotionFileError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120]
        raise MotionFileError(
            f"{path}: expected whole glTF, got {size} bytes that are not ({reason}); the file is "
            "cut or of another kind"
        ) from error


def _find_animation(path: Path, document: pygltflib.GLTF2, clip: str | None) -> pygltflib.Animation:
    animations = {
        animation.name or f"{i}": animation for i, animation in enumerate(document.animations)
    }
    if not animations:
        raise MotionFileError(f"{path}: expected animations, got a file without; nothing moves")
    if clip is None and len(animations) == 1:
        return next(iter(animations.values()))
    found = [a for name, a in animations.items() if clip in (name, name.split("|")[-1])]
    if len(found) != 1:
        short = [name.split("|")[-1] for name in animations]
        raise MotionFileError(
            f"{path}: expected the name of an animation out of {near_names(clip or '', short)}, "
            f"got {clip!r}"
        )
    return found[0]


class _Reader:
    """The nodes of one file."""

    def __init__(self, path: Path, document: pygltflib.GLTF2) -> None:
        self._path, self._document = path, document
        self._parents = np.full(len(document.nodes), -1)
        for i, node in enumerate(document.nodes):
            for child in node.children or []:
                if not 0 <= child < len(document.nodes) or self._parents[child] >= 0 or child == i:
                    raise MotionFileError(f"{path}: expected a tree of nodes, got another graph")
                self._parents[child] = i
        self._order = self._root_first()

    def _root_first(self) -> list[int]:
        order = [int(i) for i in np.flatnonzero(self._parents < 0)]
        for node in order:
            order += self._document.nodes[node].children or []
        if len(order) != len(self._parents):
            raise MotionFileError(f"{self._path}: expected a tree of nodes, got a circle")
        return order

    def motion(self, animation: pygltflib.Animation, frames_per_second: float) -> SourceMotion:
        """The animation, looked at in even steps."""
        channels = [c for c in animation.channels if c.target.node is not None]
        keys = {id(c): self._array(animation.samplers[c.sampler].input)[:, 0] for c in channels}
        end_s = max((float(times[-1]) for times in keys.values() if len(times)), default=0.0)
        times_s = np.arange(max(1, round(end_s * frames_per_second)) + 1) / frames_per_second
        shifts, turns, scales = self._rest_parts(len(times_s))
        for channel in channels:
            sampler, node = animation.samplers[channel.sampler], channel.target.node
            values = self._array(sampler.output)
            arguments = (np.minimum(times_s, end_s), keys[id(channel)], values)
            if channel.target.path == "rotation":
                turns[:, node] = _sampled_turns(*arguments, sampler.interpolation or "LINEAR")
            elif channel.target.path in ("translation", "scale"):
                parts = shifts if channel.target.path == "translation" else scales
                parts[:, node] = _sampled(*arguments, sampler.interpolation or "LINEAR")
        positions, rotations = self._worlds(shifts, turns, scales)
        rest = self._worlds(*self._rest_parts(1))
        rest_positions, rest_rotations = self._bound(rest[0][0], rest[1][0])
        return SourceMotion(
            name=(animation.name or self._path.stem).split("|")[-1],
            joints=tuple(node.name or f"node_{i}" for i, node in enumerate(self._document.nodes)),
            rest_positions=rest_positions,
            rest_rotations=rest_rotations,
            times_s=times_s,
            positions=positions,
            rotations=rotations,
        )

    def _rest_parts(self, frames: int):
        """Shift, turn and scale of every node against its parent, as the file places it."""
        shifts, turns, scales = [], [], []
        for node in self._document.nodes:
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
            np.tile(np.array(part, np.float64), (frames, *[1] * np.ndim(part)))
            for part in (shifts, turns, scales)
        )

    def _worlds(self, shifts, turns, scales):
        """Positions [t,j,3] and rotations [t,j,3,3] in the world."""
        matrices = np.tile(np.eye(4), (*shifts.shape[:2], 1, 1))
        local = matrices.copy()
        local[..., :3, :3] = turns * scales[..., None, :]
        local[..., :3, 3] = shifts
        rotations = np.empty_like(turns)
        for node in self._order:
            parent = self._parents[node]
            matrices[:, node] = (
                local[:, node] if parent < 0 else matrices[:, parent] @ local[:, node]
            )
            rotations[:, node] = (
                turns[:, node] if parent < 0 else rotations[:, parent] @ turns[:, node]
            )
        return matrices[..., :3, 3], rotations

    def _bound(self, positions: Float[np.ndarray, "j 3"], rotations: Float[np.ndarray, "j 3 3"]):
        """The rest pose with the joints of the first skin where they are bound to it."""
        skins = self._document.skins
        if not skins or skins[0].inverseBindMatrices is None:
            return positions, rotations
        joints = skins[0].joints
        inverse = self._array(skins[0].inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        bind = np.linalg.inv(inverse[: len(joints)])
        # Bind matrices are against the mesh, which stands in the world as its node does.
        holders = [i for i, node in enumerate(self._document.nodes) if node.skin == 0]
        mesh = np.eye(4)
        if holders:
            shifts, turns, scales = self._rest_parts(1)
            world = np.eye(4)
            node = holders[0]
            while node >= 0:
                local = np.eye(4)
                local[:3, :3] = turns[0, node] * scales[0, node]
                local[:3, 3] = shifts[0, node]
                world, node = local @ world, int(self._parents[node])
            mesh = world
        bind = mesh @ bind
        positions, rotations = positions.copy(), rotations.copy()
        positions[joints] = bind[:, :3, 3]
        linear = bind[:, :3, :3]
        rotations[joints] = linear / np.linalg.norm(linear, axis=1, keepdims=True)
        return positions, rotations

    def _array(self, index: int) -> Float[np.ndarray, "n c"]:
        """The values of an accessor, integers as shares of the largest one."""
        accessor = self._document.accessors[index]
        kind = _COMPONENTS.get(accessor.componentType)
        if (
            kind is None
            or accessor.type not in _TYPES
            or accessor.sparse is not None
            or (accessor.bufferView is None)
        ):
            raise MotionFileError(
                f"{self._path}: expected plain numbers in accessor {index}, got type "
                f"{accessor.type} of {accessor.componentType} (sparse ones are not read)"
            )
        view = self._document.bufferViews[accessor.bufferView]
        data = self._bytes(view.buffer)
        width, size = _TYPES[accessor.type], np.dtype(kind).itemsize
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        stride = view.byteStride or width * size
        end = start + stride * (accessor.count - 1) + width * size
        if accessor.count < 1 or end > len(data):
            raise MotionFileError(
                f"{self._path}: expected {end} bytes of data, got {len(data)}; the file is cut"
            )
        strides = (stride, size)
        values = np.ndarray((accessor.count, width), kind, data, start, strides).astype(np.float64)
        if np.issubdtype(kind, np.integer):
            values = np.maximum(values / np.iinfo(kind).max, -1.0)
        if not np.all(np.isfinite(values)):
            raise MotionFileError(
                f"{self._path}: expected finite numbers, got some in accessor {index} that are "
                "not; the file is damaged"
            )
        return values

    def _bytes(self, buffer: int) -> bytes:
        uri = self._document.buffers[buffer].uri
        if uri is None:
            return self._document.binary_blob() or b""
        try:
            return self._document.get_data_from_buffer_uri(uri)
        except (OSError, ValueError) as error:
            raise MotionFileError(f"{self._path}: expected the data {uri[:60]}: {error}") from error


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
