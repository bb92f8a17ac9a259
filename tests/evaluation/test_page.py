"""The page: its numbers, its pictures, and what it must not contain."""

import re

import numpy as np
import pytest

from pony_jax.evaluation import metrics
from pony_jax.evaluation.page import Gallery, choose_examples, render_page
from pony_jax.model import Prediction

_NUM_IMAGES, _SIZE_PX = 7, 16
_IDS = tuple(f"horse_{i}" for i in range(_NUM_IMAGES))
# Height of the rendered mask of each image; all true masks are 8 px high, so IoU is height / 8.
_HEIGHT_PX = (6, 2, 8, 4, 7, 3, 5)


def _gallery(*, hide_photographs: bool = False, photograph: float = 0.9) -> Gallery:
    """Of images in batches of three, the last one filled up."""
    gallery = Gallery(_IDS, num_body_bones=8, hide_photographs=hide_photographs)
    for start in range(0, _NUM_IMAGES, 3):
        rows = np.arange(start, start + 3)
        mask, rendered = np.zeros((2, 3, _SIZE_PX, _SIZE_PX, 1), np.float32)
        mask[:, 4:12, 4:12] = 1
        for i, row in enumerate(np.minimum(rows, _NUM_IMAGES - 1)):
            rendered[i, 4 : 4 + _HEIGHT_PX[row], 4:12] = 1
        batch = {
            "image": np.full((3, _SIZE_PX, _SIZE_PX, 3), photograph, np.float32),
            "mask": mask,
            "feature": np.full((3, _SIZE_PX, _SIZE_PX, 16), 0.5, np.float32),
            "real": rows < _NUM_IMAGES,
        }
        colour = rendered.repeat(3, axis=-1)
        prediction = Prediction(**dict.fromkeys(Prediction._fields))._replace(
            image=0.5 * colour,
            mask=rendered,
            feature=batch["feature"],
            normal=0.7 * colour,
            albedo=colour,
            shading=rendered,
            bones_px=np.full((3, 20, 2, 2), 8.0, np.float32),
        )
        gallery.add(prediction, batch)
    return gallery


def _scores(*, truth: bool) -> dict:
    def row(mean: float) -> dict:
        return metrics.summarise(np.array([mean - 0.01, mean, mean + 0.01]))

    scores = {"split": "test", "mask_iou": row(0.625), "psnr_overlap_db": row(23.456)}
    scores["mirror_consistency"] = {"rotation_difference_deg": row(4.321)}
    if truth:
        nowhere = dict.fromkeys(("mean", "mean_low95", "mean_high95"))
        pck = {"mean": row(0.777), "nose": row(0.888), "left_eye": nowhere}
        scores["truth"] = {
            "viewpoint": {"rotation_error_deg": row(9.876), "share_within_15_deg": row(0.654)},
            "shape": {"aligned_chamfer_percent": row(1.987)},
            "pose": None,
            "keypoints": {"pck_0.1": pck, "pck_0.1_unpadded": {"mean": row(0.666)}},
        }
    return scores


def _page(*, truth: bool = True, **gallery) -> str:
    errors = np.array([3.0, 40.0, 1.0, 90.0, 2.0, 160.0, 5.0]) if truth else None
    return render_page(
        "run <7>",
        {"training steps": "11,000", "images": _NUM_IMAGES},
        _scores(truth=truth),
        _gallery(**gallery),
        {"+z": np.full((32, 32, 3), 0.5, np.float32)},
        errors,
    )


def _shown(page: str) -> list[tuple[str, str]]:
    """Score and id of each example, from top to bottom."""
    return re.findall(r'<td class="id"><b>([^<]*)</b>([^<]*)</td>', page)


def test_the_numbers_are_there() -> None:
    page = _page()
    for text in (
        *("run &lt;7&gt;", "11,000", "0.625", "23.5", "4.3", "9.9°", "0.654", "1.99%"),
        *(
            "0.777",
            "0.888",
            "0.666",
            "nose",
            "mirror consistency",
            "rotation difference",
            "mask IoU",
        ),
    ):
        assert text in page, text


