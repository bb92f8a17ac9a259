"""One HTML page to mail: the animal turning and moving, the photograph, what was found, downloads.

The page is a single file that opens from a disk without a network. Its viewer is our own (about
700 lines around WebGL in `viewer/`): it reads the very `.glb` that the page offers, and needs no
library, which a page that loads nothing would have to carry along.
"""

import base64
import html
import io
import sys
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.gltf import encode_glb

_FOLDER = Path(__file__).parent / "viewer"
_SCRIPTS = ("glb.js", "viewer.js", "controls.js", "page.js")
_WHAT = {
    ".glb": "rigged, textured and animated; for Blender, game engines and browsers",
    ".obj": "one pose with a texture",
    ".ply": "one pose with coloured vertices",
    ".bvh": "the skeleton and its motion",
    ".png": "picture",
    ".mp4": "video",
    ".webp": "moving picture",
}
_PHOTOGRAPH_PX, _THUMBNAIL_PX = 512, 176


def render_page(
    animal: Animal,
    glb: bytes,
    *,
    pictures: Mapping[str, bytes] | None = None,
    downloads: Mapping[str, bytes] | None = None,
) -> str:
    """The page as HTML.

    Args:
      glb: what the viewer shows, with the default four weights a vertex; offered as a download too.
      pictures: PNG or WebP files that are shown, by caption.
      downloads: further files that are offered, by name.
    """
    contents = {f"{animal.name}.glb": glb} | dict(downloads or {})
    files = [
        {
            "name": name,
            "id": "model" if data is glb else f"file-{i}",
            "size": f"{len(data) / 1e6:.1f} MB"
            if len(data) >= 1e5
            else f"{len(data) / 1e3:.0f} kB",
            "what": _WHAT.get(Path(name).suffix, "file"),
            "base64": base64.b64encode(data).decode(),
        }
        for i, (name, data) in enumerate(contents.items())
    ]
    return _template("page.html").render(
        title=f"{animal.category.capitalize()} from {animal.name}",
        photograph=_photograph(animal, _PHOTOGRAPH_PX),
        facts=facts(animal),
        files=files,
        pictures={name: _data_uri(data) for name, data in (pictures or {}).items()},
        scripts=Markup("\n".join((_FOLDER / name).read_text("utf-8") for name in _SCRIPTS)),
    )


def write_page(
    animal: Animal,
    path: Path,
    clips: Sequence[Clip] = (),
    *,
    pictures: Mapping[str, bytes] | None = None,
    downloads: Mapping[str, bytes] | None = None,
    glb: bytes | None = None,
    **options: Any,
) -> list[Path]:
    """Writes `render_page` of an animal with clips; returns the file.

    Args:
      glb: that is shown, if it has been made already; `clips` and `options` then do not count.
      options: of `gltf.encode_glb`.
    """
    glb = glb or encode_glb(animal, clips, **options)
    page = render_page(animal, glb, pictures=pictures, downloads=downloads)
    path.write_text(page, encoding="utf-8")
    return [path]


def show(animal: Animal, clips: Sequence[Clip] = ()) -> object:
    """Shows the page of an animal: in the notebook's cell, or in the system's browser.

    Returns:
      In a notebook an object that displays itself; elsewhere the file that was opened, in a folder
      of its own among the system's temporary ones.
    """
    text = render_page(animal, encode_glb(animal, clips))
    if "IPython" in sys.modules:
        from IPython import display, get_ipython

        if get_ipython() is not None and hasattr(get_ipython(), "kernel"):
            frame = '<iframe srcdoc="{}" width="100%" height="720" style="border: 0"></iframe>'
            return display.HTML(frame.format(html.escape(text)))
    file = Path(tempfile.mkdtemp(prefix="pony_jax_")) / "index.html"
    file.write_text(text, encoding="utf-8")
    webbrowser.open(file.as_uri())
    return file


def facts(animal: Animal) -> dict[str, str]:
    """What was found, in words and degrees."""
    towards_camera = animal.camera.world_from_cam[:3, 3] - animal.skeleton.root_rest
    x, y, z = towards_camera / np.linalg.norm(towards_camera)
    azimuth, height = np.rad2deg(np.arctan2(abs(x), z)), np.rad2deg(np.arcsin(y))
    side = "left" if x > 0 else "right"
    shares = sorted(animal.hypotheses.probabilities.tolist(), reverse=True)
    largest = np.argsort(-np.abs(animal.angles_rad).max(axis=1), kind="stable")[:3]
    bends = ", ".join(
        f"{animal.skeleton.names[i].replace('_', ' ')} "
        f"{np.rad2deg(np.abs(animal.angles_rad[i]).max()):.0f}°"
        for i in largest
    )
    light = animal.camera.cam_from_world[:3, :3].T @ animal.light.direction_cam
    light_height = np.rad2deg(np.arcsin(np.clip(light[1], -1, 1)))
    return {
        "seen from": f"its {side}, {azimuth:.0f}° from the front, camera {height:+.0f}° up",
        "viewpoints": ", ".join(f"{share:.0%}" for share in shares),
        "most bent": bends,
        "light": (
            f"{light_height:+.0f}° up; ambient {animal.light.ambient:.2f}, "
            f"diffuse {animal.light.diffuse:.2f}"
        ),
        "mesh": f"{len(animal.rest_mesh.verts):,} vertices, {len(animal.rest_mesh.faces):,} faces",
        "skeleton": f"{animal.skeleton.num_bones} bones",
    }


def index_entry(animal: Animal) -> dict[str, str | None]:
    """What `write_index` shows of an animal; small, so that thousands can wait for it."""
    return {
        "name": animal.name,
        "link": quote(f"{animal.name}.html"),
        "photograph": _photograph(animal, _THUMBNAIL_PX),
        "seen_from": facts(animal)["seen from"],
    }


def write_index(entries: Sequence[Mapping[str, str | None]], path: Path) -> None:
    """Writes a page that leads to the pages of animals in its folder.

    Args:
      entries: of `index_entry`.
    """
    path.write_text(_template("index.html").render(entries=entries), encoding="utf-8")


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


def _photograph(animal: Animal, size_px: int) -> str | None:
    if animal.photograph is None:
        return None
    image = Image.fromarray(animal.photograph)
    image.thumbnail((size_px, size_px))
    data = io.BytesIO()
    image.save(data, "PNG")
    return _data_uri(data.getvalue())


def _data_uri(picture: bytes) -> str:
    kind = "webp" if picture[8:12] == b"WEBP" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
