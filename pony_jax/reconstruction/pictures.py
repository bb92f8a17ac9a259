"""The pictures of a reconstruction: views, a turntable, motion, and a sheet of them all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pony_jax.reconstruction.animal import Animal, Clip, TriangleMesh
from pony_jax.reconstruction.gltf import check_exportable
from pony_jax.reconstruction.render import Renderer, orbit_camera
from pony_jax.reconstruction.video import write_video

NUM_VIEWS = 12
_FRAMES_PER_SECOND = 24
_TURN_FRAMES = 48
_STAGE_FRAMES = 18  # of each transition of the canonicalisation
_STRIP_FRAMES = 6  # of a clip on the sheet
_CELL_PX, _LABEL_PX = 160, 18


class Pictures:
    """Draws the pictures of one animal.

    Args:
      size: side of each picture, px; even.
      texture_size: side of the baked colours, texels.

    Raises:
      ValueError: for an empty mesh or an odd size.
    """

    def __init__(self, animal: Animal, *, size: int = 256, texture_size: int = 1024) -> None:
        check_exportable(animal, ())
        if size < 16 or size % 2:
            raise ValueError(f"size: expected an even number of pixels, at least 16, got {size}")
        self.animal = animal
        self._renderer = Renderer(animal, size, texture_size)

    def from_the_camera(self) -> dict[str, Image.Image]:
        """What the camera of the photograph sees, by name: colours, normals, shading, bones."""
        animal, camera = self.animal, self.animal.camera.cam_from_world
        draw = self._renderer.draw
        return {
            "input view": draw(animal.posed_mesh, camera, "lit"),
            "colours": draw(animal.posed_mesh, camera, "colours"),
            "shading": draw(animal.posed_mesh, camera, "shading"),
            "normals": draw(animal.posed_mesh, camera, "normals"),
            "bones": self._renderer.draw_bones(animal.angles_rad, camera),
        }

    def views(self, count: int = NUM_VIEWS) -> list[Image.Image]:
        """The posed animal from `count` sides, evenly around it from the photograph's on."""
        azimuths = 2 * np.pi * np.arange(count) / count
        return [
            self._renderer.draw(self.animal.posed_mesh, orbit_camera(self.animal, azimuth))
            for azimuth in azimuths
        ]

    def canonicalisation(self) -> dict[str, Image.Image]:
        """The category's mean shape, this individual at rest, and posed; seen from one side."""
        meshes = {
            "mean shape": TriangleMesh(self.animal.prior_verts, self.animal.rest_mesh.faces),
            "individual": self.animal.rest_mesh,
            "posed": self.animal.posed_mesh,
        }
        camera = orbit_camera(self.animal, 0.0)
        return {name: self._renderer.draw(mesh, camera) for name, mesh in meshes.items()}

    def canonicalisation_frames(self) -> list[Image.Image]:
        """The same as a movement there and back: shape first, then pose."""
        animal, camera = self.animal, orbit_camera(self.animal, 0.0)
        eased = (1 - np.cos(np.linspace(0, np.pi, _STAGE_FRAMES))) / 2
        shapes = [
            TriangleMesh(
                (1 - share) * animal.prior_verts + share * animal.rest_mesh.verts,
                animal.rest_mesh.faces,
            )
            for share in eased
        ]
        poses = [animal.pose(share * animal.angles_rad) for share in eased]
        frames = [self._renderer.draw(mesh, camera) for mesh in shapes + poses]
        return frames + frames[::-1]

    def clip_frames(self, clip: Clip, times_s: Sequence[float]) -> list[Image.Image]:
        """A clip at some times, seen from the photograph's side; the camera goes along.

        Raises:
          ValueError: for a clip of another skeleton.
        """
        check_exportable(self.animal, [clip])
        low, high = np.min(self.animal.posed_mesh.verts, 0), np.max(self.animal.posed_mesh.verts, 0)
        frames = []
        for time_s in times_s:
            angles, shift, rotation = _at(clip, time_s)
            around = (low + high) / 2 + shift * [1, 0, 1]
            camera = orbit_camera(self.animal, 0.0, around)
            frames.append(self._renderer.draw(self.animal.pose(angles, shift, rotation), camera))
        return frames


