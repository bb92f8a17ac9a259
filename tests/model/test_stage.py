"""Sizes of buffers: when they grow, and by how much."""

from pony_jax.model import NO_CAPACITIES, Capacities

_SIZES = Capacities(verts=4608, faces=9216, pixels=11264, blocks=480, points=1536)


def test_sizes_that_suffice_stay() -> None:
    assert _SIZES.grown_to(_SIZES) == _SIZES
    assert _SIZES.grown_to(NO_CAPACITIES) == _SIZES


def test_one_buffer_that_is_too_small_makes_room_in_all() -> None:
    wanted = Capacities(verts=4608, faces=9252, pixels=10339, blocks=239, points=1337)
    grown = _SIZES.grown_to(wanted)
    assert grown.covers(wanted)
    # Vertices sufficed, but would have been too small a step later; the others have an eighth left.
    assert grown == _SIZES._replace(verts=5632, faces=11264, pixels=12288)
    assert grown.grown_to(wanted) == grown


def test_what_is_added_lies_between_an_eighth_and_a_quarter() -> None:
    for size in (1, 7, 8, 100, 1000, 4097, 10_000, 123_456):
        wanted = Capacities(*[size] * 5)
        for have in NO_CAPACITIES.grown_to(wanted):
            assert int(1.125 * size) <= have <= 1.25 * size + 1
