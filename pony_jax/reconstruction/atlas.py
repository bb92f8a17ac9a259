"""A UV atlas of a mesh and the texture that is baked into it."""

import dataclasses
import functools
import weakref
from collections.abc import Callable

import numpy as np
import xatlas
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy import ndimage

import rasterizer_ffi
from pony_jax.reconstruction.animal import Animal

# Texels between charts: a bilinear look-up two mip levels down stays inside its chart.
_PADDING_PX = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Atlas:
    """The mesh cut open along seams, where a vertex of the mesh has several in the atlas.

    Attributes:
      vert_rows: row of the mesh's vertices for each vertex of the atlas.
      faces: rows of the atlas's vertices; the mesh's faces, in their order and winding.
      uv: in 0..1, the origin at the texture's top left, as in glTF.
    """

    vert_rows: Int[np.ndarray, " w"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "w 2"]


def unwrap(
    verts: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], texture_size: int
) -> Atlas:
    """Charts of little stretch (xatlas), packed into a square of `texture_size` texels.

    Both sides of a symmetric animal have charts of their own. The same mesh gives the same atlas.

    Raises:
      ValueError: for a mesh without faces.
    """
    if not len(faces):
        raise ValueError("mesh: expected at least one face to unwrap, got an empty mesh")
    verts, faces = np.asarray(verts, np.float32), np.asarray(faces, np.uint32)
    return _unwrap(verts.tobytes(), faces.tobytes(), texture_size)


# All animals of a model share their prior's atlas, which takes as long as the rest of a file.
@functools.lru_cache(maxsize=4)
def _unwrap(verts: bytes, faces: bytes, texture_size: int) -> Atlas:
    atlas = xatlas.Atlas()
    atlas.add_mesh(
        np.frombuffer(verts, np.float32).reshape(-1, 3),
        np.frombuffer(faces, np.uint32).reshape(-1, 3),
    )
    options = xatlas.PackOptions()
    options.resolution = texture_size
    options.padding = _PADDING_PX
    options.bilinear = True
    atlas.generate(pack_options=options)
    # The scale is estimated such that all charts fit into one page, which may turn out not quite
    # square or of the asked size; uv are shares of that page, whatever its size.
    if atlas.atlas_count != 1:
        raise ValueError(
            f"texture_size: expected all {atlas.chart_count} charts to fit into {texture_size} "
            f"texels, got {atlas.atlas_count} pages; choose a larger texture"
        )
    vert_rows, atlas_faces, uv = atlas[0]
    return Atlas(vert_rows.astype(np.int32), atlas_faces.astype(np.int32), uv)


def bake(
    atlas: Atlas,
    points: Float[np.ndarray, "v 3"],
    albedo: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]],
    texture_size: int,
) -> UInt8[np.ndarray, "s s 3"]:
    """The texture: each texel has the colour of the point of the surface that it lies on.

    Texels beside the charts take the colour of the nearest one inside, so that no look-up mixes in
    a background.

    Args:
      points: of the mesh's vertices, in the space that `albedo` is defined in.
      albedo: RGB in 0..1 at points; what is beyond is cut.
      texture_size: side of the texture, texels.

    Raises:
      ValueError: if a colour is not finite.
    """
    position = np.concatenate(
        [2 * atlas.uv - 1, np.tile(np.float32([0, 1]), (len(atlas.uv), 1))], axis=1
    ).astype(np.float32)
    size = texture_size, texture_size
    rast, _ = rasterizer_ffi.rasterize(position[None], atlas.faces, size, grad_db=False)
    on_surface, _ = rasterizer_ffi.interpolate(points[atlas.vert_rows][None], rast, atlas.faces)
    covered = np.asarray(rast[0, ..., 3] > 0)
    rgb = np.zeros((*size, 3), np.float32)
    rgb[covered] = colours(np.asarray(on_surface[0])[covered], albedo)
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return np.rint(255 * rgb[tuple(nearest)]).astype(np.uint8)


def colours(
    points: Float[np.ndarray, "n 3"],
    albedo: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]],
) -> Float[np.ndarray, "n 3"]:
    """Albedo at some points, in 0..1. Raises `ValueError` if a colour is not finite."""
    rgb = np.asarray(albedo(points), np.float32)
    if rgb.shape != (len(points), 3) or not np.all(np.isfinite(rgb)):
        raise ValueError(
            f"albedo: expected {len(points)} finite colours [n, 3], got {list(rgb.shape)} with "
            f"{np.sum(~np.isfinite(rgb))} numbers that are not finite"
        )
    return np.clip(rgb, 0, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class TexturedMesh:
    """What textured files share: an animal's atlas and its baked colours.

    Attributes:
      texture: base colours as displayed (sRGB), top row first.
    """

    atlas: Atlas
    texture: UInt8[np.ndarray, "s s 3"]

    def image(self) -> Image.Image:
        """The texture as a picture."""
        return Image.fromarray(self.texture)


_BAKED: weakref.WeakKeyDictionary[Animal, dict[int, TexturedMesh]] = weakref.WeakKeyDictionary()


def bake_animal(animal: Animal, texture_size: int = 1024) -> TexturedMesh:
    """Unwraps an animal's mesh (on the prior's shape, which all animals share) and bakes it.

    What was made of an animal is kept as long as the animal is, so that all its files share it.

    Raises:
      ValueError: for an empty mesh, colours that are not finite, or a size below 16.
    """
    if texture_size < 16:
        raise ValueError(f"texture_size: expected at least 16 texels, got {texture_size}")
    baked = _BAKED.setdefault(animal, {})
    if texture_size not in baked:
        atlas = unwrap(animal.prior_verts, animal.rest_mesh.faces, texture_size)
        texture = bake(atlas, animal.prior_verts, animal.albedo, texture_size)
        baked[texture_size] = TexturedMesh(atlas, texture)
    return baked[texture_size]
