"""The surface, skeleton and clips of a rigged glTF, as the file has them.

The rest mesh is the one that the skin was bound to, put into the file's world as the joints have
it; joints are those nodes that move a vertex. Every matrix here takes points at rest to the world.
"""

import io
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Float, Int
from PIL import Image

from pony_jax.data.gltf_file import GltfError, GltfFile, naming_damage, open_gltf

_TRIANGLES = 4
_TEXTURE_SIZE = 512
_FRAMES_PER_SECOND = 30.0
_SAME_POSE = 1e-3
"""Share of the body's size by which the poses may differ that two skins are bound in."""


class RiggedModel(NamedTuple):
    """Vertices are split where the file splits them, at seams of colour and of texture.

    Joints come parents first; `parents` are those of the file, joints that move nothing left out.
    """

    name: str
    verts: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    weights: Float[np.ndarray, "v k"]  # sum 1
    materials: Int[np.ndarray, " v"]
    colours: Float[np.ndarray, "v 3"]  # of material and vertex, linear
    uv: Float[np.ndarray, "v 2"]
    textures: dict[int, Float[np.ndarray, "t t 3"]]  # by material, sRGB in 0..1
    material_names: tuple[str, ...]
    joints: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for the roots
    bind: Float[np.ndarray, "k 3"]  # places of the joints at rest
    ends: Float[np.ndarray, "k 3"]  # of what hangs on a joint without being one; NaN without any
    clips: dict[str, Float[np.ndarray, "t k 4 4"]]  # world from rest, 30 frames a second


def read_rigged_model(path: str) -> RiggedModel:
    """Reads a `.glb` or `.gltf` file.

    Raises:
      GltfError: for a file without skin, clips or triangles, or with what is not read: compressed
        meshes, sparse arrays, several skins that are bound in different poses.
      OSError: if the file cannot be read.
    """
    file = open_gltf(path)
    with naming_damage(file.path):
        return _Reader(file).read()


