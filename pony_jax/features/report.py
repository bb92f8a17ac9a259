"""A page about an extracted data set: what is in it, what was left out, and what to look at.

The page is one file without references to others; the pictures on it are of the user's own
photographs, and it lies in the folder of the data set.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from pony_jax.data.file_contents import printable
from pony_jax.data.photograph_builder import PROVENANCE_FILE
from pony_jax.data.picture_facts import PictureFacts, near_duplicates
from pony_jax.features.contact_sheet import contact_sheet

REPORT_FILE = "report.html"

_SHEET_EXAMPLES = 32  # of a split, spread evenly over it
_BLURRED_SHARE = 0.1  # of the median sharpness
_SMALL_SHARE = 1.0  # of the side of the stored crops


def write_report(folder: Path, facts: Mapping[str, PictureFacts]) -> Path:
    """Writes `report.html` beside the shards of a data set, returns its path.

    Args:
      folder: of the data set, whole.
      facts: of its photographs, by their names in order.
    """
    provenance = json.loads((folder / PROVENANCE_FILE).read_text())
    splits = _splits(folder)
    image_size = _first_shape(splits)[0]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template(REPORT_FILE).render(
        name="/".join(folder.absolute().parts[-2:]),
        backbone=provenance["backbone"],
        counts={name: len(source) for name, source in splits.items()},
        skipped=provenance["skipped"],
        numbers=_numbers(list(facts.values())),
        lists=_lists(facts, provenance["skipped"], image_size),
        variances=[
            {"what": name, "channels": len(shares), "share": f"{100 * sum(shares):.1f} %"}
            for name, shares in provenance["explained_variance"].items()
        ],
        sheets=[
            {"split": name, "jpeg": _base64_jpeg(examples_sheet(source, _SHEET_EXAMPLES))}
            for name, source in splits.items()
        ],
    )
    path = folder / REPORT_FILE
    path.write_text(page, encoding="utf-8")
    return path


def examples_sheet(source: Sequence[Mapping[str, Any]], max_examples: int) -> Image.Image:
    """Image, mask and feature colours of some examples, spread evenly over `source`."""
    chosen = np.linspace(0, len(source) - 1, min(max_examples, len(source)))
    examples = [source[int(position)] for position in chosen]
    rows = [[example[key] for example in examples] for key in ("image", "mask", "feature")]
    return Image.fromarray(contact_sheet(*rows))


def _splits(folder: Path) -> dict[str, Sequence[Mapping[str, Any]]]:
    builder = tfds.builder_from_directory(folder)
    return {name: builder.as_data_source(name) for name in sorted(builder.info.splits)[::-1]}


def _first_shape(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[int, ...]:
    return next(iter(splits.values()))[0]["image"].shape


def _numbers(facts: Sequence[PictureFacts]) -> list[dict[str, str]]:
    def row(what: str, values: Sequence[float], digits: int) -> dict[str, str]:
        three = zip(("least", "median", "most"), np.percentile(values, (0, 50, 100)), strict=True)
        return {"what": what} | {name: f"{value:.{digits}f}" for name, value in three}

    return [
        row("width, px", [each.width for each in facts], 0),
        row("height, px", [each.height for each in facts], 0),
        row("side of the square around the animal, px", [each.crop_side for each in facts], 0),
        row("share of the square that is animal, %", [100 * each.area for each in facts], 1),
        row("sharpness", [each.sharpness for each in facts], 5),
    ]


def _lists(
    facts: Mapping[str, PictureFacts], skipped: Sequence[str], image_size: int
) -> list[dict[str, Any]]:
    names = [printable(name) for name in facts]
    named = list(zip(names, facts.values(), strict=True))
    median = np.median([each.sharpness for each in facts.values()])
    blurred = sorted(
        (each.sharpness, name) for name, each in named if each.sharpness < _BLURRED_SHARE * median
    )
    pairs = near_duplicates([each.difference_hash for each in facts.values()])
    return [
        _list("Skipped", "Not in the data set, and why.", "files", skipped),
        _list(
            "At the edge",
            "The animal touches an edge of the photograph; parts of it may be missing.",
            "photographs",
            [name for name, each in named if each.truncated],
        ),
        _list(
            "Small",
            f"The animal's square has fewer pixels than the {image_size} that are stored.",
            "photographs",
            [
                f"{name}: {each.crop_side} px"
                for name, each in named
                if each.crop_side < _SMALL_SHARE * image_size
            ],
        ),
        _list(
            "Perhaps out of focus",
            "Less than a tenth of the median sharpness, the least sharp first.",
            "photographs",
            [f"{name}: {sharpness:.5f}" for sharpness, name in blurred],
        ),
        _list(
            "Nearly the same",
            "Pairs that look alike; one in training and its like in testing make scores too good.",
            "pairs",
            [f"{names[first]} and {names[second]}" for first, second in pairs],
        ),
    ]


def _list(title: str, note: str, what: str, lines: Sequence[str]) -> dict[str, Any]:
    return {"title": title, "note": note, "summary": f"{len(lines)} {what}", "lines": list(lines)}


def _base64_jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode()
