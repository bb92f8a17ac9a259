"""Scores as people read them: sections of lines, for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

Summary = Mapping[str, float | None]
"""Of one score over all images, as `metrics.summarise` returns it; without a median for PCK."""

Section = Mapping[str, Summary]

_HEADER = f"{'':34}{'median':>9}{'mean':>9}   95 % of the mean"
_HEADER_ALONE = f"{'alone: median':>15}{'mean':>9}"
_PCK = ("pck_0.1", "pck_0.05", "pck_0.1_unpadded", "pck_0.05_unpadded")


def sections(scores: Mapping[str, Any]) -> dict[str, Section]:
    """The scores of a split by title, from what `pony_jax.evaluate` writes as JSON.

    Those against the truth, and those of the mirrored images, only where they are there.
    """
    truth = scores.get("truth") or {}
    found = {
        "image": image_section(scores),
        "mirror consistency": scores.get("mirror_consistency"),
        "viewpoint": truth.get("viewpoint"),
        "shape": truth.get("shape"),
        "pose": truth.get("pose"),
        "keypoint transfer": keypoint_means(truth["keypoints"]) if truth else None,
        "marked keypoints": keypoint_means(scores["keypoints"]) if "keypoints" in scores else None,
    }
    return {title: section for title, section in found.items() if section}


def image_section(scores: Mapping[str, Any]) -> Section:
    """The scores of the images themselves, without truth."""
    return {name: row for name, row in scores.items() if _is_summary(row)}


def keypoint_means(keypoints: Mapping[str, Any]) -> Section:
    """PCK over all keypoints at each threshold, with and without the original's enlarged box."""
    return {key: keypoints[key]["mean"] for key in _PCK if key in keypoints}


def each_keypoint(keypoints: Mapping[str, Any]) -> Section:
    """PCK of each keypoint, with the original's enlarged box."""
    return {name: row for name, row in keypoints[_PCK[0]].items() if name != "mean"}


def header(with_alone: bool = False) -> str:
    """The line above `format_lines`; `with_alone` names the columns of the networks alone."""
    return f"{_HEADER:73}{_HEADER_ALONE}" if with_alone else _HEADER


def format_lines(section: Section, prefix: str = "", alone: Section | None = None) -> list[str]:
    """A line a score, under `header`; `alone` is the same section of the networks alone."""
    return [_line(prefix + name, row, (alone or {}).get(name)) for name, row in section.items()]


def format_section(title: str, section: Section, alone: Section | None = None) -> str:
    """Title, header and lines of a section for the terminal."""
    return "\n".join([title, header(alone is not None), *format_lines(section, alone=alone)])


def _line(name: str, row: Summary, alone: Summary | None = None) -> str:
    def cell(row: Summary, key: str) -> str:
        value = row.get(key)
        return f"{'-':>9}" if value is None else f"{value:9.3f}"

    interval = f"{cell(row, 'mean_low95')} ..{cell(row, 'mean_high95')}"
    line = f"{name:34}{cell(row, 'median')}{cell(row, 'mean')}{interval}"
    return line if alone is None else f"{line}{'':6}{cell(alone, 'median')}{cell(alone, 'mean')}"


def _is_summary(value: Any) -> bool:
    return isinstance(value, Mapping) and "mean" in value
