"""Landmarks and skinning, each in one pass over the vertices."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pony_jax.kernels.library import call, empty_or, whole
from pony_jax.ops.bones import LEG_MARGIN, Landmarks

Arrays = tuple[Array, Array, Array, Array | None]


def accepts_landmarks(verts: Array, valid: Array, *, above_feet: bool) -> bool:
    return verts.shape[1] > 0


def landmarks(verts: Array, valid: Array, *, above_feet: bool) -> Landmarks:
    b = len(verts)
    how = {"margin": np.float64(LEG_MARGIN), "above_feet": above_feet}
    results = [(b, 3), (b, 2, 3), (b, 4, 3), whole(b, 4)]
    *places, found = call("Landmarks", results, verts, valid.astype(jnp.int32), **how)
    return Landmarks(*places, found > 0)


def bone_shares(verts: Array, bones: Array, count: Array | None, *, temperature: float) -> Array:
    shape = *verts.shape[:2], bones.shape[1]
    how = {"temperature": np.float64(temperature)}
    return call("SkinningWeights", [shape], verts, bones, empty_or(count), **how)[0]


def skin(verts: Array, weights: Array, transforms: Array, count: Array | None = None) -> Array:
    return call("Skin", [verts.shape], verts, weights, transforms, empty_or(count))[0]


def skin_backward(args: Arrays, kept: tuple, grads: tuple[Array, ...]) -> list[Array]:
    verts, weights, transforms, *count = args
    shapes = [verts.shape, transforms.shape]
    arrays = verts, weights, transforms, empty_or(count[0] if count else None)
    grad_verts, grad_transforms = call("SkinGrad", shapes, *arrays, *grads)
    return [grad_verts, jnp.zeros_like(weights), grad_transforms]
