"""The table of growth: which points are measured, how often, and what its lines say."""

import os
import time
from multiprocessing.connection import Connection

import pytest

from experiments.benchmarks import growth
from experiments.benchmarks.growth import Measured, Point, Variable

_START = Point("test", "geometry", (), num_calls=2, max_gib=24.0)
_GRID = Variable("grid", ("model.fine_resolution",), (32, 8))
_WIDTH = Variable("width", ("model.hidden", "model.encoder_hidden"), (16, 8))


def _measured(median_ms: float, buffers_mib: float = 10.0) -> Measured:
    return Measured(median_ms, median_ms, buffers_mib, 12.0, 300.0, 2.0)


def test_each_point_is_measured_once_with_the_default_among_its_values(monkeypatch) -> None:
    asked = []

    def measure(point: Point, deadline: float) -> Measured:
        asked.append(dict(point.settings))
        return _measured(len(asked))

    monkeypatch.setattr(growth, "measure_alone", measure)
    rows = list(growth.measure_all([_GRID, _WIDTH], _START, deadline=0.0))
    # The variant's own grid is 16 and its width 16; that point serves both.
    assert [(name, value) for name, value, _ in rows] == [
        *(("grid", 8), ("grid", 16), ("grid", 32)),
        *(("width", 8), ("width", 16)),
    ]
    assert rows[4][2] is rows[1][2]
    assert asked == [
        {"model.fine_resolution": 8},
        {},
        {"model.fine_resolution": 32},
        {"model.hidden": 8, "model.encoder_hidden": 8},
    ]


def test_settings_reach_the_configuration() -> None:
    point = _START._replace(settings=(("model.fine_resolution", 24), ("data.batch_size", 3)))
    config = growth.configure(point)
    assert (config.model.fine_resolution, config.data.batch_size) == (24, 3)
    assert growth.configure(_START).model.fine_resolution == 16


def test_every_variable_is_known_to_the_configuration() -> None:
    for part, variables in growth.VARIABLES.items():
        for variable in variables:
            settings = tuple((key, variable.values[0]) for key in variable.keys)
            growth.configure(Point("", part, settings, 1, 24.0))


def test_rows_compare_with_the_row_above() -> None:
    first = growth.format_row("grid", 8, _measured(2.0, 10.0), None)
    second = growth.format_row("grid", 16, _measured(9.0, 25.0), _measured(2.0, 10.0))
    failed = growth.format_row("grid", 32, "no time left", _measured(9.0))
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (first, second, failed)]
    assert cells[0] == ["grid", "8", "2.0", "", "2.0", "10", "", "12", "300", "2.0"]
    assert cells[1] == ["grid", "16", "9.0", "4.50", "9.0", "25", "2.50", "12", "300", "2.0"]
    assert cells[2] == ["grid", "32", "no time left", *[""] * 7]


def _die(point: Point, sender: Connection) -> None:
    os._exit(7)


def test_a_process_that_dies_or_has_no_time_is_a_line_of_the_table(monkeypatch) -> None:
    assert growth.measure_alone(_START, time.monotonic() - 1) == "no time left"
    monkeypatch.setattr(growth, "_report", _die)
    assert growth.measure_alone(_START, time.monotonic() + 600) == "ended with code 7"


@pytest.mark.slow
def test_a_larger_grid_takes_more_memory() -> None:
    small, large = (
        growth.measure_alone(
            _START._replace(settings=(("model.fine_resolution", size),)), time.monotonic() + 600
        )
        for size in (8, 64)
    )
    assert isinstance(small, Measured) and isinstance(large, Measured)
    assert 0 < small.min_ms <= small.median_ms
    # Eight times the edge and so at least 64 times the surface; small buffers have a floor.
    assert large.buffers_mib > 8 * small.buffers_mib
    assert small.peak_mib > small.step_mib > 0
    assert large.step_mib >= 0.5 * large.buffers_mib  # planned memory is used, if not all at once


def test_the_plot_has_a_column_for_each_variable(tmp_path) -> None:
    measured = {
        "grid": {8: _measured(1.0), 16: _measured(4.0)},
        "batch": {2: _measured(1.0)},
    }
    file = tmp_path / "growth.png"
    figure = growth.plot(measured, "step")
    figure.savefig(file)
    assert len(figure.axes) == 4
    assert 1000 < file.stat().st_size < 300_000
