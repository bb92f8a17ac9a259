"""Rigged glTF: one `.glb` with mesh, skin, texture, animations, light and camera.

glTF's axes are the world's (right-handed, +y up, +z forward, -x the animal's right). At rest the
axes of every joint are the world's too, as in BVH; so inverse bind matrices are translations, and a
joint's rotation is what `Skeleton.turns` gives.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib as gltf
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from pony_jax.reconstruction import skin_weights
from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.atlas import TexturedMesh, bake_animal
from pony_jax.reconstruction.gltf_buffer import GltfBuffer
from pony_jax.reconstruction.joint_names import ROOT, joint_names

LIGHTS = ("punctual", "unlit")
INFLUENCES = ("4", "8", "all")
POSES = ("photograph", "rest")
_NEAR, _FAR = 0.1, 1000.0
Weights = tuple[Int[np.ndarray, "v n"], Float[np.ndarray, "v n"]]


def encode_glb(
    animal: Animal,
    clips: Sequence[Clip] = (),
    *,
    texture_size: int = 1024,
    influences: str = "4",
    light: str = "punctual",
    pose: str = "photograph",
    names: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a `.glb`; the same animal gives the same bytes.

    The scene has three nodes: the skinned mesh, the root joint with all others below it, and the
    camera of the photograph with the light that it saw. `asset.extras` says what glTF has no place
    for (units, the ambient light, the viewpoint hypotheses), and `extras.tip` of a joint where its
    bone ends, as seen from the joint at rest.

    Args:
      clips: animations, in a viewer's order.
      texture_size: side of the baked base colours, texels.
      influences: bones that a vertex follows, '4', '8' or 'all'. Every program reads four; then a
        vertex is within 0.5 % of the body's length of its place in the photograph, and within some
        percent in gaits. Eight are written as two sets, and keep within 0.6 % in gaits too
        (measured on the shipped horse); all bones pose exactly as the model does. Programs that
        read the first set only (most browsers' viewers) show these files worse than those of four.
      light: 'punctual' lights the mesh by `KHR_lights_punctual` (viewers add light of their own),
        'unlit' shows the base colours as they are.
      pose: in which a viewer shows the animal while no clip plays: 'photograph' or 'rest'. The rest
        pose is always there as the bind pose.
      names: names of joints that differ from ours, see `joint_names`.

    Raises:
      ValueError: for an empty mesh, a clip of another skeleton, two clips of one name, or an
        argument that is not among those above.
    """
    check_exportable(animal, clips)
    if light not in LIGHTS:
        raise ValueError(f"light: expected one of {LIGHTS}, got {light!r}")
    if influences not in INFLUENCES:
        raise ValueError(f"influences: expected one of {INFLUENCES}, got {influences!r}")
    if pose not in POSES:
        raise ValueError(f"pose: expected one of {POSES}, got {pose!r}")
    named = joint_names(animal.skeleton, names)
    textured = bake_animal(animal, texture_size)
    if influences == "4":
        weights = skin_weights.four_weights(animal, clips)
    else:
        count = animal.skeleton.num_bones if influences == "all" else int(influences)
        weights = skin_weights.largest_weights(animal.skin_weights, count)
    document = gltf.GLTF2(
        asset=gltf.Asset(generator="pony_jax", extras=_extras(animal)),
        scene=0,
        scenes=[gltf.Scene(name=animal.name)],
    )
    buffer = GltfBuffer(document)
    _add_material(document, buffer, animal, textured, light)
    _add_mesh(document, buffer, animal, textured, weights)
    angles = animal.angles_rad if pose == "photograph" else np.zeros_like(animal.angles_rad)
    joints = _add_skeleton(document, buffer, animal, named, angles)
    for clip in clips:
        _add_animation(document, buffer, animal, clip, joints)
    _add_camera(document, animal, light)
    buffer.finish()
    return b"".join(document.save_to_bytes())


def write_glb(animal: Animal, path: Path, clips: Sequence[Clip] = (), **options: Any) -> list[Path]:
    """Writes `encode_glb(animal, clips, **options)`; returns the file."""
    path.write_bytes(encode_glb(animal, clips, **options))
    return [path]


def check_exportable(animal: Animal, clips: Sequence[Clip]) -> None:
    """Raises `ValueError` for an empty mesh, a clip of another skeleton, or two of one name."""
    if not len(animal.rest_mesh.faces):
        raise ValueError(f"{animal.name}: expected a mesh with faces, got an empty one")
    k = animal.skeleton.num_bones
    taken = set()
    for clip in clips:
        if clip.angles_rad.shape[1] != k:
            raise ValueError(
                f"clip {clip.name!r}: expected angles of the {k} bones of {animal.name}, got "
                f"{clip.angles_rad.shape[1]}; make the clip for this skeleton"
            )
        if clip.name in taken:
            raise ValueError(f"clips: expected different names, got two called {clip.name!r}")
        taken.add(clip.name)


