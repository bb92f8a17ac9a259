"""One picture that shows what a model has learned: images beside what the model sees in them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

from pony_jax.evaluation.predictor import Predictor
from pony_jax.model import Prediction

COLUMNS = (
    "input",
    "mask",
    "render",
    "rendered mask",
    "feature",
    "rendered feature",
    "normal",
    "albedo",
    "shading",
    "bones",
)
"""Columns of the panel, from left to right."""

_CELL_PX = 128
_LABEL_PX = 16
_OVERLAY_OPACITY = 0.7
_BACKGROUND = (24, 24, 24)
_BODY_COLOUR, _LEG_COLOUR = (255, 120, 60), (90, 190, 255)


def draw_panel(
    predictor: Predictor,
    params: dict,
    num_updates: int,
    batch: Mapping[str, np.ndarray],
    *,
    num_images: int,
    num_body_bones: int,
    hide_photographs: bool,
) -> Image.Image:
    """The panel (see `compose_panel`) of a model after `num_updates` training steps."""
    prediction = predictor.predict(params, batch, num_updates)
    prior_views = predictor.render_prior(params, num_updates, image_size=2 * _CELL_PX)
    return compose_panel(
        batch,
        prediction,
        prior_views,
        num_images=num_images,
        num_body_bones=num_body_bones,
        hide_photographs=hide_photographs,
    )


def compose_panel(
    batch: Mapping[str, np.ndarray],
    prediction: Prediction,
    prior_views: Mapping[str, Float[np.ndarray, "h w 3"]],
    *,
    num_images: int,
    num_body_bones: int,
    hide_photographs: bool,
) -> Image.Image:
    """A row for each of the first `num_images` images, and a row of views of the prior shape.

    Args:
      prediction: of the batch, as numpy arrays.
      prior_views: grey renders by the side that they look from, written above them.
      num_body_bones: bones from this one on are drawn as legs.
      hide_photographs: show outlines of masks instead of the images.
    """
    cells = draw_cells(
        {key: values[:num_images] for key, values in batch.items()},
        prediction,
        COLUMNS,
        size_px=_CELL_PX,
        num_body_bones=num_body_bones,
        hide_photographs=hide_photographs,
    )
    num_rows, prior_px = len(cells["input"]), 2 * _CELL_PX
    top = _LABEL_PX + num_rows * _CELL_PX
    size = (len(cells) * _CELL_PX, top + _LABEL_PX + prior_px)
    panel = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(panel)

    for column, (label, of_images) in enumerate(cells.items()):
        x = column * _CELL_PX
        draw.text((x + 3, 2), label, fill="white")
        for row, cell in enumerate(of_images):
            panel.paste(cell, (x, _LABEL_PX + row * _CELL_PX))

    for i, (label, view) in enumerate(prior_views.items()):
        draw.text((i * prior_px + 3, top + 2), f"prior from {label}", fill="white")
        panel.paste(to_image(view, prior_px), (i * prior_px, top + _LABEL_PX))
    return panel


def draw_cells(
    batch: Mapping[str, np.ndarray],
    prediction: Prediction,
    labels: Sequence[str],
    *,
    size_px: int,
    num_body_bones: int,
    hide_photographs: bool,
) -> dict[str, list[Image.Image]]:
    """Square pictures of each image of a batch, under some of the labels in `COLUMNS`.

    One more label is `overlay`: the normals over the input.

    Args:
      prediction: of the batch, or of a longer one that begins with it, as numpy arrays.
      hide_photographs: outlines of masks take the place of the images.
    """
    shown = slice(len(batch["mask"]))
    inputs = _outlines(batch["mask"]) if hide_photographs else batch["image"]
    mask, normal = prediction.mask[shown], prediction.normal[shown]
    values = {
        "input": inputs,
        "mask": batch["mask"],
        "render": prediction.image[shown],
        "rendered mask": mask,
        "feature": batch["feature"][..., :3] * batch["mask"],
        "rendered feature": prediction.feature[shown, ..., :3],
        "normal": normal,
        "albedo": prediction.albedo[shown],
        "shading": prediction.shading[shown],
        "bones": 0.35 * mask,
        # Normals are black where nothing is, so they need no mask of their own.
        "overlay": inputs * (1 - _OVERLAY_OPACITY * mask) + _OVERLAY_OPACITY * normal,
    }
    cells = {label: [to_image(each, size_px) for each in values[label]] for label in labels}
    if "bones" in cells:
        scale = size_px / batch["mask"].shape[1]
        for cell, bones_px in zip(cells["bones"], prediction.bones_px[shown], strict=True):
            _draw_bones(cell, bones_px * scale, num_body_bones)
    return cells


def to_image(values: Float[np.ndarray, "h w c"], size_px: int) -> Image.Image:
    """Grey or RGB values in 0..1 as an image; those beyond are cut."""
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    pixels = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BILINEAR)


def _outlines(masks: Float[np.ndarray, "b h w 1"]) -> Float[np.ndarray, "b h w 1"]:
    """White outlines of masks on grey."""
    outlined = []
    for mask in masks[..., 0]:
        image = Image.fromarray((mask * 255).astype(np.uint8))
        rim = np.asarray(image) - np.asarray(image.filter(ImageFilter.MinFilter(3)))
        outlined.append(0.15 + 0.1 * mask + 0.75 * (rim > 0))
    return np.stack(outlined)[..., None]


def _draw_bones(
    cell: Image.Image, bones_px: Float[np.ndarray, "k 2 2"], num_body_bones: int
) -> None:
    draw = ImageDraw.Draw(cell)
    for index, ends in enumerate(bones_px):
        if not np.all(np.isfinite(ends)):
            continue
        points = [tuple(map(float, end)) for end in ends]
        colour = _BODY_COLOUR if index < num_body_bones else _LEG_COLOUR
        draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
