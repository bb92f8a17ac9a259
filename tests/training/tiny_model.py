"""A model of the same interface as `pony_jax.model.Pony`, small enough to know its every step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pony_jax.model import Capacities, Stage


@dataclasses.dataclass(frozen=True)
class TinyModel:
    """Every parameter is one number that wants to equal the mean of the batch's `x`.

    Attributes:
      nan_at: step whose loss is not a number.
      empty_at: step whose mesh is empty.
      verts_wanted: vertices that the mesh has from step 2 on; 4 before.
    """

    nan_at: int = -1
    empty_at: int = -1
    verts_wanted: int = 4
    articulation_from: int = 3
    deformation_from: int = 5

    def init_params(self, key: Array) -> dict[str, Any]:
        names = ("key_encoder", "out_encoder", "articulation_network", "deformation_field")
        values = jax.random.normal(key, (len(names) + 1,))
        instance = {
            name: {"kernel": value[None]} for name, value in zip(names, values[1:], strict=True)
        }
        return {"prior": {"sdf": {"kernel": values[:1]}}, "instance": instance}

    def expected_counts(self, step: int) -> Capacities:
        return Capacities(4, 8, 16, 4, 4)

    def stage_at(self, step: int, capacities: Capacities) -> Stage:
        return Stage(
            grid_resolution=8,
            articulation=step >= self.articulation_from,
            deformation=step >= self.deformation_from,
            attach_legs=False,
            capacities=capacities,
        )

    def loss(
        self, params: dict, batch: dict, step: Array, key: Array, stage: Stage
    ) -> tuple[Array, dict[str, Any]]:
        used = {"sdf", "out_encoder"}
        used |= {"articulation_network", "key_encoder"} if stage.articulation else set()
        used |= {"deformation_field", "key_encoder"} if stage.deformation else set()
        leaves = {**params["prior"], **params["instance"]}
        target = jnp.mean(batch["x"]) + 0.01 * jax.random.normal(key)
        loss = sum((leaves[name]["kernel"][0] - target) ** 2 for name in sorted(used))
        loss = jnp.where(step == self.nan_at, jnp.nan, loss)
        verts = jnp.where(step >= 2, self.verts_wanted, 4)
        faces = jnp.where(step == self.empty_at, 0, 8)
        sixteen, four = jnp.int32(16), jnp.int32(4)
        counts = Capacities(verts, faces, sixteen, four, four)
        return loss, {"metrics": {"mask": loss}, "counts": counts}
