"""What changes rarely during training: a static argument of the compiled step."""

from typing import NamedTuple


class Capacities(NamedTuple):
    """Sizes of the padded buffers.

    Attributes:
      verts: of the mesh.
      faces: of the mesh.
      pixels: of the foreground of a batch.
      blocks: of the grid's cells that the surface may pass through.
      points: grid vertices at the ends of crossing edges.
    """

    verts: int
    faces: int
    pixels: int
    blocks: int
    points: int

    def covers(self, wanted: "Capacities") -> bool:
        """Whether buffers of these sizes hold what was wanted."""
        return all(have >= want for have, want in zip(self, wanted, strict=True))

    def grown_to(self, wanted: "Capacities") -> "Capacities":
        """The same sizes if they hold `wanted`; else sizes that hold it with an eighth to spare.

        Where one buffer was too small, all are given room: they fill up together, and each change
        is a compilation. New sizes are multiples of an eighth of a power of two, so that they recur
        between runs and the compilation cache knows them. A whole power of two would leave the
        networks up to twice the pixels that are there.
        """
        if self.covers(wanted):
            return self

        def grow(have: int, want: int) -> int:
            roomy = int(want * 1.125)
            if have >= roomy:
                return have
            unit = max(1 << int(want).bit_length() >> 4, 1)
            return -(-roomy // unit) * unit

        return Capacities(*map(grow, self, wanted))


NO_CAPACITIES = Capacities(*(0 for _ in Capacities._fields))
"""Where buffers start from; they grow to what is wanted."""


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
