"""Wavefront OBJ: one pose with a texture, for programs that know neither skins nor glTF."""

from collections.abc import Sequence
from pathlib import Path

from pony_jax.reconstruction.animal import Animal, Clip, TriangleMesh
from pony_jax.reconstruction.atlas import bake_animal
from pony_jax.reconstruction.errors import ExportError


def write_obj(
    animal: Animal,
    path: Path,
    clips: Sequence[Clip] = (),
    *,
    pose: str = "photograph",
    texture_size: int = 1024,
) -> list[Path]:
    """Writes `NAME.obj`, `NAME.mtl` and `NAME.png`; returns them.

    Positions are world units; texture coordinates have their origin at the bottom left, as OBJ has.

    Args:
      clips: must be empty: OBJ has no motion.
      pose: 'photograph' or 'rest'.
      texture_size: side of the baked colours, texels.

    Raises:
      ValueError: for clips, an empty mesh, another pose, or a name with a space in it, which
        readers of OBJ cut.
    """
    refuse_clips(path, clips)
    if any(character.isspace() for character in path.name):
        raise ExportError(
            f"{path.name!r}: expected a name without spaces, which OBJ cannot refer to; rename the "
            "picture"
        )
    mesh = mesh_in_pose(animal, pose)
    textured = bake_animal(animal, texture_size)
    atlas = textured.atlas
    lines = [f"mtllib {path.stem}.mtl", f"o {path.stem}"]
    lines += ["v {:.6f} {:.6f} {:.6f}".format(*row) for row in mesh.verts.tolist()]
    lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in atlas.uv.tolist()]
    lines += ["vn {:.5f} {:.5f} {:.5f}".format(*row) for row in mesh.vertex_normals().tolist()]
    lines.append("usemtl coat")
    # A corner is position/texture/normal, each counted from 1.
    corners = zip((mesh.faces + 1).tolist(), (atlas.faces + 1).tolist(), strict=True)
    lines += [
        "f " + " ".join(f"{v}/{vt}/{v}" for v, vt in zip(*corner, strict=True))
        for corner in corners
    ]
    files = [path, path.with_suffix(".mtl"), path.with_suffix(".png")]
    files[0].write_text("\n".join(lines) + "\n", encoding="utf-8")
    files[1].write_text(
        f"newmtl coat\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {path.stem}.png\n", encoding="utf-8"
    )
    textured.image().save(files[2])
    return files


def refuse_clips(path: Path, clips: Sequence[Clip]) -> None:
    """Raises `ValueError` if there are clips, for formats without motion."""
    if clips:
        raise ValueError(
            f"{path.name}: expected no clips, since {path.suffix} holds one pose; write motion to "
            ".glb or .bvh"
        )


def mesh_in_pose(animal: Animal, pose: str) -> TriangleMesh:
    """The posed ('photograph') or the 'rest' mesh. Raises `ValueError` if it is empty."""
    meshes = {"photograph": animal.posed_mesh, "rest": animal.rest_mesh}
    if pose not in meshes:
        raise ValueError(f"pose: expected one of {tuple(meshes)}, got {pose!r}")
    if not len(meshes[pose].faces):
        raise ValueError(f"{animal.name}: expected a mesh with faces, got an empty one")
    return meshes[pose]
