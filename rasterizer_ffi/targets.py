"""Calls of the FFI targets. This file and `backends.py` are all that binds to JAX's FFI.

Which target is called is decided when a function is lowered for a platform, not when it is traced:
a program that is exported for a GPU on a machine without one names the GPU's targets alone.

Every target accepts the leading dimensions that `vmap` adds, of size 1 where an array is not mapped
(vmap_method="expand_dims").
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array

from rasterizer_ffi.backends import PLATFORMS, has_target, target_name

Types = Sequence[jax.ShapeDtypeStruct]


def floats(*shapes: tuple[int, ...]) -> list[jax.ShapeDtypeStruct]:
    """Types of float32 results."""
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def vary_alike(*arrays: Array | None) -> tuple[Array | None, ...]:
    """Inside `shard_map`, makes arrays vary over every mesh axis that one of them varies over.

    An operation's results do so, and the rules of `custom_vjp` want gradients to vary as their
    arguments do. The sum over devices that this means for what all of them share is the transpose
    of what is done here, so this comes before the operation.
    """
    axes = [jax.typeof(x).manual_axis_type.varying if x is not None else () for x in arrays]
    union = frozenset().union(*axes)

    def vary(array, own):
        missing = tuple(sorted(union - frozenset(own), key=str))
        return jax.lax.pcast(array, missing, to="varying") if missing else array

    return tuple(
        None if array is None else vary(array, own) for array, own in zip(arrays, axes, strict=True)
    )


def call(
    op: str,
    types: Types,
    *args: Array,
    otherwise: Callable[..., Sequence[Array]] | None = None,
    **attributes: Any,
) -> Sequence[Array]:
    """Calls the target of an operation; `types` are those of the results.

    An attribute that is a tuple is handed over as an array of int32. On platforms where there is no
    such target, `otherwise` computes with the same arguments and attributes.
    """
    attributes = tuple(sorted(attributes.items()))
    return _call(*args, op=op, types=tuple(types), otherwise=otherwise, attributes=attributes)


# jit: outside of another jit the platform is that of the arrays, not the default one.
@functools.partial(jax.jit, static_argnames=("op", "types", "otherwise", "attributes"), inline=True)
def _call(*args, op, types, otherwise, attributes):
    args = vary_alike(*args)

    def of_platform(platform: str) -> Callable[..., Sequence[Array]]:
        if not has_target(op, platform):
            return lambda *args: list(otherwise(*args, **dict(attributes)))
        return functools.partial(_call_target, target_name(op, platform), types, attributes)

    return jax.lax.platform_dependent(*args, **{name: of_platform(name) for name in PLATFORMS})


def _call_target(target, types, attributes, *args):
    # Arguments vary alike: what is known of one of them holds of the results.
    of_args = jax.typeof(args[0])
    if of_args.manual_axis_type.varying:
        types = [
            jax.ShapeDtypeStruct(
                t.shape,
                t.dtype,
                sharding=jax.sharding.NamedSharding(of_args.sharding.mesh, PartitionSpec()),
                manual_axis_type=jax.sharding.ManualAxisType(
                    varying=of_args.manual_axis_type.varying
                ),
            )
            for t in types
        ]
    arrays = {
        name: np.asarray(value, np.int32) if isinstance(value, tuple) else value
        for name, value in attributes
    }
    return jax.ffi.ffi_call(target, list(types), vmap_method="expand_dims")(*args, **arrays)
