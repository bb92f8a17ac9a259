"""What is reconstructed from one photograph: plain numpy arrays with names, units and frames.

The world is the animal's rest frame: right-handed, +x the animal's own left, +y up, +z forward
(tail to head), the plane of symmetry at x = 0; glTF's axes are the same. World units are the
model's: the camera stands about 10 from an animal that is some 3 to 4 long. Camera space has x
right, y up, and looks along -z. Angles are radians, matrices act on columns.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from pony_jax.ops.cameras import perspective_matrix
from pony_jax.reconstruction.skeleton import Skeleton


def _check_finite(what: str, values: np.ndarray) -> None:
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{what}: expected finite numbers, got some that are not")


def _check_shape(what: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if np.shape(values) != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {np.shape(values)}")


@dataclasses.dataclass(frozen=True, eq=False)
class TriangleMesh:
    """A triangle mesh without padding.

    Attributes:
      verts: positions, world units.
      faces: rows of `verts`, counter-clockwise seen from outside.
    """

    verts: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]

    def __post_init__(self) -> None:
        for what, values in {"verts": self.verts, "faces": self.faces}.items():
            if np.ndim(values) != 2 or np.shape(values)[1] != 3:
                raise ValueError(f"{what}: expected [n, 3], got {list(np.shape(values))}")
        _check_finite("verts", self.verts)
        if self.faces.size and not 0 <= self.faces.min() <= self.faces.max() < len(self.verts):
            raise ValueError(
                f"faces: expected rows of {len(self.verts)} vertices, got "
                f"{self.faces.min()} to {self.faces.max()}; cut padding off first"
            )

    def vertex_normals(self) -> Float[np.ndarray, "v 3"]:
        """Unit normals, outwards; large faces count more. +z where faces cancel or are missing."""
        a, b, c = (self.verts[corner].astype(np.float64) for corner in self.faces.T)
        crosses = np.cross(b - a, c - a)
        total = np.zeros((len(self.verts), 3))
        for corner in self.faces.T:
            np.add.at(total, corner, crosses)
        length = np.linalg.norm(total, axis=-1, keepdims=True)
        regular = length > 1e-10
        return np.where(regular, total / np.where(regular, length, 1.0), [0, 0, 1]).astype("f4")


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """The pinhole camera that took the (square) crop of the photograph.

    Attributes:
      cam_from_world: rigid motion to camera space.
      fov_y_deg: vertical field of view, degrees; the aspect ratio is 1.
      image_size: side of the image that the model saw, px.
    """

    cam_from_world: Float[np.ndarray, "4 4"]
    fov_y_deg: float
    image_size: int

    def __post_init__(self) -> None:
        _check_shape("cam_from_world", self.cam_from_world, (4, 4))
        _check_finite("cam_from_world", self.cam_from_world)

    @property
    def clip_from_world(self) -> Float[np.ndarray, "4 4"]:
        """Projection for `rasterizer_ffi`: clip space has y down, row 0 is the image's top."""
        return perspective_matrix(self.fov_y_deg) @ self.cam_from_world

    @property
    def world_from_cam(self) -> Float[np.ndarray, "4 4"]:
        """Where the camera stands and how it is turned, in the world."""
        rotation = self.cam_from_world[:3, :3].astype(np.float64)
        inverse = np.eye(4)
        inverse[:3, :3] = rotation.T
        inverse[:3, 3] = -rotation.T @ self.cam_from_world[:3, 3]
        return inverse


@dataclasses.dataclass(frozen=True, eq=False)
class Light:
    """Directional light: shading is `ambient + diffuse * max(0, direction . normal)`.

    Attributes:
      direction_cam: unit vector towards the light, camera space.
      ambient, diffuse: strengths; colours are albedo times shading, both as displayed (not linear).
    """

    direction_cam: Float[np.ndarray, " 3"]
    ambient: float
    diffuse: float

    def __post_init__(self) -> None:
        _check_shape("direction_cam", self.direction_cam, (3,))
        for field in dataclasses.fields(self):
            _check_finite(field.name, getattr(self, field.name))


