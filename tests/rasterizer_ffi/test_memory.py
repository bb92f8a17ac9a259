"""What the CPU backend allocates beyond its inputs and outputs."""

import subprocess

import pytest

from tests.rasterizer_ffi.raster_backends import build


@pytest.mark.slow
def test_scratch_is_bounded():
    program = build("measure_memory") / "measure_memory"
    lines = subprocess.run(
        [program], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(lines) == 9 * 6 * 3  # operations, scenes, numbers of threads
    for line in lines:
        _, _, _, num_bytes, pixels, triangles = line.split()
        # Pixels of all images; triangles are counted once, however many images draw them.
        assert int(num_bytes) <= 64 * int(pixels) + 64 * int(triangles), line
    assert any(int(line.split()[3]) > 1_000_000 for line in lines)  # something was measured
