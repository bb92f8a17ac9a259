"""USDZ: rigged and textured, with one motion, for Apple's viewers and for film tools.

Needs the extra `usd` (Pixar's library, 200 MB installed), which is why it is not part of `export`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdSkel, UsdUtils, Vt
from scipy.spatial.transform import Rotation

from pony_jax.reconstruction import skin_weights
from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.atlas import TexturedMesh, bake_animal
from pony_jax.reconstruction.gltf import check_exportable
from pony_jax.reconstruction.joint_names import ROOT, JointNamesError, joint_names

_FRAMES_PER_SECOND = 24.0


def write_usdz(
    animal: Animal,
    path: Path,
    clips: Sequence[Clip] = (),
    *,
    texture_size: int = 1024,
    names: Mapping[str, str] | None = None,
) -> list[Path]:
    """Writes the rigged animal; returns the file.

    Four bones a vertex, as in the `.glb`. Without a clip the animal stands as in the photograph.

    Args:
      clips: at most one: viewers of USDZ play one motion.
      texture_size: side of the baked base colours, texels.
      names: names of joints that differ from ours, see `joint_names`; USD takes letters, digits
        and underscores.

    Raises:
      ValueError: for an empty mesh, more than one clip, one of another skeleton, or wrong names.
    """
    check_exportable(animal, clips)
    if len(clips) > 1:
        raise ValueError(
            f"{path.name}: expected at most one clip, which is what viewers of .usdz play, got "
            f"{len(clips)}; write a file for each, or a .glb"
        )
    named = joint_names(animal.skeleton, names)
    wrong = [name for name in named.values() if not Sdf.Path.IsValidIdentifier(name)]
    if wrong:
        raise JointNamesError(f"joint names: expected letters, digits and underscores, got {wrong}")
    textured = bake_animal(animal, texture_size)
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "animal.usdc"
        textured.image().save(Path(folder) / "albedo.png")
        stage = Usd.Stage.CreateNew(str(layer))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdSkel.Root.Define(stage, "/Animal")
        stage.SetDefaultPrim(root.GetPrim())
        order = animal.skeleton.root_first()
        skeleton = _add_skeleton(stage, animal, named, order)
        mesh = _add_mesh(stage, animal, textured, clips, order)
        UsdSkel.BindingAPI.Apply(mesh.GetPrim()).CreateSkeletonRel().SetTargets(
            [skeleton.GetPath()]
        )
        _add_motion(stage, animal, skeleton, clips[0] if clips else None, order)
        _add_material(stage, mesh)
        stage.Save()
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(path)):
            raise OSError(f"{path}: USD cannot write it")
    return [path]


def _add_skeleton(
    stage: Usd.Stage, animal: Animal, named: Mapping[str, str], order: Sequence[int]
) -> UsdSkel.Skeleton:
    """Joints in the order root, then `order`; at rest their axes are the world's."""
    paths = {-1: named[ROOT]}
    for bone in order:
        parent = paths[int(animal.skeleton.parents[bone])]
        paths[bone] = f"{parent}/{named[animal.skeleton.names[bone]]}"
    positions, offsets = _positions(animal, order)
    skeleton = UsdSkel.Skeleton.Define(stage, "/Animal/Skeleton")
    skeleton.CreateJointsAttr([paths[bone] for bone in (-1, *order)])
    skeleton.CreateBindTransformsAttr(_shifts(positions))
    skeleton.CreateRestTransformsAttr(_shifts(offsets))
    return skeleton


def _positions(
    animal: Animal, order: Sequence[int]
) -> tuple[Float[np.ndarray, "k+1 3"], Float[np.ndarray, "k+1 3"]]:
    """Of the joints at rest: in the world, and as seen from the parent."""
    skeleton = animal.skeleton
    at = {-1: skeleton.root_rest} | {bone: skeleton.bones_rest[bone, 0] for bone in order}
    offsets = [at[bone] - at[int(skeleton.parents[bone])] for bone in order]
    return np.stack([at[bone] for bone in (-1, *order)]), np.stack([at[-1], *offsets])


def _shifts(positions: Float[np.ndarray, "n 3"]) -> Vt.Matrix4dArray:
    return Vt.Matrix4dArray(
        [Gf.Matrix4d().SetTranslate(Gf.Vec3d(*row)) for row in positions.tolist()]
    )