@dataclasses.dataclass(frozen=True, eq=False)
class Hypotheses:
    """All viewpoints that were considered; the animal's camera is the most probable one's.

    Attributes:
      probabilities: sum to 1.
      rotations: rows are the animal's left (+x), up and forward vectors in camera space.
    """

    probabilities: Float[np.ndarray, " m"]
    rotations: Float[np.ndarray, "m 3 3"]

    def __post_init__(self) -> None:
        _check_shape("rotations", self.rotations, (len(self.probabilities), 3, 3))


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A motion of one skeleton, to be interpolated linearly between its frames.

    Attributes:
      name: as viewers list it, for example `walk`.
      times_s: of the frames, seconds; starts at 0 and increases. A loop's last frame equals its
        first, or is ahead of it by a root translation.
      angles_rad: Euler angles of each bone, as `Animal.pose` takes them.
      root_translation: of the root joint from its rest position, world units.
      root_rotation: of the whole animal about the root joint, before the translation.
    """

    name: str
    times_s: Float[np.ndarray, " t"]
    angles_rad: Float[np.ndarray, "t k 3"]
    root_translation: Float[np.ndarray, "t 3"]
    root_rotation: Float[np.ndarray, "t 3 3"]

    def __post_init__(self) -> None:
        t = len(self.times_s)
        if not t or self.times_s[0] != 0 or np.any(np.diff(self.times_s) <= 0):
            raise ValueError(f"clip {self.name!r}: expected times that start at 0 and increase")
        if np.ndim(self.angles_rad) != 3:
            raise ValueError(
                f"clip {self.name!r}: angles_rad: expected [t, k, 3], got "
                f"{list(np.shape(self.angles_rad))}"
            )
        _check_shape("angles_rad", self.angles_rad, (t, np.shape(self.angles_rad)[1], 3))
        _check_shape("root_translation", self.root_translation, (t, 3))
        _check_shape("root_rotation", self.root_rotation, (t, 3, 3))
        for field in ("times_s", "angles_rad", "root_translation", "root_rotation"):
            _check_finite(f"clip {self.name!r}: {field}", getattr(self, field))


@dataclasses.dataclass(frozen=True, eq=False)
class Animal:
    """One reconstructed animal. All meshes share their faces; row i is the same point in all.

    Attributes:
      name: of the photograph, without folder and suffix; names files and nodes.
      category: of the model, for example `horse`.
      rest_mesh: this individual at rest (the prior deformed).
      posed_mesh: posed as in the photograph: `pose(angles_rad)`.
      prior_verts: of the category's mean shape: the space that `albedo` is defined in.
      skeleton: bones in the rest mesh.
      skin_weights: share of each bone in each vertex; rows sum to 1.
      angles_rad: joint angles in the photograph: Euler angles (x, y, z) of each bone.
      camera: that took the crop.
      light: in the photograph.
      hypotheses: of the viewpoint.
      albedo: colours (RGB 0..1, as displayed) at points of the prior space; for any number of
        points.
      photograph: the square crop that the model saw, top row first; None if it is not to be shown.
      mask: of the animal in that crop, 0..1.
      box_px: (x0, y0, width, height) of the crop in the photograph, which it may exceed.
    """

    name: str
    category: str
    rest_mesh: TriangleMesh
    posed_mesh: TriangleMesh
    prior_verts: Float[np.ndarray, "v 3"]
    skeleton: Skeleton
    skin_weights: Float[np.ndarray, "v k"]
    angles_rad: Float[np.ndarray, "k 3"]
    camera: Camera
    light: Light
    hypotheses: Hypotheses
    albedo: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]]
    photograph: UInt8[np.ndarray, "h h 3"] | None = None
    mask: Float[np.ndarray, "h h"] | None = None
    box_px: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        v, k = len(self.rest_mesh.verts), self.skeleton.num_bones
        _check_shape("posed_mesh.verts", self.posed_mesh.verts, (v, 3))
        if not np.array_equal(self.posed_mesh.faces, self.rest_mesh.faces):
            raise ValueError("posed_mesh.faces: expected the faces of rest_mesh, got others")
        _check_shape("prior_verts", self.prior_verts, (v, 3))
        _check_shape("skin_weights", self.skin_weights, (v, k))
        _check_shape("angles_rad", self.angles_rad, (k, 3))
        for field in ("prior_verts", "skin_weights", "angles_rad"):
            _check_finite(field, getattr(self, field))
        sums = self.skin_weights.sum(axis=1, dtype=np.float64)
        if np.any(self.skin_weights < 0) or np.any(np.abs(sums - 1) > 1e-3):
            wrong = int(np.argmax(np.abs(sums - 1)))
            raise ValueError(
                "skin_weights: expected rows that are not negative and sum to 1, but those of "
                f"vertex {wrong} sum to {sums[wrong]:.3g}"
            )

    @property
    def body_length(self) -> float:
        """Extent of the rest mesh along z, tail to head, world units; 0 for an empty mesh."""
        z = self.rest_mesh.verts[:, 2]
        return float(np.ptp(z)) if len(z) else 0.0

    def pose(
        self,
        angles_rad: Float[np.ndarray, "k 3"],
        root_translation: Float[np.ndarray, " 3"] | None = None,
        root_rotation: Float[np.ndarray, "3 3"] | None = None,
    ) -> TriangleMesh:
        """The rest mesh at some joint angles, by linear blend skinning.

        Args:
          angles_rad: Euler angles (x, y, z) of each bone about its own axes, radians; zeros give
            the rest mesh.
          root_translation, root_rotation: of the whole animal, see `Skeleton.world_from_rest`.

        Raises:
          ValueError: for another number of bones, or angles that are not finite.
        """
        transforms = self.skeleton.world_from_rest(angles_rad, root_translation, root_rotation)
        blended = np.einsum("vk,kij->vij", self.skin_weights, transforms[:, :3])
        verts = np.einsum("vij,vj->vi", blended[..., :3], self.rest_mesh.verts) + blended[..., 3]
        return TriangleMesh(verts.astype(np.float32), self.rest_mesh.faces)

    def export(
        self, path: str | Path, *, clips: Sequence[Clip] = (), **options: object
    ) -> list[Path]:
        """Writes the animal to a file whose suffix says the format; see `files.export`."""
        from pony_jax.reconstruction import files  # which imports this module

        return files.export(self, path, clips=clips, **options)

    def show(self, clips: Sequence[Clip] = ()) -> object:
        """Shows the animal in 3D: in the notebook's cell, or in a browser; see `page.show`."""
        from pony_jax.reconstruction import page  # which imports this module

        return page.show(self, clips)
