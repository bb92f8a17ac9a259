"""Checks of what users pass: an error says what was expected, what was got, and what to do.

Nothing is converted silently: a float64 array, an int64 index or a fraction is refused by name.
Letters: b images, v vertices, f triangles, h w rows and columns, c channels.
"""

import numbers
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

MAX_TRIANGLES = 2**24  # ids are stored as floats
MAX_RESOLUTION = 2**15  # rows or columns; beyond, snapped positions would not be exact


def check(condition: bool, op: str, name: str, expected: str, got: Any) -> None:
    """Raises ValueError unless the condition holds."""
    if not condition:
        raise ValueError(f"{op}: expected {name} {expected}, got {got}")


def check_array(
    op: str, name: str, value: Any, dtype: Any, ranks: tuple[int, ...], shape: str
) -> Array:
    """An array of exactly one dtype and of one of several ranks; `shape` describes these."""
    wanted = np.dtype(dtype).name
    if not isinstance(value, jax.Array | np.ndarray) and not hasattr(value, "__array__"):
        raise TypeError(
            f"{op}: expected {name} to be an array of shape {shape}, got "
            f"{type(value).__name__}; make it one with np.asarray({name}, np.{wanted})"
        )
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
    if value.dtype != dtype:
        is_native = getattr(value.dtype, "isnative", True)  # JAX's random keys have not
        got = value.dtype.name if is_native else f"{value.dtype.str} (swapped bytes)"
        raise TypeError(
            f"{op}: expected {name} of dtype {wanted}, got {got}; "
            f"convert it with {name}.astype({wanted!r})"
        )
    if value.ndim not in ranks:
        raise ValueError(f"{op}: expected {name} of shape {shape}, got {value.shape}")
    return jnp.asarray(value)


def check_static_int(
    op: str, name: str, value: Any, minimum: int | None = None, maximum: int | None = None
) -> int:
    """A whole number that is known when the function is traced."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{op}: expected {name} to be static, got a traced value; it decides about shapes, so "
            "pass a Python int, or name the argument in static_argnames of jax.jit"
        )
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{op}: expected {name} to be an integer, got {value!r}")
    if minimum is not None:
        check(number >= minimum, op, name, f"of at least {minimum}", number)
    if maximum is not None:
        check(number <= maximum, op, name, f"of at most {maximum}", number)
    return number


def check_static_bool(op: str, name: str, value: Any) -> bool:
    """True or False, known when the function is traced."""
    if not isinstance(value, bool | np.bool_):
        got = "a traced value" if isinstance(value, jax.core.Tracer) else repr(value)
        raise TypeError(f"{op}: expected {name} to be True or False, got {got}")
    return bool(value)


def check_static_float(op: str, name: str, value: Any) -> float:
    """A finite number that is known when the function is traced."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{op}: expected {name} to be static, got a traced value; pass a Python float, or "
            "multiply the gradient yourself with a jax.custom_vjp"
        )
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: expected {name} to be a number, got {value!r}; pass a Python float")
    limit = float(np.finfo(np.float32).max)
    check(abs(value) <= limit, op, name, "to be finite in float32", value)
    return float(value)


def check_resolution(op: str, resolution: Any) -> tuple[int, int]:
    """Height and width in pixels."""
    if isinstance(resolution, jax.core.Tracer):
        check_static_int(op, "resolution", resolution)  # raises
    expected = f"of two positive integers (height, width) up to {MAX_RESOLUTION}"
    has_order = not isinstance(resolution, set | frozenset | dict)
    try:
        sides = tuple(resolution) if has_order else ()
    except TypeError:
        sides = ()
    check(len(sides) == 2, op, "resolution", expected, resolution)
    height, width = (check_static_int(op, "each of resolution", side) for side in sides)
    inside = 1 <= min(height, width) and max(height, width) <= MAX_RESOLUTION
    check(inside, op, "resolution", expected, resolution)
    return height, width


def check_tri(op: str, tri: Any) -> Array:
    """Vertex indices of triangles [f, 3]."""
    tri = check_array(op, "tri", tri, jnp.int32, (2,), "[f, 3]")
    check(tri.shape[1] == 3, op, "tri", "of shape [f, 3]", tri.shape)
    check(tri.shape[0] <= MAX_TRIANGLES, op, "tri", "with at most 2^24 triangles", tri.shape)
    return tri


def check_pos(op: str, pos: Any) -> Array:
    """Clip-space positions [b, v, 4] or [v, 4]."""
    pos = check_array(op, "pos", pos, jnp.float32, (2, 3), "[b, v, 4], or [v, 4] in range mode")
    check(pos.shape[-1] == 4, op, "pos", "with 4 clip-space components (x, y, z, w)", pos.shape)
    return pos


def check_rast(op: str, name: str, rast: Any) -> Array:
    """What `rasterize` returns, [b, h, w, 4]."""
    rast = check_array(op, name, rast, jnp.float32, (4,), "[b, h, w, 4]")
    check(rast.shape[3] == 4, op, name, "of shape [b, h, w, 4]", rast.shape)
    return rast
