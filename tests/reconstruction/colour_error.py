"""How far the colours of a reconstructed animal are from its photograph's."""

import numpy as np
from PIL import Image

from pony_jax.reconstruction.animal import Animal
from pony_jax.reconstruction.render import Renderer


def colour_error(animal: Animal, darker_than: float) -> float:
    """Root mean square error of the input view, inside the animal.

    Args:
      darker_than: green of the photograph's pixels that are surely animal, 0..1.
    """
    size = len(animal.mask)
    seen = np.asarray(Image.fromarray(animal.photograph).resize((size, size))) / 255.0
    renderer = Renderer(animal, size, texture_size=256)
    drawn = np.asarray(renderer.draw(animal.posed_mesh, animal.camera.cam_from_world)) / 255.0
    shows_animal = (animal.mask > 0.99) & (seen[..., 1] < darker_than)
    return np.sqrt(np.mean((drawn - seen)[shows_animal] ** 2))