class _Reader:
    """One file, and what is found out about it on the way."""

    def __init__(self, file: GltfFile) -> None:
        self._file, self._document = file, file.document
        self._path = file.path
        strange = [
            name
            for name in self._document.extensionsRequired or []
            if not name.startswith("KHR_materials_")
        ]
        if strange:
            raise GltfError(
                f"{self._path}: expected plain glTF 2.0, got one that needs {', '.join(strange)}; "
                "export it without compression"
            )
        if not self._document.skins:
            raise GltfError(
                f"{self._path}: expected a skin with joints, got none; export the mesh together "
                "with its armature"
            )
        if not self._document.animations:
            raise GltfError(
                f"{self._path}: expected animations to take poses from, got none; export the "
                "armature's actions as well"
            )
        (self._rest,), _ = file.worlds(file.rest_parts())
        self._bind = self._bind_matrices()

    def read(self) -> RiggedModel:
        parts = [
            part
            for node in self._file.order
            if self._document.nodes[node].mesh is not None
            for part in self._parts_of(node)
        ]
        if not parts:
            raise GltfError(f"{self._path}: expected triangles that joints move, got none")
        counts = np.cumsum([0, *(len(part["verts"]) for part in parts)])
        joined = {
            key: np.concatenate([part[key] for part in parts])
            for key in ("verts", "weights", "materials", "colours", "uv")
        }
        faces = np.concatenate([p["faces"] + n for p, n in zip(parts, counts, strict=False)])
        weights = joined["weights"]
        moving = [node for node in self._file.order if weights[:, node].sum() > 0]
        materials = self._document.materials or []
        return RiggedModel(
            name=self._path.stem,
            faces=faces,
            **joined | {"weights": weights[:, moving]},
            textures={
                i: texture
                for i in np.unique(joined["materials"]).tolist()
                if (texture := self._texture(i)) is not None
            },
            material_names=(
                *(m.name or f"material_{i}" for i, m in enumerate(materials)),
                "no material",
            ),
            joints=tuple(self._document.nodes[n].name or f"node_{n}" for n in moving),
            parents=tuple(self._moving_parent(node, moving) for node in moving),
            bind=self._bind[moving][:, :3, 3],
            ends=np.stack([self._end(node, moving) for node in moving]),
            clips=self._clips(moving),
        )

    def _bind_matrices(self) -> Float[np.ndarray, "n 4 4"]:
        """Every node as it stands when the mesh is at rest.

        The first skin's bind pose is put into the world by its first joint; further skins have to
        share a joint with those before. Nodes without bind matrix hang on their parents.
        """
        known: dict[int, np.ndarray] = {}
        self._world_from_mesh: list[np.ndarray] = []
        for skin in self._document.skins:
            inverse = self._file.inverse_bind_matrices(skin)
            joints = skin.joints[: len(inverse)]
            shared = [(j, m) for j, m in zip(joints, inverse, strict=True) if j in known]
            if known and not shared:
                raise GltfError(
                    f"{self._path}: expected skins that share a joint, got some that do not; join "
                    "the animal's meshes under one armature"
                )
            first, matrix = shared[0] if shared else (joints[0], inverse[0])
            world_from_mesh = known.get(first, self._rest[first]) @ matrix
            self._world_from_mesh.append(world_from_mesh)
            for joint, bind in zip(joints, world_from_mesh @ np.linalg.inv(inverse), strict=True):
                before = known.setdefault(joint, bind)
                size = np.ptp(np.stack([m[:3, 3] for m in known.values()]), axis=0).max()
                if np.abs(before - bind)[:3, 3].max() > _SAME_POSE * max(size, 1e-12):
                    raise GltfError(
                        f"{self._path}: expected skins that are bound in one pose, got "
                        f"{self._document.nodes[joint].name!r} in two places; bind all meshes in "
                        "the same pose"
                    )
        bind = self._rest.copy()
        for node in self._file.order:
            parent = self._file.parents[node]
            if node in known:
                bind[node] = known[node]
            elif parent >= 0:
                bind[node] = bind[parent] @ np.linalg.inv(self._rest[parent]) @ self._rest[node]
        return bind

    def _parts_of(self, node: int) -> list[dict[str, np.ndarray]]:
        """The primitives of a node's mesh, with a column of weights for every node."""
        skin = self._document.nodes[node].skin
        mesh = self._document.meshes[self._document.nodes[node].mesh]
        holder = self._holder(node) if skin is None else None
        if skin is None and holder is None:
            logging.warning(
                "%s: left out mesh %r, which no joint moves", self._path, mesh.name or node
            )
            return []
        parts = []
        for primitive in mesh.primitives:
            if primitive.mode not in (None, _TRIANGLES):
                raise GltfError(
                    f"{self._path}: expected triangles in mesh {mesh.name!r}, got primitives of "
                    f"mode {primitive.mode}; triangulate it"
                )
            part = self._surface(primitive)
            weights = np.zeros((len(part["verts"]), len(self._document.nodes)))
            if skin is None:
                weights[:, holder] = 1.0
                matrix = self._bind[node]
            else:
                self._add_weights(weights, primitive, self._document.skins[skin].joints)
                matrix = self._world_from_mesh[skin]
            part["verts"] = part["verts"] @ matrix[:3, :3].T + matrix[:3, 3]
            if np.linalg.det(matrix[:3, :3]) < 0:
                part["faces"] = part["faces"][:, ::-1]
            parts.append(part | {"weights": weights})
        return parts

    def _surface(self, primitive: Any) -> dict[str, np.ndarray]:
        attributes, file = primitive.attributes, self._file
        verts = file.array(attributes.POSITION)
        num = len(verts)
        faces = np.arange(num) if primitive.indices is None else file.integers(primitive.indices)
        if faces.size % 3 or faces.max(initial=0) >= num:
            raise GltfError(f"{self._path}: expected triangles of {num} vertices, got others")
        material = -1 if primitive.material is None else primitive.material
        uv = np.zeros((num, 2))
        if getattr(attributes, "TEXCOORD_0", None) is not None:
            uv = file.array(attributes.TEXCOORD_0)
        colours = np.tile(self._factor(material), (num, 1))
        if getattr(attributes, "COLOR_0", None) is not None:
            colours = colours * file.array(attributes.COLOR_0)[:, :3]
        return {
            "verts": verts,
            "faces": faces.reshape(-1, 3),
            "materials": np.full(num, material % (len(self._document.materials or []) + 1)),
            "colours": colours,
            "uv": uv,
        }

    def _add_weights(self, weights: np.ndarray, primitive: Any, joints: list[int]) -> None:
        rows = np.arange(len(weights))
        for number in (0, 1):
            indices = getattr(primitive.attributes, f"JOINTS_{number}", None)
            shares = getattr(primitive.attributes, f"WEIGHTS_{number}", None)
            if indices is None or shares is None:
                continue
            columns, values = self._file.integers(indices), self._file.array(shares)
            for column, value in zip(columns.T, values.T, strict=True):
                np.add.at(weights, (rows, np.asarray(joints)[column]), value)
        total = weights.sum(axis=1, keepdims=True)
        if not np.all(total > 0):
            raise GltfError(
                f"{self._path}: expected weights of joints at every vertex, got none at "
                f"{int(np.sum(total <= 0))}; weigh all vertices"
            )
        weights /= total

    def _holder(self, node: int) -> int | None:
        """The nearest joint that a mesh without skin hangs on."""
        joints = {joint for skin in self._document.skins for joint in skin.joints}
        while node >= 0 and node not in joints:
            node = int(self._file.parents[node])
        return node if node >= 0 else None

    def _factor(self, material: int) -> Float[np.ndarray, "3"]:
        if material < 0:
            return np.ones(3)
        surface = self._document.materials[material].pbrMetallicRoughness
        factor = surface.baseColorFactor if surface else None
        return np.ones(3) if factor is None else np.array(factor[:3], np.float64)

    def _texture(self, material: int) -> Float[np.ndarray, "t t 3"] | None:
        """The base colour texture of a material, as 512 x 512 pixels."""
        materials = self._document.materials or []
        surface = materials[material].pbrMetallicRoughness if material < len(materials) else None
        if surface is None or surface.baseColorTexture is None:
            return None
        texture = self._document.textures[surface.baseColorTexture.index]
        image = self._document.images[texture.source]
        if image.bufferView is not None:
            view = self._document.bufferViews[image.bufferView]
            start = view.byteOffset or 0
            content = self._file.buffer_bytes(view.buffer)[start : start + view.byteLength]
        else:
            content = self._document.get_data_from_buffer_uri(image.uri)
        picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG")).convert("RGB")
        picture = picture.resize((_TEXTURE_SIZE, _TEXTURE_SIZE), Image.Resampling.BILINEAR)
        return np.asarray(picture, np.float32) / 255.0

    def _moving_parent(self, node: int, moving: list[int]) -> int:
        node = int(self._file.parents[node])
        while node >= 0 and node not in moving:
            node = int(self._file.parents[node])
        return moving.index(node) if node >= 0 else -1

    def _end(self, node: int, moving: list[int]) -> Float[np.ndarray, "3"]:
        others = [c for c in self._document.nodes[node].children or [] if c not in moving]
        if not others:
            return np.full(3, np.nan)
        return self._bind[others[0], :3, 3]

    def _clips(self, moving: list[int]) -> dict[str, Float[np.ndarray, "t k 4 4"]]:
        rest_from_joint = np.linalg.inv(self._bind[moving])
        clips: dict[str, np.ndarray] = {}
        for i, animation in enumerate(self._document.animations):
            _, parts = self._file.animated_parts(animation, _FRAMES_PER_SECOND)
            matrices, _ = self._file.worlds(parts)
            name = (animation.name or f"clip_{i}").split("|")[-1]
            clips[name if name not in clips else f"{name}_{i}"] = (
                matrices[:, moving] @ rest_from_joint
            )
        return clips
