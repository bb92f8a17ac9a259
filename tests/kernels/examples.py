"""For each row of the table of kernels a small call, with what makes it hard."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rasterizer_ffi
from pony_jax.ops.bones import landmarks
from pony_jax.ops.cameras import camera_from_pose, transform_points
from pony_jax.ops.convolution import ConvBlockWeights, conv_block, strided_convolution
from pony_jax.ops.dense import NormDenseWeights, norm_dense
from pony_jax.ops.lattice_cells import Cells, cells_at_surface, march_cells
from pony_jax.ops.mlp import conditioned_mlp
from pony_jax.ops.skinning import bone_shares, skin
from pony_jax.ops.substitution import without_substitutes
from pony_jax.ops.surface import shaded_values, visible_surface
from tests.kernels.kernel_checks import noise, weights


class Example(NamedTuple):
    """A call of a function that has a substitute."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    static: dict[str, Any]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args, **self.static)


def _visible_surface() -> Example:
    angle = np.linspace(0, 2 * np.pi, 7)[:-1]
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    rest = jnp.asarray(np.concatenate([[[0, 0, 0.5]], ring]), jnp.float32)  # a flat cone
    faces = [[0, 1 + i, 1 + (i + 1) % 6] for i in range(6)] + [[-1, -1, -1]]
    faces = jnp.asarray(faces, jnp.int32)
    verts = rest + 0.05 * noise(5, 2, *rest.shape)
    rotation = jnp.broadcast_to(jnp.eye(3), (2, 3, 3))
    camera = camera_from_pose(rotation, 0.2 * noise(6, 2, 3), distance=6.0, fov_y_deg=25.0)
    clip = transform_points(camera.clip_from_world, verts)
    coverage, _ = rasterizer_ffi.rasterize(clip, faces, (16, 16), grad_db=False)
    args = verts, rest, camera.cam_from_world, coverage, faces
    return Example(visible_surface, args, {"samples": 2, "max_pixels": 100})


def _lattice() -> tuple[Example, Example]:
    inside = jnp.zeros((2, 5, 4, 6), bool).at[:, 1:3, 1:2, 1:4].set(True)
    blocks = jnp.arange(inside.size, dtype=jnp.int32).reshape(inside.shape) % 7
    find = {"max_cells": 60, "num_blocks": 7}
    with without_substitutes():
        cells, _ = cells_at_surface(inside, blocks, **find)
    march = {"strides": (15, 5, 1), "max_verts": 200, "max_faces": 300}
    return (
        Example(cells_at_surface, (inside, blocks), find),
        Example(march_cells, (Cells(*cells),), march),
    )


def _examples() -> list[Example]:
    image = jnp.arange(120, dtype=jnp.int32) % 4 - 1  # two belong to no image
    network = noise(5, 120, 3), weights(3, 48, 2, 3), noise(6, 2, 48), image, jnp.int32(110)
    of_norm = 1 + 0.1 * noise(1, 16), noise(2, 16)
    block = ConvBlockWeights(*of_norm, noise(3, 3, 3, 16, 16) / 12, noise(4, 16))
    dense = NormDenseWeights(*of_norm, noise(3, 16, 9) / 4, noise(4, 9))
    points = noise(0, 30, 3), noise(1, 30, 5), noise(2, 30, 3), noise(3, 2, 5)
    verts, bones = noise(0, 2, 37, 3), noise(2, 2, 5, 2, 3)
    shares = jax.nn.softmax(noise(3, 2, 37, 5))
    transforms = jnp.eye(4) + 0.3 * noise(1, 2, 5, 4, 4)
    return [
        Example(conditioned_mlp, network, {"num_frequencies": 3, "scale": 0.8}),
        _visible_surface(),
        Example(shaded_values, (*points, jnp.arange(30, dtype=jnp.int32) // 15, jnp.int32(27)), {}),
        Example(conv_block, (noise(0, 2, 5, 7, 16), block), {}),
        Example(
            strided_convolution,
            (noise(0, 2, 7, 6, 5), noise(1, 3, 3, 5, 9)),
            {"stride": 2, "padding": 1},
        ),
        Example(norm_dense, (noise(0, 3, 7, 16), dense), {}),
        Example(bone_shares, (verts, bones, jnp.int32(33)), {"temperature": 0.5}),
        Example(skin, (verts, shares, transforms, jnp.int32(33)), {}),
        Example(landmarks, (verts, jnp.arange(37) < 30), {"above_feet": True}),
        *_lattice(),
    ]


EXAMPLES = {example.function.__name__: example for example in _examples()}
