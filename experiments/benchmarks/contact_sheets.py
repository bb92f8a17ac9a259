"""Draws what the model makes of pictures that it has not learned from, for a person to look at.

    python -m experiments.benchmarks.contact_sheets --model=horse --out=sheet.jpg
    python -m experiments.benchmarks.contact_sheets --model=horse --out=sheet.jpg \\
        --images=weizmann_horse_db

A row is a picture: the crop, our render from its camera, normals, bones, and six views around the
animal. Without --images the pictures are synthetic horses of the test split at 256 px. Held-out
photographs may not be shown: their rows begin with the outline of the true mask (black) and of the
silhouette that was found (red), and show no colours.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

import pony_jax
from experiments.benchmarks.find_animals import pictures as held_out
from pony_jax.data.picture_files import BadPhotographError
from pony_jax.data.synthetic_quadruped import make_renderer
from pony_jax.reconstruction.animal import Animal
from pony_jax.reconstruction.render import Renderer, orbit_camera

_ROWS, _CELL_PX, _VIEWS = 10, 120, 6


def synthetic() -> Iterator[tuple[str, Image.Image, None]]:
    """Name and picture of horses that this project makes."""
    images = np.asarray(make_renderer("horse", 256, 64, 16, 32)("test", 0).image)
    for i, image in enumerate(images[:_ROWS]):
        yield f"test {i}", Image.fromarray(np.uint8(np.rint(255 * np.clip(image, 0, 1)))), None


def photographs(images: str) -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """Name, picture and mask of every third held-out photograph."""
    originals = ((name, *picture) for kind, name, picture in held_out(images) if kind != "scenes")
    yield from itertools.islice(originals, 0, 3 * _ROWS, 3)


def outlines(animal: Animal, mask: Image.Image) -> Image.Image:
    """The true mask's outline in black and the found one's in red."""
    x0, y0, width, height = map(round, animal.box_px)
    size = (_CELL_PX, _CELL_PX)
    true = mask.crop((x0, y0, x0 + width, y0 + height)).resize(size)
    found = Image.fromarray(np.uint8(255 * np.clip(animal.mask, 0, 1))).resize(size)
    canvas = np.full((*size, 3), 255, np.uint8)
    for picture, colour in ((true, (0, 0, 0)), (found, (220, 30, 30))):
        inside = np.asarray(picture) > 127
        canvas[inside & ~ndimage.binary_erosion(inside)] = colour
    return Image.fromarray(canvas)


def row(animal: Animal, first: Image.Image, with_colours: bool) -> list[Image.Image]:
    """The pictures of one animal."""
    renderer = Renderer(animal, 2 * _CELL_PX, 512)
    camera = animal.camera.cam_from_world
    shown = "lit" if with_colours else "shading"
    around = [orbit_camera(animal, 2 * np.pi * i / _VIEWS) for i in range(_VIEWS)]
    return [
        first,
        renderer.draw(animal.posed_mesh, camera, shown),
        renderer.draw(animal.posed_mesh, camera, "normals"),
        renderer.draw_bones(animal.angles_rad, camera),
        *(renderer.draw(animal.posed_mesh, view, shown) for view in around),
    ]


def main() -> None:
    """Writes a sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--images")
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    model = pony_jax.load(arguments.model)
    sheet = Image.new("RGB", (_CELL_PX * (4 + _VIEWS), _CELL_PX * _ROWS), "white")
    source = photographs(arguments.images) if arguments.images else synthetic()
    for y, (name, picture, mask) in enumerate(source):
        try:
            animal = model.reconstruct(picture, name=name)
        except BadPhotographError as error:
            ImageDraw.Draw(sheet).text((4, _CELL_PX * y + 4), str(error)[:150], fill="black")
            continue
        first = outlines(animal, mask) if mask else Image.fromarray(animal.photograph)
        for x, cell in enumerate(row(animal, first, with_colours=mask is None)):
            resized = cell.resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
            sheet.paste(resized, (_CELL_PX * x, _CELL_PX * y))
        print(f"row {y + 1}: {name}")
    sheet.save(arguments.out, quality=80)


if __name__ == "__main__":
    main()
