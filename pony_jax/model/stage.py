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
        """The next powers of two that hold `wanted`; sizes that suffice stay."""
        return Capacities(
            *(
                have if have >= want else 1 << (int(want) - 1).bit_length()
                for have, want in zip(self, wanted, strict=True)
            )
        )


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
