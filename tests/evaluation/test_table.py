"""Scores as people read them."""

from pony_jax.evaluation import table

_ROW = {"mean": 0.5, "mean_low95": 0.4, "mean_high95": 0.6, "median": 0.55}


def test_sections_are_those_that_are_there() -> None:
    scores = {"split": "test", "num_images": 3, "mask_iou": _ROW}
    assert table.sections(scores) == {"image": {"mask_iou": _ROW}}
    keypoints = {"pck_0.1": {"mean": _ROW, "nose": _ROW}, "pck_0.1_unpadded": {"mean": _ROW}}
    truth = {"viewpoint": {"e": _ROW}, "shape": {"c": _ROW}, "pose": None, "keypoints": keypoints}
    found = table.sections(scores | {"truth": truth, "mirror_consistency": {"m": _ROW}})
    assert list(found) == ["image", "mirror consistency", "viewpoint", "shape", "keypoint transfer"]
    assert found["keypoint transfer"] == {"pck_0.1": _ROW, "pck_0.1_unpadded": _ROW}
    assert table.each_keypoint(keypoints) == {"nose": _ROW}


def test_lines_stand_under_their_header() -> None:
    unknown = dict.fromkeys(_ROW)
    text = table.format_section("mirrored", {"mask_iou": _ROW, "nothing": unknown})
    title, header, first, second = text.splitlines()
    assert title == "mirrored"
    assert first.split() == ["mask_iou", "0.550", "0.500", "0.400", "..", "0.600"]
    assert second.split() == ["nothing", "-", "-", "-", "..", "-"]
    assert first.index("0.550") + 5 == header.index("median") + len("median")


def test_the_networks_alone_stand_beside() -> None:
    alone = {"mask_iou": _ROW | {"mean": 0.3, "median": 0.35}}
    text = table.format_section("images", {"mask_iou": _ROW, "other": _ROW}, alone)
    _, header, first, second = text.splitlines()
    assert first.split()[-2:] == ["0.350", "0.300"]
    assert first.index("0.350") + 5 == header.rindex("median") + len("median")
    assert len(header) <= 100
    assert second.split()[-1] == "0.600"  # nothing is known of it alone
