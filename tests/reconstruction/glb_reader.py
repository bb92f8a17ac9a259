"""A `.glb` read back and posed on the CPU, by the rules of the glTF specification alone."""

import io
from pathlib import Path

import numpy as np
import pygltflib as gltf
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

_TYPES = {gltf.FLOAT: "<f4", gltf.UNSIGNED_BYTE: "u1", gltf.UNSIGNED_SHORT: "<u2"}
_TYPES |= {gltf.UNSIGNED_INT: "<u4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A file with one skinned mesh of one primitive."""

    def __init__(self, path: Path):
        self.document = gltf.GLTF2().load_binary(str(path))
        self._blob = self.document.binary_blob()
        self.primitive = self.document.meshes[0].primitives[0]
        self.parents = {
            child: i for i, node in enumerate(self.document.nodes) for child in node.children or []
        }

    def array(self, accessor: int) -> np.ndarray:
        """The values of an accessor, [n] or [n, width]."""
        entry = self.document.accessors[accessor]
        view = self.document.bufferViews[entry.bufferView]
        width = _WIDTHS[entry.type]
        values = np.frombuffer(
            self._blob,
            _TYPES[entry.componentType],
            count=entry.count * width,
            offset=(view.byteOffset or 0) + (entry.byteOffset or 0),
        )
        return values.reshape(-1, width) if width > 1 else values

    def attribute(self, name: str) -> np.ndarray:
        return self.array(getattr(self.primitive.attributes, name))

    def texture(self) -> np.ndarray:
        view = self.document.bufferViews[self.document.images[0].bufferView]
        data = self._blob[view.byteOffset : view.byteOffset + view.byteLength]
        return np.asarray(Image.open(io.BytesIO(data)))

    def node(self, name: str) -> int:
        return [node.name for node in self.document.nodes].index(name)

    def world_from_node(self, node: int, moved: dict | None = None) -> np.ndarray:
        """Product of the transforms from the scene down; `moved` overrides parts of nodes."""
        entry = self.document.nodes[node]
        parts = {"translation": entry.translation, "rotation": entry.rotation}
        parts |= (moved or {}).get(node, {})
        local = np.eye(4)
        if parts["rotation"] is not None:
            local[:3, :3] = Rotation.from_quat(parts["rotation"]).as_matrix()
        if parts["translation"] is not None:
            local[:3, 3] = parts["translation"]
        if node not in self.parents:
            return local
        return self.world_from_node(self.parents[node], moved) @ local

    def animated(self, clip: int, time_s: float) -> dict[int, dict[str, np.ndarray]]:
        """Parts of nodes at a time of an animation, interpolated as LINEAR says."""
        moved: dict[int, dict[str, np.ndarray]] = {}
        animation = self.document.animations[clip]
        for channel in animation.channels:
            sampler = animation.samplers[channel.sampler]
            times, values = self.array(sampler.input), self.array(sampler.output)
            if channel.target.path == "rotation":
                value = Slerp(times, Rotation.from_quat(values))(time_s).as_quat()
            else:
                value = np.array([np.interp(time_s, times, axis) for axis in values.T])
            moved.setdefault(channel.target.node, {})[channel.target.path] = value
        return moved

    def skinned(self, moved: dict | None = None) -> np.ndarray:
        """World positions of the atlas's vertices."""
        skin = self.document.skins[0]
        inverse_bind = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
        world = np.stack([self.world_from_node(node, moved) for node in skin.joints])
        transforms = world @ inverse_bind
        position = self.attribute("POSITION").astype(np.float64)
        total = np.zeros_like(position)
        for i in range(5):
            if getattr(self.primitive.attributes, f"JOINTS_{i}", None) is None:
                break
            joints = self.attribute(f"JOINTS_{i}")
            shares = self.attribute(f"WEIGHTS_{i}").astype(np.float64)
            blended = np.einsum("vn,vnij->vij", shares, transforms[joints])
            total += np.einsum("vij,vj->vi", blended[:, :3, :3], position) + blended[:, :3, 3]
        return total
