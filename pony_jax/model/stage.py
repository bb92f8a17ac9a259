"""What changes rarely during training: a static argument of the compiled step."""

from typing import NamedTuple

from pony_jax.model.capacities import Capacities


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
