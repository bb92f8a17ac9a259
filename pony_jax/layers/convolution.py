"""Convolutions of images."""

import functools

import jax
from jax import lax
from jaxtyping import Array, Float

from pony_jax.layers.backend import call, uses_kernels


def convolution(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], *, stride: int, padding: int
) -> Float[Array, "b oh ow o"]:
    """Cross-correlation, as networks mean it; differentiable once.

    Args:
      stride, padding: the same along both axes; padding with zeros at every side.

    Raises:
      ValueError: where the kernel does not fit.
    """
    if x.shape[3] != kernel.shape[2]:
        raise ValueError(
            f"kernel: expected shape [kh, kw, {x.shape[3]}, o] for images of {x.shape[3]} "
            f"channels, got {kernel.shape}"
        )
    if any(
        size + 2 * padding < taps for size, taps in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    ):
        raise ValueError(
            f"x: expected images of at least {kernel.shape[:2]} with their padding of {padding}, "
            f"got {x.shape[1:3]}"
        )
    if not padding and x.shape[1:] == kernel.shape[:3]:  # of one pixel: rows of a product
        rows = x.reshape(len(x), -1) @ kernel.reshape(-1, kernel.shape[3])
        return rows[:, None, None]
    convolve = _convolution if uses_kernels(x, kernel) else _by_xla
    return convolve(x, kernel, stride, padding)


def _by_xla(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    kh, kw, _, features = kernel.shape
    h, w = (
        (n + 2 * padding - k) // stride + 1 for n, k in zip(x.shape[1:3], (kh, kw), strict=True)
    )
    shape = (len(x), h, w, features)
    (out,) = call("convolution", [shape], x, kernel, stride=stride, padding=padding)
    return out


def _forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple]:
    return _convolution(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: int, kept: tuple, grad_out: Array) -> tuple[Array, Array]:
    x, kernel = kept
    how = {"stride": stride, "padding": padding}
    (grad_x,) = call("convolution_grad_x", [x.shape], kernel, grad_out, **how)
    (grad_kernel,) = call("convolution_grad_kernel", [kernel.shape], x, grad_out, **how)
    return grad_x, grad_kernel


_convolution.defvjp(_forward, _backward)
