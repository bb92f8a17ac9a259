"""Fields that are the same left and right, or not."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import horse
from pony_jax.model import Pony, build_model
from pony_jax.ops.marching_tets import marching_tets
from pony_jax.ops.sparse_marching_tets import closing_distance
from pony_jax.ops.tet_grid import box_lattice, lattice_grid

MIRROR = jnp.array([-1.0, 1.0, 1.0])
FIELDS = ("sdf", "feature", "texture", "deformation")


def asymmetric(*fields: str) -> ConfigDict:
    config = horse.get_config("test")
    for field in fields:
        config.model[f"{field}_mirror"] = False
    return config


def values(model: Pony, points: jax.Array) -> dict[str, jax.Array]:
    """Every field at some points, with fresh parameters."""
    vector = jnp.ones((1, model.instance.latent))
    image = jnp.zeros(len(points), jnp.int32)

    def run(module: nn.Module, method: str, *args: jax.Array) -> jax.Array:
        init = jax.jit(functools.partial(module.init, method=method))
        return module.apply(init(jax.random.key(0), *args), *args, method=method)

    sdf, feature = run(model.prior, "__call__", points)
    return {
        "sdf": sdf,
        "feature": feature,
        "texture": run(model.instance, "albedo", points, vector, image),
        "deformation": run(model.instance, "deformation", points, vector)[0],
    }


@pytest.mark.parametrize("field", FIELDS)
def test_each_setting_frees_its_own_field(field: str) -> None:
    points = jax.random.uniform(jax.random.key(2), (32, 3), minval=-1.0)
    model = build_model(asymmetric(field), (8, 6))
    left, right = values(model, points), values(model, points * MIRROR)
    for name in FIELDS:
        same = np.allclose(left[name], right[name], atol=1e-6)  # |x| is exact; sums may reorder
        assert same == (name != field), name


@pytest.mark.parametrize("mirror", [True, False])
def test_the_shape_is_the_field_on_the_whole_lattice(mirror: bool) -> None:
    model = build_model(asymmetric(*([] if mirror else ["sdf"])), (8, 6))
    params = jax.jit(model.prior.init)(jax.random.key(0), jnp.zeros((1, 3)))["params"]
    kernel = params["sdf"]["network"]["input"]["dense"]["kernel"]
    params["sdf"]["network"]["input"]["dense"]["kernel"] = 3.0 * kernel
    prior = model.prior
    sizes = {"max_blocks": 1000, "max_points": 2048, "max_verts": 2048, "max_faces": 4096}
    make = functools.partial(prior.apply, resolution=16, method="shape", **sizes)
    mesh = jax.jit(make)({"params": params}).mesh

    lattice = box_lattice(16, prior.grid_extent)
    grid = lattice_grid(lattice)
    to_box = closing_distance(np.rint(grid.verts / (lattice.side / 2)), lattice)

    @jax.jit
    def march(params):
        sdf = prior.apply({"params": params}, jnp.asarray(grid.verts))[0]
        return marching_tets(jnp.minimum(sdf, to_box), jnp.asarray(grid.verts), grid, 2048, 4096)

    slow = march(params)
    count = int(mesh.vert_count)
    assert 0 < count == int(slow.vert_count) < 2048
    np.testing.assert_array_equal(mesh.faces, slow.faces)
    # Batches of other sizes may sum in another order, and an edge's crossing divides by the
    # difference of two values.
    np.testing.assert_allclose(mesh.verts, slow.verts, atol=1e-4)

    mirrored = np.linalg.norm(mesh.verts[:count, None] - mesh.verts[None, :count] * MIRROR, axis=-1)
    assert (mirrored.min(axis=1).max() < 1e-4) == mirror
