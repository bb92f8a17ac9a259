"""Files that other programs open; the suffix says the format."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pony_jax.reconstruction.animal import Animal, Clip


class _Format(NamedTuple):
    """How a format is written and what it holds.

    The module needs what extras install (`export`, and `usd` for .usdz), so it is imported when it
    is used.
    """

    module: str
    function: str
    most_clips: int | None  # None: any number
    has_names: bool  # of joints


_FORMATS = {
    ".glb": _Format("gltf", "write_glb", None, True),
    ".obj": _Format("obj", "write_obj", 0, False),
    ".ply": _Format("ply", "write_ply", 0, False),
    ".usdz": _Format("usdz", "write_usdz", 1, True),
    ".bvh": _Format("bvh", "write_bvh", None, True),
    ".html": _Format("page", "write_page", None, False),
}
SUFFIXES = tuple(_FORMATS)


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
    if path.suffix not in _FORMATS:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    format = _FORMATS[path.suffix]
    try:
        module = importlib.import_module(f"pony_jax.reconstruction.{format.module}")
    except ModuleNotFoundError as error:
        extra = "usd" if path.suffix == ".usdz" else "export"
        raise ModuleNotFoundError(
            f"{path.suffix} files need {error.name}; install it: pip install 'pony_jax[{extra}]'"
        ) from error
    return getattr(module, format.function)(animal, path, clips, **options)


def export_all(
    animal: Animal,
    folder: Path,
    suffixes: Sequence[str],
    clips: Sequence[Clip] = (),
    *,
    names: Mapping[str, str] | None = None,
    influences: str = "4",
) -> list[Path]:
    """Writes an animal in several formats, with what each of them holds; returns all files.

    Args:
      folder: must exist; files are called `animal.name` and the suffix.
      suffixes: of `SUFFIXES`.
      clips: motions; `.usdz` holds the first alone, `.obj` and `.ply` none.
      names: of the joints in rigged files, by ours; the page shows ours.
      influences: of `.glb`, see `gltf.encode_glb`; the page's viewer takes four.

    Raises as `export` does.
    """
    written: list[Path] = []
    # The file before the page, which can carry that very file.
    for suffix in sorted(suffixes, key=lambda suffix: suffix != ".glb"):
        format = _FORMATS[suffix]
        options: dict[str, Any] = {}
        if names and format.has_names:
            options["names"] = names
        if suffix == ".glb":
            options["influences"] = influences
        if suffix == ".html" and ".glb" in suffixes and not names and influences == "4":
            options["glb"] = (folder / f"{animal.name}.glb").read_bytes()
        held = clips[: format.most_clips]
        written += export(animal, folder / f"{animal.name}{suffix}", clips=held, **options)
    return written