def _extras(animal: Animal) -> dict[str, Any]:
    return {
        "category": animal.category,
        "units": "world units of the model; the animal is not measured in metres",
        "body_length": _round(animal.body_length),
        "ambient_light": _round(animal.light.ambient),
        "diffuse_light": _round(animal.light.diffuse),
        "viewpoint_probabilities": [_round(p) for p in animal.hypotheses.probabilities],
    }


def _round(value: float) -> float:
    """Six digits: more would only be a float32's noise."""
    return float(f"{float(value):.6g}")


def _add_material(
    document: gltf.GLTF2, buffer: GltfBuffer, animal: Animal, textured: TexturedMesh, light: str
) -> None:
    png = io.BytesIO()
    textured.image().save(png, "PNG")
    document.images = [
        gltf.Image(name="albedo", mimeType="image/png", bufferView=buffer.add_bytes(png.getvalue()))
    ]
    document.samplers = [
        gltf.Sampler(
            magFilter=gltf.LINEAR,
            minFilter=gltf.LINEAR_MIPMAP_LINEAR,
            wrapS=gltf.CLAMP_TO_EDGE,
            wrapT=gltf.CLAMP_TO_EDGE,
        )
    ]
    document.textures = [gltf.Texture(sampler=0, source=0)]
    material = gltf.Material(
        name=f"{animal.name}_coat",
        alphaMode=None,
        alphaCutoff=None,
        doubleSided=False,
        pbrMetallicRoughness=gltf.PbrMetallicRoughness(
            baseColorTexture=gltf.TextureInfo(index=0),
            baseColorFactor=None,
            metallicFactor=0.0,
            roughnessFactor=1.0,
        ),
    )
    if light == "unlit":
        material.extensions = {"KHR_materials_unlit": {}}
        document.extensionsUsed.append("KHR_materials_unlit")
    document.materials = [material]


def _add_mesh(
    document: gltf.GLTF2,
    buffer: GltfBuffer,
    animal: Animal,
    textured: TexturedMesh,
    weights: Weights,
) -> None:
    atlas, mesh = textured.atlas, animal.rest_mesh
    rows = atlas.vert_rows
    array = gltf.ARRAY_BUFFER
    attributes = gltf.Attributes(
        POSITION=buffer.add_array(mesh.verts[rows].astype(np.float32), array, bounds=True),
        NORMAL=buffer.add_array(mesh.vertex_normals()[rows], array),
        TEXCOORD_0=buffer.add_array(atlas.uv.astype(np.float32), array),
    )
    bones, shares = weights
    # Joint 0 is the root, which no vertex follows on its own; where a share is 0, so is the joint.
    joints = np.where(shares > 0, bones + 1, 0)[rows]
    joints = joints.astype(np.uint8 if animal.skeleton.num_bones < 256 else np.uint16)
    for i in range(shares.shape[1] // 4):
        four = slice(4 * i, 4 * i + 4)
        setattr(attributes, f"JOINTS_{i}", buffer.add_array(joints[:, four], array))
        setattr(attributes, f"WEIGHTS_{i}", buffer.add_array(shares[rows, four], array))
    index_type = np.uint16 if len(rows) < 0xFFFF else np.uint32
    indices = buffer.add_array(
        atlas.faces.reshape(-1).astype(index_type), gltf.ELEMENT_ARRAY_BUFFER
    )
    primitive = gltf.Primitive(attributes=attributes, indices=indices, material=0)
    document.meshes = [gltf.Mesh(name=animal.name, primitives=[primitive])]
    document.nodes.append(gltf.Node(name=animal.name, mesh=0, skin=0))
    document.scenes[0].nodes.append(0)


def _add_skeleton(
    document: gltf.GLTF2,
    buffer: GltfBuffer,
    animal: Animal,
    named: Mapping[str, str],
    angles_rad: Float[np.ndarray, "k 3"],
) -> list[int]:
    """Adds the joints, posed at `angles_rad`, and the skin. Returns their nodes, the root first."""
    skeleton = animal.skeleton
    first = len(document.nodes)
    nodes = [first + i for i in range(skeleton.num_bones + 1)]
    rest = _joint_positions(animal)
    offsets = rest.copy()
    offsets[1:] -= rest[skeleton.parents + 1]
    rotations = _quaternions(skeleton.turns(angles_rad))
    for i, ours in enumerate((ROOT, *skeleton.names)):
        children = [nodes[1 + j] for j in np.flatnonzero(skeleton.parents == i - 1)]
        node = gltf.Node(name=named[ours], translation=offsets[i].tolist(), children=children)
        if i:
            near, far = skeleton.bones_rest[i - 1]
            node.rotation = rotations[i - 1].tolist()
            node.extras = {"tip": [_round(x) for x in far - near]}
        document.nodes.append(node)
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (len(rest), 1, 1))
    inverse_bind[:, :3, 3] = -rest
    document.skins = [
        gltf.Skin(
            name=f"{animal.name}_rig",
            inverseBindMatrices=buffer.add_array(inverse_bind),
            skeleton=first,
            joints=nodes,
        )
    ]
    document.scenes[0].nodes.append(first)
    return nodes


