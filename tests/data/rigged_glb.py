"""A rigged, animated animal as small as can be: a box with a neck, made in code."""

import io
from pathlib import Path

import numpy as np
import pygltflib
from PIL import Image

from pony_jax.reconstruction.gltf_buffer import GltfBuffer

NECK = np.array([0.0, 0.2, 0.6])  # where the neck turns about
_TURNED = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)  # the world's axes in a z-up file


def surface() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles (outwards), and the weight of the neck: trunk, then neck and head.

    It looks along +z, and is symmetric in x.
    """
    boxes = [((-0.3, -0.5, -1.0), (0.3, 0.2, 0.6)), ((-0.1, 0.0, 0.6), (0.1, 0.8, 1.0))]
    verts, faces = [], []
    for low, high in boxes:
        corners = np.array(
            [[(low, high)[i >> axis & 1][axis] for axis in range(3)] for i in range(8)]
        )
        quads = [(0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6)]
        start = len(verts) * 8
        for a, b, c, d in quads:
            faces += [(start + a, start + b, start + c), (start + a, start + c, start + d)]
        verts.append(corners)
    verts = np.concatenate(verts)
    neck = np.repeat([0.0, 1.0], 8)
    neck[8:12] = 0.5  # where it grows out of the trunk
    return verts, np.array(faces), neck


def turn_x(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def quaternion(axis: int, degrees: float) -> list[float]:
    """x, y, z, w, as glTF has them."""
    turn = [0.0, 0.0, 0.0, np.cos(np.radians(degrees) / 2)]
    turn[axis] = np.sin(np.radians(degrees) / 2)
    return turn


def write_glb(
    path: Path,
    *,
    z_up: bool = False,
    skin: bool = True,
    clips: bool = True,
    end_turn: tuple[int, float] = (1, 90.0),
    joints: tuple[str, str] = ("Body", "Neck"),
    texture: np.ndarray | None = None,
    requires: tuple[str, ...] = (),
) -> Path:
    """Within a second the neck nods by 40 degrees, and the whole animal walks 2 ahead and turns.

    Args:
      z_up: armature and mesh are turned and 100 times as small, below a node that undoes it.
      end_turn: axis and degrees of the whole animal's turn.
      texture: of base colours, [h, w, 3] bytes; else the head is red and the trunk green.
    """
    verts, faces, neck = surface()
    size, axes = (0.01, _TURNED.T) if z_up else (1.0, np.eye(3))
    # The file's own space: world = axes.T @ x / size.
    local = lambda x: (np.asarray(x) @ axes.T * size).astype(np.float32)  # noqa: E731
    document = pygltflib.GLTF2(buffers=[pygltflib.Buffer()], extensionsRequired=list(requires))
    buffer = GltfBuffer(document)
    root_turn = quaternion(0, -90.0) if z_up else [0.0, 0.0, 0.0, 1.0]
    scale = [1 / size] * 3
    document.nodes = [
        pygltflib.Node(name="Armature", rotation=root_turn, scale=scale, children=[1]),
        pygltflib.Node(name=joints[0], translation=[0.0, 0.0, 0.0], children=[2]),
        pygltflib.Node(name=joints[1], translation=local(NECK).tolist()),
        pygltflib.Node(name="Animal", mesh=0, rotation=root_turn, scale=scale),
    ]
    if skin:
        document.nodes[3].skin = 0
        inverse = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
        inverse[1, :3, 3] = -local(NECK)
        document.skins = [
            pygltflib.Skin(joints=[1, 2], inverseBindMatrices=buffer.add_array(inverse))
        ]
    document.scenes = [pygltflib.Scene(nodes=[0, 3])]
    primitives = []
    for material, rows in enumerate((slice(0, 8), slice(8, 16))):
        count = len(verts[rows])
        of_part = faces[(faces >= rows.start).all(1) & (faces < rows.stop).all(1)] - rows.start
        weights = np.zeros((count, 4), np.float32)
        weights[:, 1] = neck[rows]
        weights[:, 0] = 1 - neck[rows]
        primitive = pygltflib.Primitive(
            attributes=pygltflib.Attributes(
                POSITION=buffer.add_array(local(verts[rows]), bounds=True),
                JOINTS_0=buffer.add_array(np.tile(np.array([0, 1, 0, 0], np.uint16), (count, 1))),
                WEIGHTS_0=buffer.add_array(weights),
                TEXCOORD_0=buffer.add_array(np.full((count, 2), 0.25, np.float32)),
            ),
            indices=buffer.add_array(of_part.reshape(-1).astype(np.uint32)),
            material=material,
        )
        primitives.append(primitive)
    document.meshes = [pygltflib.Mesh(name="Animal", primitives=primitives)]
    factors = [[0.0, 0.6, 0.0, 1.0], [0.6, 0.0, 0.0, 1.0]]
    document.materials = [
        pygltflib.Material(
            name=name, pbrMetallicRoughness=pygltflib.PbrMetallicRoughness(baseColorFactor=factor)
        )
        for name, factor in zip(("Trunk", "Head"), factors, strict=True)
    ]
    if texture is not None:
        file = io.BytesIO()
        Image.fromarray(texture).save(file, format="PNG")
        view = buffer.add_bytes(file.getvalue())
        document.images = [pygltflib.Image(bufferView=view, mimeType="image/png")]
        document.textures = [pygltflib.Texture(source=0)]
        document.materials[0].pbrMetallicRoughness = pygltflib.PbrMetallicRoughness(
            baseColorTexture=pygltflib.TextureInfo(index=0)
        )
    if clips:
        times = buffer.add_array(np.array([0, 1], np.float32), bounds=True)
        axis, degrees = end_turn
        # In a z-up file the world's y is z, and its z is -y.
        turned = axes @ np.eye(3)[axis]
        half = np.radians(degrees) / 2
        whole = [0, 0, 0, 1], [*(np.sin(half) * turned), np.cos(half)]
        nod = [0, 0, 0, 1], quaternion(0, 40.0)
        moves = [
            (1, "rotation", np.array(whole, np.float32)),
            (1, "translation", local([[0, 0, 0], [0, 0, 2]])),
            (2, "rotation", np.array(nod, np.float32)),
        ]
        samplers = [
            pygltflib.AnimationSampler(input=times, output=buffer.add_array(values))
            for _, _, values in moves
        ]
        channels = [
            pygltflib.AnimationChannel(
                sampler=i, target=pygltflib.AnimationChannelTarget(node=node, path=what)
            )
            for i, (node, what, _) in enumerate(moves)
        ]
        document.animations = [
            pygltflib.Animation(name="Rig|Nod", samplers=samplers, channels=channels)
        ]
    buffer.finish()
    document.save(str(path))
    return path