def draw_all(
    animal: Animal,
    folder: Path,
    clips: Sequence[Clip] = (),
    *,
    size: int = 256,
    texture_size: int = 1024,
) -> list[Path]:
    """Writes all pictures of an animal into a folder; returns the files.

    `NAME_input_view.png`, `_colours`, `_shading`, `_normals`, `_bones` from the photograph's
    camera; `NAME_sheet.png`, all pictures at a glance; and as `.mp4` and `.webp` `NAME_turntable`,
    `NAME_canonicalisation` and `NAME_CLIP` for each clip.

    Args:
      folder: must exist.
      size: side of each picture, px; even.
      texture_size: side of the baked colours, texels.

    Raises:
      ValueError: for an empty mesh, an odd size, or a clip of another skeleton.
    """
    check_exportable(animal, clips)
    pictures = Pictures(animal, size=size, texture_size=texture_size)
    files = []
    for name, picture in pictures.from_the_camera().items():
        files.append(folder / f"{animal.name}_{name.replace(' ', '_')}.png")
        picture.save(files[-1])
    files.append(folder / f"{animal.name}_sheet.png")
    contact_sheet(pictures, clips).save(files[-1])
    moving = {
        "turntable": pictures.views(_TURN_FRAMES),
        "canonicalisation": pictures.canonicalisation_frames(),
    }
    for clip in clips:
        count = max(1, round(clip.times_s[-1] * _FRAMES_PER_SECOND))  # the last equals the first
        moving[clip.name] = pictures.clip_frames(clip, np.arange(count) / _FRAMES_PER_SECOND)
    for name, frames in moving.items():
        for suffix in (".mp4", ".webp"):
            files.append(folder / f"{animal.name}_{name}{suffix}")
            write_video(files[-1], frames, _FRAMES_PER_SECOND)
    return files


def contact_sheet(pictures: Pictures, clips: Sequence[Clip] = ()) -> Image.Image:
    """One picture of what was found: rows of views, of the canonicalisation and of each clip."""
    animal = pictures.animal
    top = {} if animal.photograph is None else {"photograph": Image.fromarray(animal.photograph)}
    around = pictures.views()
    step = 360 // NUM_VIEWS
    labels = [f"{step * i}°" for i in range(NUM_VIEWS)]
    half = NUM_VIEWS // 2
    rows = [
        top | pictures.from_the_camera(),
        pictures.canonicalisation(),
        dict(zip(labels[:half], around[:half], strict=True)),
        dict(zip(labels[half:], around[half:], strict=True)),
    ]
    for clip in clips:
        times_s = np.arange(_STRIP_FRAMES) / _STRIP_FRAMES * clip.times_s[-1]
        captions = [f"{clip.name}, {time_s:.2f} s" for time_s in times_s]
        rows.append(dict(zip(captions, pictures.clip_frames(clip, times_s), strict=False)))
    return _grid(rows)


def _grid(rows: Sequence[Mapping[str, Image.Image]]) -> Image.Image:
    """Pictures under their names, row by row."""
    width, height = max(map(len, rows)) * _CELL_PX, len(rows) * (_CELL_PX + _LABEL_PX)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for j, row in enumerate(rows):
        for i, (name, picture) in enumerate(row.items()):
            x, y = i * _CELL_PX, j * (_CELL_PX + _LABEL_PX)
            draw.text((x + 4, y + 2), name, fill="black", font=font)
            cell = picture.convert("RGB").resize((_CELL_PX,) * 2, Image.Resampling.LANCZOS)
            sheet.paste(cell, (x, y + _LABEL_PX))
    return sheet


def _at(clip: Clip, time_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles, root translation and root rotation at a time, between frames of the clip."""
    after = int(np.clip(np.searchsorted(clip.times_s, time_s), 1, max(len(clip.times_s) - 1, 1)))
    before, after = after - 1, min(after, len(clip.times_s) - 1)
    span = clip.times_s[after] - clip.times_s[before]
    share = 0.0 if span == 0 else float(np.clip((time_s - clip.times_s[before]) / span, 0, 1))
    parts = clip.angles_rad, clip.root_translation, clip.root_rotation
    angles, shift, rotation = ((1 - share) * p[before] + share * p[after] for p in parts)
    u, _, vt = np.linalg.svd(rotation)  # the nearest rotation
    return angles, shift, u @ vt