def _add_mesh(
    stage: Usd.Stage,
    animal: Animal,
    textured: TexturedMesh,
    clips: Sequence[Clip],
    order: Sequence[int],
) -> UsdGeom.Mesh:
    atlas, rest = textured.atlas, animal.rest_mesh
    rows = atlas.vert_rows
    mesh = UsdGeom.Mesh.Define(stage, "/Animal/Mesh")
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    points = np.ascontiguousarray(rest.verts[rows], np.float32)
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
    mesh.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([points.min(0), points.max(0)])))
    mesh.CreateFaceVertexCountsAttr([3] * len(atlas.faces))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(atlas.faces.reshape(-1)))
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(rest.vertex_normals()[rows]))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    uv = np.stack([atlas.uv[:, 0], 1 - atlas.uv[:, 1]], axis=1).astype(np.float32)
    UsdGeom.PrimvarsAPI(mesh).CreatePrimvar(
        "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex
    ).Set(Vt.Vec2fArray.FromNumpy(uv))
    bones, shares = skin_weights.four_weights(animal, clips)
    joint_of_bone = np.empty(len(order), np.int32)
    joint_of_bone[list(order)] = np.arange(1, len(order) + 1)
    joints = np.where(shares > 0, joint_of_bone[bones], 0)[rows].astype(np.int32)
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateJointIndicesPrimvar(False, 4).Set(Vt.IntArray.FromNumpy(joints.reshape(-1)))
    binding.CreateJointWeightsPrimvar(False, 4).Set(
        Vt.FloatArray.FromNumpy(np.ascontiguousarray(shares[rows]).reshape(-1))
    )
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    return mesh


def _add_motion(
    stage: Usd.Stage,
    animal: Animal,
    skeleton: UsdSkel.Skeleton,
    clip: Clip | None,
    order: Sequence[int],
) -> None:
    """The clip, or the pose of the photograph as a motion that stands still."""
    motion = UsdSkel.Animation.Define(stage, "/Animal/Skeleton/Motion")
    motion.CreateJointsAttr(skeleton.GetJointsAttr().Get())
    _, offsets = _positions(animal, order)
    scales = Vt.Vec3hArray([Gf.Vec3h(1)] * len(offsets))
    motion.CreateScalesAttr(scales)
    angles = animal.angles_rad[None] if clip is None else clip.angles_rad
    turns = animal.skeleton.turns(angles)[:, list(order)]
    still = np.eye(3)[None] if clip is None else clip.root_rotation
    turns = np.concatenate([still[:, None], turns], axis=1)
    times = np.zeros(1) if clip is None else clip.times_s * _FRAMES_PER_SECOND
    rotations, translations = motion.CreateRotationsAttr(), motion.CreateTranslationsAttr()
    for frame, time in enumerate(times.tolist()):
        code = Usd.TimeCode.Default() if clip is None else Usd.TimeCode(time)
        moved = offsets.astype(np.float32)
        if clip is not None:
            moved[0] += clip.root_translation[frame]
        quaternions = Rotation.from_matrix(turns[frame]).as_quat(canonical=True).tolist()
        rotations.Set(Vt.QuatfArray([Gf.Quatf(w, x, y, z) for x, y, z, w in quaternions]), code)
        translations.Set(Vt.Vec3fArray.FromNumpy(moved), code)
    if clip is not None:
        stage.SetTimeCodesPerSecond(_FRAMES_PER_SECOND)
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(times[-1])
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([motion.GetPath()])


def _add_material(stage: Usd.Stage, mesh: UsdGeom.Mesh) -> None:
    material = UsdShade.Material.Define(stage, "/Animal/Coat")
    surface = UsdShade.Shader.Define(stage, "/Animal/Coat/Surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
    surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    reader = UsdShade.Shader.Define(stage, "/Animal/Coat/TextureCoordinates")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    texture = UsdShade.Shader.Define(stage, "/Animal/Coat/Albedo")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set("./albedo.png")
    texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    for wrap in ("wrapS", "wrapT"):
        texture.CreateInput(wrap, Sdf.ValueTypeNames.Token).Set("clamp")
    texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(
        reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    )
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
        texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
    )
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
