"""The page about a data set, and what is said before the work."""

import re

import numpy as np
import pytest

from pony_jax.data.photograph_builder import PhotographBuilder
from pony_jax.data.picture_facts import PictureFacts
from pony_jax.data.schema import encode_jpeg, encode_png
from pony_jax.errors import UserError
from pony_jax.features import estimate as estimation
from pony_jax.features.contact_sheet import contact_sheet
from pony_jax.features.report import write_report

_FACTS = PictureFacts(640, 480, 300, 0.25, False, 0.02, 2**63 + 5)


@pytest.fixture
def folder(tmp_path):
    def example(name):
        features = {
            "feature": np.full((4, 4, 16), 200, np.uint8),
            "patch_key": np.zeros((2, 2, 3), np.float16),
            "patch_out": np.zeros((2, 2, 3), np.float16),
        }
        return {
            "id": name,
            "image": encode_jpeg(np.full((8, 8, 3), 90, np.uint8)),
            "mask": encode_png(np.full((8, 8, 1), 255, np.uint8)),
            "box": np.zeros(8, np.float32),
            **features,
            "flip": features,
        }

    builder = PhotographBuilder(
        name="toy",
        data_dir=tmp_path,
        sizes={"image_size": 8, "feature_size": 4, "token_grid": 2, "token_dim": 3},
        splits={
            split: lambda names=names: [(name, example(name)) for name in names]
            for split, names in (("train", ("a", "b", "c")), ("test", ("d",)))
        },
        provenance={
            "backbone": "pixels",
            "explained_variance": {"feature": [0.5, 0.25]},
            "skipped": ["<b>x</b>: expected a photograph, found a web page"],
        },
        projection={},
    )
    builder.download_and_prepare()
    return builder.data_path


def _section(page, title):
    return re.search(rf"<h2>{title}: (\d+)</h2>(.*?)(?=<h2>)", page, re.S).groups()


def test_the_page_says_what_to_look_at(folder):
    facts = {
        "a": _FACTS,
        "b": _FACTS._replace(truncated=True, difference_hash=2**63 + 4),
        "c": _FACTS._replace(sharpness=0.001, difference_hash=0xFFFF),
        "d": _FACTS._replace(crop_side=5, difference_hash=0xFFFF0000),
    }
    page = write_report(folder, facts).read_text()
    assert "3 train, 1 test, 1 skipped" in page and "75.0 %" in page
    for title, names in {
        "Skipped": ["&lt;b&gt;x&lt;/b&gt;: expected a photograph, found a web page"],
        "At the edge": ["b"],
        "Small": ["d: 5 px"],
        "Perhaps out of focus": ["c: 0.00100"],
        "Nearly the same": ["a and b"],
    }.items():
        count, lines = _section(page, title)
        assert (int(count), re.findall("<li>(.*?)</li>", lines)) == (len(names), names), title
    assert page.count("data:image/jpeg;base64,") == 2
    assert not re.search("(src|href)=['\"](?!data:)", page)  # nothing outside of the file


def test_masks_are_grey_and_short_rows_are_filled():
    pictures = [np.full((5, 5, 3), 10, np.uint8)] * 3
    masks = [np.full((7, 7, 1), 200, np.uint8)] * 3
    sheet = contact_sheet(pictures, masks, num_columns=2)
    assert sheet.shape == (4 * 128, 2 * 128, 3)
    assert (sheet[128:256] == 200).all() and (sheet[256:384, 128:] == 0).all()


def test_room_is_checked_before_the_work(tmp_path, monkeypatch):
    estimation.check_room(1, tmp_path / "not" / "there" / "yet")
    with pytest.raises(UserError, match=r"expected about 1048576\.0 GiB of room in .*, found"):
        estimation.check_room(2**50, tmp_path)


def test_the_estimate_is_read_by_people():
    assert str(estimation.Estimate(3 * 2**20, 12.3)) == "about 3 MiB, at least 12 s"
    assert str(estimation.Estimate(3 * 2**20, 600.0)) == "about 3 MiB, at least 10 minutes"
