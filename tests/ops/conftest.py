"""Cases of the original's bones, shared by the tests of bones and of skinning."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

from pony_jax.ops.bones import Skeleton


class BonesCase(NamedTuple):
    """A golden case of `model_03_skinning`, its frames merged into the batch."""

    arrays: dict[str, Any]
    verts: Float[Array, "b v 3"]
    skeleton: Skeleton
    attachments: Int[Array, " l"]
    attach_legs: bool

    def flat(self, name: str) -> Float[Array, "b ..."]:
        """One array of the case, with batch and frames merged."""
        return flat(self.arrays[name])


def flat(array: np.ndarray) -> Float[Array, "b ..."]:
    return jnp.asarray(array.reshape(-1, *array.shape[2:]))


@pytest.fixture(
    params=[
        "horse_z_minmax_att1",
        "horse_z_minmax_att0",
        "horse_z_minmax_y+_att1",
        "horse_z_minmax_y+_att0",
        "horse_fixed_att1",
        "horsebatch_y+_att1",
        "horsebatch_zminmax_att0",
        "bird_y+",
    ]
)
def bones_case(request, golden_case) -> BonesCase:
    arrays = golden_case("model_03_skinning", request.param)
    cfg = arrays["cfg"]
    return BonesCase(
        arrays,
        flat(golden_case("model_03_skinning", "shape")[cfg["shape"]]),
        Skeleton(
            cfg["num_body_bones"], cfg["num_legs"], cfg["num_leg_bones"], cfg["body_bones_mode"]
        ),
        jnp.array([leg["body_bone_idx"] for leg in arrays["aux"]["legs"]], jnp.int32),
        cfg["attach_legs_to_body"],
    )