def _joint_positions(animal: Animal) -> Float[np.ndarray, "k+1 3"]:
    """Where the joints are at rest, the root first."""
    skeleton = animal.skeleton
    return np.concatenate([skeleton.root_rest[None], skeleton.bones_rest[:, 0]]).astype(np.float32)


def _quaternions(rotations: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 4"]:
    """Unit quaternions (x, y, z, w); along the first axis each is on its predecessor's side."""
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat(canonical=True)
    quaternions = flat.reshape(*rotations.shape[:-2], 4)
    if quaternions.ndim == 3:  # frames, bones: a viewer then turns the short way
        turned = np.sum(quaternions[1:] * quaternions[:-1], axis=-1) < 0
        sign = np.cumprod(np.where(turned, -1.0, 1.0), axis=0)
        quaternions[1:] *= sign[..., None]
    return quaternions.astype(np.float32)


def _add_animation(
    document: gltf.GLTF2, buffer: GltfBuffer, animal: Animal, clip: Clip, joints: Sequence[int]
) -> None:
    times = buffer.add_array(clip.times_s.astype(np.float32), bounds=True)
    turns = animal.skeleton.turns(clip.angles_rad)
    rotations = _quaternions(np.concatenate([clip.root_rotation[:, None], turns], axis=1))
    translation = animal.skeleton.root_rest + clip.root_translation
    tracks = [(joints[0], "translation", translation.astype(np.float32))]
    tracks += [(node, "rotation", rotations[:, i]) for i, node in enumerate(joints)]
    animation = gltf.Animation(name=clip.name)
    for node, path, values in tracks:
        animation.channels.append(
            gltf.AnimationChannel(
                sampler=len(animation.samplers),
                target=gltf.AnimationChannelTarget(node=node, path=path),
            )
        )
        animation.samplers.append(
            gltf.AnimationSampler(
                input=times, output=buffer.add_array(values), interpolation=gltf.ANIM_LINEAR
            )
        )
    document.animations.append(animation)


def _add_camera(document: gltf.GLTF2, animal: Animal, light: str) -> None:
    """The camera of the photograph, and as its child the light, whose direction is the camera's."""
    camera = animal.camera
    document.cameras = [
        gltf.Camera(
            name="photograph",
            type="perspective",
            perspective=gltf.Perspective(
                yfov=float(np.deg2rad(camera.fov_y_deg)), aspectRatio=1.0, znear=_NEAR, zfar=_FAR
            ),
        )
    ]
    world_from_cam = camera.world_from_cam
    node = gltf.Node(
        name="camera",
        camera=0,
        translation=world_from_cam[:3, 3].astype(np.float32).tolist(),
        rotation=_quaternions(world_from_cam[None, :3, :3])[0].tolist(),
    )
    index = len(document.nodes)
    document.scenes[0].nodes.append(index)
    document.nodes.append(node)
    if light == "unlit":
        return
    node.children = [index + 1]
    # A directional light shines along its node's -z, so +z points towards the light.
    turn, _ = Rotation.align_vectors(animal.light.direction_cam[None], [[0.0, 0.0, 1.0]])
    document.nodes.append(
        gltf.Node(
            name="light",
            rotation=turn.as_quat(canonical=True).astype(np.float32).tolist(),
            extensions={"KHR_lights_punctual": {"light": 0}},
        )
    )
    document.extensionsUsed.append("KHR_lights_punctual")
    # In lux; a surface returns 1 / pi of what falls on it.
    document.extensions["KHR_lights_punctual"] = {
        "lights": [
            {
                "name": "light",
                "type": "directional",
                "color": [1.0, 1.0, 1.0],
                "intensity": _round(np.pi * max(animal.light.diffuse, 0.0)),
            }
        ]
    }
