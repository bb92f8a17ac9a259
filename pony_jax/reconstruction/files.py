"""Files that other programs open; the suffix says the format."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pony_jax.reconstruction.animal import Animal, Clip

# Suffix -> (module, function) that writes it. The modules need what extras install (`export`, and
# `usd` for .usdz), so they are imported when they are used.
_WRITERS = {
    ".glb": ("gltf", "write_glb"),
    ".obj": ("obj", "write_obj"),
    ".ply": ("ply", "write_ply"),
    ".usdz": ("usdz", "write_usdz"),
    ".bvh": ("bvh", "write_bvh"),
    ".html": ("page", "write_page"),
}
SUFFIXES = tuple(_WRITERS)


def export(
    animal: Animal, path: str | Path, *, clips: Sequence[Clip] = (), **options: Any
) -> list[Path]:
    """Writes an animal to a file, and those that belong to it; returns them all.

    - `.glb`: rigged, textured and animated, with light and camera; options of `gltf.encode_glb`.
    - `.obj`: one pose with a texture, `.mtl` and `.png` beside it; options of `obj.write_obj`.
    - `.ply`: one pose with coloured vertices; options of `ply.write_ply`.
    - `.usdz`: rigged and textured, with one motion; options of `usdz.write_usdz`.
    - `.bvh`: the skeleton and its motion, a file a clip; options of `bvh.write_bvh`.
    - `.html`: one page with a 3D viewer, the photograph and downloads; options of
      `page.write_page`.

    The same animal gives the same bytes.

    Args:
      clips: motions, for the formats that hold some.

    Raises:
      ValueError: for another suffix, an empty mesh, or what the format's function refuses.
      TypeError: for options that the format has not.
      ModuleNotFoundError: if the format's extra is not installed.
      OSError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in _WRITERS:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    module, function = _WRITERS[path.suffix]
    try:
        writer = getattr(importlib.import_module(f"pony_jax.reconstruction.{module}"), function)
    except ModuleNotFoundError as error:
        extra = "usd" if path.suffix == ".usdz" else "export"
        raise ModuleNotFoundError(
            f"{path.suffix} files need {error.name}; install it: pip install 'pony_jax[{extra}]'"
        ) from error
    return writer(animal, path, clips, **options)
