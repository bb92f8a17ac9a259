"""Compiled substitutes for a CPU: the table.

XLA's CPU backend computes one layer after the other, through memory, and much of it on one core.
These kernels (`cpu/`) keep what they work on in the cache, and use all cores. Each stays only while
taking it out alone costs at least 4 % of the default step
(`python -m experiments.benchmarks.kernels`).

`import pony_jax` registers them, unless the environment variable PONY_JAX_KERNELS is 0.
"""

from pony_jax.kernels import convolution, dense, lattice, mlp, skinning, surface
from pony_jax.ops.bones import landmarks
from pony_jax.ops.convolution import conv_block, strided_convolution
from pony_jax.ops.dense import norm_dense
from pony_jax.ops.lattice_cells import cells_at_surface, march_cells
from pony_jax.ops.mlp import conditioned_mlp
from pony_jax.ops.skinning import bone_shares, skin
from pony_jax.ops.substitution import Substitute, register
from pony_jax.ops.surface import shaded_values, visible_surface

TABLE = (
    Substitute(conditioned_mlp, mlp.forward, mlp.forward_keeping, mlp.backward),
    Substitute(visible_surface, surface.forward, surface.forward_keeping, surface.backward),
    Substitute(
        shaded_values,
        surface.values,
        backward=surface.values_backward,
        accepts=surface.accepts_values,
    ),
    Substitute(
        conv_block,
        convolution.block_forward,
        convolution.block_forward_keeping,
        convolution.block_backward,
        accepts=convolution.accepts_block,
    ),
    Substitute(strided_convolution, convolution.forward, backward=convolution.backward),
    Substitute(norm_dense, dense.forward, backward=dense.backward, accepts=dense.accepts),
    Substitute(bone_shares, skinning.bone_shares),
    Substitute(skin, skinning.skin, backward=skinning.skin_backward),
    Substitute(landmarks, skinning.landmarks, accepts=skinning.accepts_landmarks),
    Substitute(cells_at_surface, lattice.cells_at_surface),
    Substitute(march_cells, lattice.march_cells, accepts=lattice.accepts_march),
)


def register_all() -> None:
    """Puts the table into effect; what was traced before keeps to the plain functions."""
    register(*TABLE)
