"""The table of ablations: every run has its configuration, and numbers land in their column."""

import pytest

from configs import horse
from experiments.ablations import ABLATIONS, columns, format_table
from pony_jax.training.checkpoints import differing_keys

SCORES = {
    "mask_iou": {"mean": 0.86},
    "psnr_overlap_db": {"mean": 20.5},
    "truth": {
        "viewpoint": {
            "rotation_error_deg": {"median": 9.5, "mean": 11.0},
            "share_head_tail_confused": {"median": 0.0, "mean": 0.01},
        },
        "shape": {"aligned_chamfer_percent": {"mean": 1.9}},
        "keypoints": {"pck_0.1": {"mean": {"mean": 0.85}, "left_ear": {"mean": 0.7}}},
    },
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_change_is_one_of_a_key_that_exists(name: str) -> None:
    before, after = horse.get_config(), horse.get_config()
    after.update_from_flattened_dict(ABLATIONS[name])
    assert set(differing_keys(before, after)) == set(ABLATIONS[name])


def test_numbers_land_in_their_columns() -> None:
    with_truth = columns(SCORES)
    assert list(with_truth.values()) == [0.86, 20.5, 9.5, 0.01, 1.9, 0.85]
    without = columns({key: value for key, value in SCORES.items() if key != "truth"})
    assert list(without.values()) == [0.86, 20.5]


def test_several_seeds_give_mean_and_range() -> None:
    table = format_table({"full": [{"mask IoU": 0.86}, {"mask IoU": 0.88}]})
    assert "| full | 0.87 (0.86 to 0.88) |" in table
