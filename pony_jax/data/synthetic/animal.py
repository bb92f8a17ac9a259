"""One individual: the template with its own proportions, at rest and in a pose."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from pony_jax.data.synthetic.gait import sample_pose
from pony_jax.data.synthetic.proportions import (
    chain,
    follow,
    follow_bones,
    sample_individual,
    stretches,
)
from pony_jax.data.synthetic.template import Template
from pony_jax.ops.rotations import euler_xyz_to_matrix


class Animal(NamedTuple):
    """An individual in the object frame. Bones are (head, tail) in the order of `BONE_NAMES`."""

    verts_rest: Float[Array, "v 3"]
    verts_posed: Float[Array, "v 3"]
    bones_rest: Float[Array, "k 2 3"]
    bones_posed: Float[Array, "k 2 3"]
    angles_rad: Float[Array, "k 3"]  # Euler XYZ of each bone against its parent, from rest
    gait: Int[Array, ""]  # index into GAITS


def pose_animal(
    template: Template, factors: Float[Array, "k 3"], angles_rad: Float[Array, "k 3"]
) -> tuple[Float[Array, "v 3"], Float[Array, "v 3"], Float[Array, "k 2 3"], Float[Array, "k 2 3"]]:
    """(vertices at rest, vertices posed, bones at rest, bones posed) of given proportions.

    The root bone (the hips) turns about the middle of the back, which stays where it is.
    """
    still = jnp.broadcast_to(jnp.eye(3), (len(factors), 3, 3))
    linear, heads = chain(template.segments, stretches(template.segments, factors), still)
    verts_rest = follow(template.verts, template.weights, template.segments, linear, heads)
    bones_rest = follow_bones(template.segments, linear, heads)
    linear, heads = chain(bones_rest, still, euler_xyz_to_matrix(angles_rad))
    verts_posed = follow(verts_rest, template.weights, bones_rest, linear, heads)
    return verts_rest, verts_posed, bones_rest, follow_bones(bones_rest, linear, heads)


def sample_animal(
    key: PRNGKeyArray, template: Template, elapsed: Float[Array, ""] | float = 0.0
) -> Animal:
    """A random individual in a random pose, or `elapsed` strides later in its gait."""
    key_build, key_pose = jax.random.split(key)
    angles_rad, gait = sample_pose(key_pose, elapsed)
    verts_rest, verts_posed, bones_rest, bones_posed = pose_animal(
        template, sample_individual(key_build), angles_rad
    )
    return Animal(verts_rest, verts_posed, bones_rest, bones_posed, angles_rad, gait)
