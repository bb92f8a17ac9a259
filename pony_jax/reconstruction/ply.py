"""PLY: one pose with coloured vertices, for geometry programs (MeshLab, CloudCompare, Open3D)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh

from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.atlas import colours
from pony_jax.reconstruction.obj import mesh_in_pose, refuse_clips


def write_ply(
    animal: Animal, path: Path, clips: Sequence[Clip] = (), *, pose: str = "photograph"
) -> list[Path]:
    """Writes a binary PLY with normals and RGB at the vertices, which are the mesh's own rows.

    Args:
      clips: must be empty: PLY has no motion.
      pose: 'photograph' or 'rest'.

    Raises:
      ValueError: for clips, an empty mesh or another pose.
    """
    refuse_clips(path, clips)
    mesh = mesh_in_pose(animal, pose)
    rgb = np.rint(255 * colours(animal.prior_verts, animal.albedo))
    coloured = trimesh.Trimesh(
        mesh.verts,
        mesh.faces,
        vertex_normals=mesh.vertex_normals(),
        vertex_colors=rgb.astype(np.uint8),
        process=False,
    )
    path.write_bytes(coloured.export(file_type="ply", vertex_normal=True))
    return [path]
