"""One HTML page that shows what a run scores, how the scores spread, and the images behind them.

The page is a single file without references to others: pictures and plots lie in it as data URIs,
so that it can be mailed, archived or opened without a network.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from PIL import Image

from pony_jax.evaluation import metrics, table
from pony_jax.evaluation.panel import draw_cells, to_image
from pony_jax.model import Prediction

PRIOR_VIEW_PX = 256
"""Size of the views of the prior shape on the page."""

_CELL_PX = 160
_COLUMNS = {
    "input": "photograph",
    "mask": "mask",
    "render": "predicted render",
    "overlay": "overlay",
    "normal": "normals",
    "bones": "skeleton",
}
_NUM_EXAMPLES = 3
_TEMPLATE = "page.html"
_UNITS = {"_deg": "°", "_percent": "%", "_db": "dB"}
_DECIMALS = {"°": 1, "%": 2, "dB": 1}
_ACRONYMS = ("IoU", "PSNR", "RGB", "PCK")
_HEADLINES = (
    ("mask IoU", "image", "mask_iou", "mean"),
    ("viewpoint error", "viewpoint", "rotation_error_deg", "median"),
    ("aligned Chamfer", "shape", "aligned_chamfer_percent", "mean"),
    ("PCK@0.1", "keypoint transfer", "pck_0.1", "mean"),
)


class Gallery:
    """Draws every image as it is predicted, and keeps the pictures until some are chosen.

    Attributes:
      ids: of the images, in the order in which they are added.
      pictures: PNG files of each image, in the order of the page's columns.
    """

    def __init__(self, ids: Sequence[str], num_body_bones: int, hide_photographs: bool):
        self.ids = ids
        self.pictures: list[list[bytes]] = []
        self.hides_photographs = hide_photographs
        self._num_body_bones = num_body_bones
        self._mask_iou: list[float] = []

    def add(self, prediction: Prediction, batch: Mapping[str, np.ndarray]) -> None:
        """Draws the predictions of a batch of `evaluation_batches`."""
        cells = draw_cells(
            batch,
            prediction,
            tuple(_COLUMNS),
            size_px=_CELL_PX,
            num_body_bones=self._num_body_bones,
            hide_photographs=self.hides_photographs,
        )
        scores = metrics.mask_iou(prediction.mask, batch["mask"])
        for row in np.flatnonzero(batch["real"]):
            self.pictures.append([_png(cells[column][row]) for column in _COLUMNS])
            self._mask_iou.append(float(scores[row]))

    @property
    def mask_iou(self) -> Float[np.ndarray, " n"]:
        return np.array(self._mask_iou)


class _Ranking(NamedTuple):
    """A score of each image, by which examples are chosen."""

    title: str
    values: Float[np.ndarray, " n"]
    unit: str
    higher_is_better: bool
    highest: float  # that it can be


def render_page(
    title: str,
    facts: Mapping[str, object],
    scores: Mapping[str, Any],
    gallery: Gallery,
    prior_views: Mapping[str, Float[np.ndarray, "h w 3"]],
    rotation_errors_deg: Float[np.ndarray, " n"] | None = None,
) -> str:
    """The page as HTML.

    Args:
      title: of the run.
      facts: shown below the title, by name.
      scores: as `pony_jax.evaluate` writes them as JSON.
      gallery: that has seen all images.
      prior_views: grey renders by the side that they look from.
      rotation_errors_deg: of each image of the gallery, where the truth is known.

    Raises:
      ValueError: where the gallery is empty, or there is not one error for each of its images.
    """
    num_images = len(gallery.pictures)
    if not num_images:
        raise ValueError("expected a gallery with images, got an empty one; add a split's batches")
    rankings = [_Ranking("mask IoU", gallery.mask_iou, "", True, 1.0)]
    if rotation_errors_deg is not None:
        if len(rotation_errors_deg) != num_images:
            raise ValueError(
                f"expected a rotation error for each of {num_images} images, got "
                f"{len(rotation_errors_deg)}; take both from the same split"
            )
        rankings.append(_Ranking("viewpoint error", rotation_errors_deg, "°", False, 180.0))
    columns = dict(_COLUMNS)
    if gallery.hides_photographs:
        columns["input"] = "outline"
    sections = table.sections(scores)
    alone = table.sections(scores.get("networks_alone") or {})
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "label": _label, "unit": _unit}
    return environment.get_template(_TEMPLATE).render(
        title=title,
        facts=facts,
        headlines=_headlines(sections, alone),
        sections=sections,
        alone=alone,
        keypoints=_each_keypoint(scores),
        keypoints_alone=_each_keypoint(scores.get("networks_alone") or {}),
        prior_views={
            side: _uri(_png(to_image(v, PRIOR_VIEW_PX))) for side, v in prior_views.items()
        },
        histograms={ranking.title: _histogram(ranking) for ranking in rankings},
        columns=list(columns.values()),
        galleries={ranking.title: _examples(ranking, gallery) for ranking in rankings},
    )


def choose_examples(
    values: Float[np.ndarray, " n"], *, higher_is_better: bool, num_each: int
) -> dict[str, Int[np.ndarray, " e"]]:
    """Which images are the `best`, those around the `median`, and the `worst`, which come first.

    At most `num_each`, fewer where that would show an image twice, but at least one. Images
    without a value (NaN) are not chosen; equal values keep their order.
    """
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known] * (-1 if higher_is_better else 1), kind="stable")]
    num = max(min(num_each, len(order) // 3), 1)
    middle = max((len(order) - num) // 2, 0)
    return {
        "best": order[:num],
        "median": order[middle : middle + num],
        "worst": order[::-1][:num],
    }


def _examples(ranking: _Ranking, gallery: Gallery) -> dict[str, list[dict[str, Any]]]:
    chosen = choose_examples(
        ranking.values, higher_is_better=ranking.higher_is_better, num_each=_NUM_EXAMPLES
    )
    return {
        which: [
            {
                "id": gallery.ids[row],
                "score": _number(ranking.values[row], ranking.unit) + ranking.unit,
                "pictures": [_uri(picture) for picture in gallery.pictures[row]],
            }
            for row in rows
        ]
        for which, rows in chosen.items()
    }


def _each_keypoint(scores: Mapping[str, Any]) -> table.Section:
    truth = scores.get("truth")
    return table.each_keypoint(truth["keypoints"]) if truth else {}


def _headlines(
    sections: Mapping[str, table.Section], alone: Mapping[str, table.Section]
) -> list[dict[str, str]]:
    """The scores that are named first, as far as they are known."""
    found = []
    for title, section, name, statistic in _HEADLINES:
        row = sections.get(section, {}).get(name)
        if row is None:
            continue
        unit, note = _unit(name), statistic
        if statistic == "mean":
            low, high = (_number(row[key], unit) for key in ("mean_low95", "mean_high95"))
            note += f", 95 %: {low} .. {high}"
        if beside := alone.get(section, {}).get(name):
            note += f"; networks alone {_number(beside[statistic], unit)}{unit}"
        found.append({"title": title, "value": _number(row[statistic], unit) + unit, "note": note})
    return found


def _histogram(ranking: _Ranking) -> str:
    """Number of images by score, as the data URI of an SVG."""
    values = ranking.values[np.isfinite(ranking.values)]
    low = 0.0
    high = min(float(np.max(values, initial=0.0)) * 1.05, ranking.highest)
    if ranking.higher_is_better:
        low, high = float(np.min(values, initial=ranking.highest)) * 0.95, ranking.highest
    # Text stays text, and the same page is the same file every time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "page"}):
        figure = Figure(figsize=(5.2, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.hist(values, bins=np.linspace(low, max(high, low + 1e-6), 26), color="#4a7fb5")
        if len(values):
            axes.axvline(float(np.median(values)), color="#d1582c", linewidth=1.5, label="median")
            axes.legend(frameon=False, fontsize=9)
        axes.set_xlabel(ranking.title + (f" ({ranking.unit})" if ranking.unit else ""))
        axes.set_ylabel("images")
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _uri(buffer.getvalue(), "svg+xml")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _uri(file: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{_DECIMALS.get(unit, 3)}f}"


def _unit(name: str) -> str:
    """Unit of a score by its name; a share within some degrees has none."""
    suffix = next((suffix for suffix in _UNITS if name.endswith(suffix)), "")
    return "" if name.startswith("share_") else _UNITS.get(suffix, "")


def _label(name: str) -> str:
    """Name of a score in words, without its unit."""
    if _unit(name):
        name = name.rpartition("_")[0]
    spelling = {acronym.lower(): acronym for acronym in _ACRONYMS}
    return " ".join(spelling.get(word, word) for word in name.split("_"))
