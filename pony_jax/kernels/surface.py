"""The visible surface, gathered in one pass over the pixels, and its light."""

from jaxtyping import Array

from pony_jax.kernels.library import call, whole
from pony_jax.ops.surface import Surface


def forward(*args: Array, samples: int, max_pixels: int) -> Surface:
    return forward_keeping(*args, samples=samples, max_pixels=max_pixels)[0]


def forward_keeping(
    *args: Array, samples: int, max_pixels: int
) -> tuple[Surface, tuple[Array, ...]]:
    n, kept = max_pixels, (*args[0].shape[:2], 8)
    results = [whole(n), whole(n), (n, 3), (n, 3), whole(), whole(n), kept]
    *packed, shown, at_verts = call("Surface", results, *args, samples=samples)
    return Surface(*packed), (packed[0], shown, at_verts)


def backward(
    args: tuple[Array, ...],
    kept: tuple[Array, ...],
    grads: tuple[Array, ...],
    *,
    samples: int,
    max_pixels: int,
) -> list[Array]:
    shapes = [x.shape for x in args[:4]]
    return call("SurfaceGrad", shapes, *args, *kept, *grads, samples=samples)


def accepts_values(
    albedo: Array, feature: Array, normal_cam: Array, light: Array, image: Array, count: Array
) -> bool:
    return len(light) > 0


def values(*args: Array) -> Array:
    albedo, feature, *_ = args
    return call("LitValues", [(len(albedo), 4 + feature.shape[1])], *args)[0]


def values_backward(args: tuple[Array, ...], kept: tuple, grads: tuple[Array, ...]) -> list[Array]:
    return call("LitValuesGrad", [x.shape for x in args[:4]], *args, *grads)
