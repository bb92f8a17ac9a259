"""What changes rarely during training: a static argument of the compiled step."""

from typing import NamedTuple


class Capacities(NamedTuple):
    """Sizes of the padded buffers: mesh vertices, mesh faces, foreground pixels of a batch."""

    verts: int
    faces: int
    pixels: int

    def covers(self, wanted: "Capacities") -> bool:
        """Whether buffers of these sizes hold what was wanted."""
        return all(have >= want for have, want in zip(self, wanted, strict=True))

    def grown_to(self, wanted: "Capacities") -> "Capacities":
        """Sizes that hold `wanted` with an eighth to spare; sizes that suffice already stay.

        New sizes are multiples of an eighth of a power of two, so that they recur between runs
        and the compilation cache knows them. A whole power of two would leave the networks up to
        twice the pixels that are there.
        """

        def grow(have: int, want: int) -> int:
            if have >= want:
                return have
            unit = max(1 << int(want).bit_length() >> 4, 1)
            return -(-int(want * 1.125) // unit) * unit

        return Capacities(*map(grow, self, wanted))


class Stage(NamedTuple):
    """One compiled variant of the model.

    Attributes:
      grid_resolution: layers of the tetrahedral lattice along its longest side.
      articulation: bones rotate.
      deformation: vertices move per image.
      attach_legs: leg bones follow the body bone that they hang from.
      capacities: sizes of the padded buffers.
    """

    grid_resolution: int
    articulation: bool
    deformation: bool
    attach_legs: bool
    capacities: Capacities