def test_the_networks_alone_stand_beside() -> None:
    scores = _scores(truth=True)
    assert "networks alone" not in _page()
    alone = _scores(truth=True)
    for part in (alone, alone["truth"]["keypoints"]["pck_0.1"], alone["truth"]["viewpoint"]):
        for name, row in part.items():
            if isinstance(row, dict) and row.get("median") is not None:
                part[name] = {key: value + 0.1 for key, value in row.items()}
    alone.pop("mirror_consistency")
    page = render_page(
        "run", {}, scores | {"networks_alone": alone}, _gallery(), {}, np.arange(7.0)
    )
    assert "networks alone 0.725" in page  # beside the headline's 0.625
    assert page.count("<td>0.725</td>") == 2  # median and mean of the mask's IoU
    assert "<td>0.988</td>" in page and "<td>0.754</td>" in page  # nose, within 15 degrees
    assert "<td>0.625</td>" in page


def test_nothing_is_fetched_from_elsewhere() -> None:
    page = _page()
    assert "http" not in page
    assert "@import" not in page and "<script" not in page and "<link" not in page
    sources = re.findall(r"(?:src|href)=\"([^\"]*)\"|url\(([^)]*)\)", page)
    assert len(sources) > 2 * 6 * 6
    for source, url in sources:
        assert not url and re.match(r"data:image/(png|svg\+xml);base64,", source)


def test_examples_run_from_the_best_to_the_worst() -> None:
    by_iou = [("1.000", 2), ("0.875", 4), ("0.750", 0), ("0.625", 6), ("0.250", 1), ("0.375", 5)]
    by_angle = [("1.0°", 2), ("2.0°", 4), ("3.0°", 0), ("5.0°", 6), ("160.0°", 5)]
    expected = [(score, _IDS[i]) for score, i in [*by_iou, *by_angle, ("90.0°", 3)]]
    assert _shown(_page()) == expected
    assert _shown(_page(truth=False)) == expected[:6]


@pytest.mark.parametrize(
    ("values", "num_each", "best", "median", "worst"),
    [
        ([0.1, 0.9, 0.5], 3, [1], [2], [0]),
        ([0.5], 3, [0], [0], [0]),
        ([0.2, np.nan, 0.8, 0.4], 1, [2], [3], [0]),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, [6, 5], [4, 3], [0, 1]),
        ([1.0, 1.0, 1.0], 1, [0], [1], [2]),
        ([np.nan], 2, [], [], []),
    ],
)
def test_choice_of_examples(values, num_each, best, median, worst) -> None:
    chosen = choose_examples(np.array(values), higher_is_better=True, num_each=num_each)
    assert {which: list(rows) for which, rows in chosen.items()} == {
        "best": best,
        "median": median,
        "worst": worst,
    }
    lowest = choose_examples(-np.array(values), higher_is_better=False, num_each=num_each)
    for which, rows in chosen.items():
        np.testing.assert_array_equal(lowest[which], rows)


def test_hidden_photographs_leave_no_trace() -> None:
    bright = _page(hide_photographs=True, photograph=0.9)
    assert bright == _page(hide_photographs=True, photograph=0.1)
    assert bright != _page(hide_photographs=False)
    assert "outline" in bright and "photograph" not in bright
    assert "photograph" in _page()


def test_data_without_truth_has_no_empty_sections() -> None:
    page = _page(truth=False)
    for absent in ("viewpoint", "Keypoint", "Chamfer", "pose"):
        assert absent not in page, absent
    assert "0.625" in page and "mirror consistency" in page


def test_every_image_is_there_once() -> None:
    gallery = _gallery()
    assert len(gallery.pictures) == _NUM_IMAGES
    np.testing.assert_allclose(gallery.mask_iou, np.array(_HEIGHT_PX) / 8)


def test_scores_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="a rotation error for each of 7 images, got 2"):
        render_page("run", {}, _scores(truth=True), _gallery(), {}, np.zeros(2))
    with pytest.raises(ValueError, match="expected a gallery with images, got an empty one"):
        render_page("run", {}, _scores(truth=False), Gallery((), 8, False), {})
