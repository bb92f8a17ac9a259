"""The one place where a function of `ops` may be computed otherwise than it is written.

A function that is marked `substitutable` stays what it is: plain jnp for any type and platform, and
differentiable any number of times. `register` names a compiled substitute for some of its arguments
on one platform. The substitute takes over where a program is lowered for that platform, so what is
lowered for a GPU holds none of it, wherever that is done.

The first derivative in reverse is the substitute's own. Everything else that is made of a
function, which are forward derivatives, second derivatives and batches of `jax.vmap`, is made of
the plain one.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array


class Substitute(NamedTuple):
    """A row of the table: what computes a function on a platform.

    Attributes:
      function: the function, as `substitutable` has made it.
      forward: takes the function's arguments and returns what it returns.
      forward_keeping: the same, and a tuple of arrays for `backward`; None keeps nothing.
      backward: from the positional arguments (a tuple), what was kept and the gradients of the
        result's float arrays (tuples) to those of the arguments' float arrays (a list); it takes
        the keyword arguments too. None for a function without gradients.
      accepts: whether it computes these arguments, by shapes and values that are no arrays; their
        float arrays are float32.
      platform: what must be lowered for.
    """

    function: Callable[..., Any]
    forward: Callable[..., Any]
    forward_keeping: Callable[..., Any] | None = None
    backward: Callable[..., list[Array]] | None = None
    accepts: Callable[..., bool] = lambda *args, **static: True
    platform: str = "cpu"


_TABLE: dict[str, Substitute] = {}
# Part of the key of JAX's caches, so that both kinds of a compiled function are kept.
_left_out = jax.make_user_context(default_value=frozenset())


def substitutable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a plain function of positional arrays; keyword arguments are hashable and no arrays.

    `marked.plain` is the function as it was.
    """

    @functools.wraps(function)
    def marked(*args: Any, **static: Any) -> Any:
        row = _TABLE.get(function.__name__)
        if row is None or function.__name__ in _left_out.value:
            return function(*args, **static)
        leaves, tree = jax.tree.flatten(args)
        leaves = _as_varying([jnp.asarray(leaf) for leaf in leaves])
        single = all(leaf.dtype == jnp.float32 for leaf in leaves if _is_float(leaf))
        if not single or not row.accepts(*args, **static):
            return function(*args, **static)
        call = _Call(row, tree, tuple(sorted(static.items())))
        results = _program.bind(*leaves, call=call, part="forward")
        return jax.tree.unflatten(call.result_tree(_shapes_of(leaves)), results)

    marked.plain = function
    return marked


def register(*rows: Substitute) -> None:
    """Puts rows into the table; a function has one."""
    _TABLE.update({row.function.__name__: row for row in rows})
    for row in rows:
        rule = functools.partial(_compute, platform=row.platform)
        mlir.register_lowering(_program, mlir.lower_fun(rule), platform=row.platform)


def registered() -> list[str]:
    """The names of all functions that have a substitute."""
    return sorted(_TABLE)


def without_substitutes(*names: str) -> AbstractContextManager[None]:
    """What is traced inside is computed as it is written; all of it, or the functions of `names`.

    Other threads do not see it, unless `in_this_context` takes it there.
    """
    return _left_out(_left_out.value | frozenset(names or _TABLE))


def in_this_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, but what it traces, in any thread, is substituted as it would be here."""
    left_out = _left_out.value

    def inside(*args: Any, **kwargs: Any) -> Any:
        with _left_out(left_out):
            return function(*args, **kwargs)

    return inside


# ------------------------------------------------------------------------------
# How a call appears in JAX's programs
# ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Call:
    """A function with its static arguments, and the parts that it is computed in.

    Parts take and return flat lists of arrays. `plain_*` are what the substitute's must equal.
    """

    row: Substitute
    tree: Any  # of the positional arguments
    static: tuple[tuple[str, Any], ...]

    def result_tree(self, shapes: Sequence[Any]) -> Any:
        return jax.tree.structure(_result_shapes(self._plain, shapes))

    def _plain(self, *leaves: Array) -> Any:
        return self.row.function.plain(*self.tree.unflatten(leaves), **dict(self.static))

    def plain_forward(self, *leaves: Array) -> list[Array]:
        return jax.tree.leaves(self._plain(*leaves))

    def forward(self, *leaves: Array) -> list[Array]:
        return jax.tree.leaves(self.row.forward(*self.tree.unflatten(leaves), **dict(self.static)))

    def keeping(self, *leaves: Array) -> list[Array]:
        """The result, then what the gradient needs of it."""
        if self.row.forward_keeping is None:
            return self.forward(*leaves)
        args = self.tree.unflatten(leaves)
        result, kept = self.row.forward_keeping(*args, **dict(self.static))
        return [*jax.tree.leaves(result), *kept]

    def plain_keeping(self, *leaves: Array) -> list[Array]:
        """Keeps nothing: what stands in its place is never read, and so never made."""
        result = self.plain_forward(*leaves)
        kept = _result_shapes(self.keeping, _shapes_of(leaves))[len(result) :]
        return [*result, *(jnp.zeros(shape.shape, shape.dtype) for shape in kept)]

    def backward(self, *arrays: Array) -> list[Array]:
        """Gradients of the float arguments, from arguments, kept and gradients of the result."""
        leaves, kept, grads = self._split(arrays)
        args = self.tree.unflatten(leaves)
        return self.row.backward(args, tuple(kept), tuple(grads), **dict(self.static))

    def plain_backward(self, *arrays: Array) -> list[Array]:
        leaves, _, grads = self._split(arrays)
        floats = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]
        _, pull = jax.vjp(self.floats_of(leaves, floats), *(leaves[i] for i in floats))
        return list(pull(list(grads)))

    def floats_of(
        self, leaves: Sequence[Array], given: Sequence[int]
    ) -> Callable[..., list[Array]]:
        """The float arrays of the plain result as a function of some of the arguments."""

        def function(*arrays: Array) -> list[Array]:
            changed = list(leaves)
            for i, array in zip(given, arrays, strict=True):
                changed[i] = array
            return [x for x in self.plain_forward(*changed) if _is_float(x)]

        return function

    def _split(self, arrays: Sequence[Array]) -> tuple[Any, Any, Any]:
        n = self.tree.num_leaves
        results = _result_shapes(self.plain_forward, _shapes_of(arrays[:n]))
        m = len(arrays) - sum(map(_is_float, results))
        return arrays[:n], arrays[n:m], arrays[m:]


def _is_float(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


def _shapes_of(arrays: Sequence[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays)


def _as_varying(leaves: list[Array]) -> list[Array]:
    """In a `shard_map`, makes all leaves vary over the axes that any varies over."""
    varying = [jax.typeof(leaf).manual_axis_type.varying for leaf in leaves]
    every = frozenset().union(*varying)
    return [
        jax.lax.pcast(leaf, tuple(every - own), to="varying")
        for leaf, own in zip(leaves, varying, strict=True)
    ]


def _avals(shapes: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    """Of results that vary, in a `shard_map`, as the arguments do."""
    mesh, axes = like[0].sharding.mesh, like[0].manual_axis_type

    def aval(shape: jax.ShapeDtypeStruct) -> jax.core.ShapedArray:
        sharding = NamedSharding(mesh, PartitionSpec(*(None for _ in shape.shape)))
        how = {"sharding": sharding, "manual_axis_type": axes}
        return jax.core.ShapedArray(shape.shape, shape.dtype, **how)

    return [aval(shape) for shape in shapes]


@functools.lru_cache(maxsize=4096)
def _result_shapes(function: Callable[..., Any], shapes: tuple[Any, ...]) -> Any:
    return jax.eval_shape(function, *shapes)


# Part "forward", "keeping" or "backward" of a call.
_program = Primitive("substitutable")
_program.multiple_results = True


def _compute(*arrays: Array, call: _Call, part: str, platform: str | None = None) -> list[Array]:
    name = part if platform == call.row.platform else f"plain_{part}"
    return getattr(call, name)(*arrays)


@functools.lru_cache(maxsize=4096)
def _compiled(call: _Call, part: str) -> Callable[..., list[Array]]:
    return jax.jit(functools.partial(_program.bind, call=call, part=part))


@_program.def_impl
def _evaluate(*arrays: Array, call: _Call, part: str) -> list[Array]:
    if jax.config.jax_disable_jit:  # a jitted function would come back here, for ever
        return getattr(call, f"plain_{part}")(*arrays)
    return _compiled(call, part)(*arrays)


@_program.def_abstract_eval
def _abstract(*avals: Any, call: _Call, part: str) -> list[Any]:
    return _avals(_result_shapes(getattr(call, f"plain_{part}"), _shapes_of(avals)), avals)


def _derivative(
    primals: Sequence[Array], tangents: Sequence[Any], *, call: _Call, part: str
) -> tuple[list[Array], list[Any]]:
    if part != "forward":
        results = _program.bind(*primals, call=call, part=part)
        return results, _plain_tangents(getattr(call, f"plain_{part}"), primals, tangents)
    if call.row.backward is None:
        results = _program.bind(*primals, call=call, part="forward")
        return results, [_no_tangent(x) for x in results]
    given = tuple(i for i, t in enumerate(tangents) if type(t) is not ad.Zero and _is_float(t))
    num_results = len(_result_shapes(call.plain_forward, _shapes_of(primals)))
    both = _program.bind(*primals, call=call, part="keeping")
    results, kept = both[:num_results], both[num_results:]
    moved = _tangent.bind(*primals, *kept, *(tangents[i] for i in given), call=call, given=given)
    moved = iter(moved)
    return results, [next(moved) if _is_float(x) else _no_tangent(x) for x in results]


def _no_tangent(array: Array) -> ad.Zero:
    return ad.Zero(jax.typeof(array).to_tangent_aval())


def _plain_tangents(
    function: Callable[..., Any], primals: Sequence[Array], tangents: Sequence[Any]
) -> list[Any]:
    tangents = [ad.instantiate_zeros(tangent) for tangent in tangents]
    return jax.jvp(function, tuple(primals), tuple(tangents))[1]


def _batched(
    function: Callable[..., Any], arrays: Sequence[Array], axes: Sequence[Any]
) -> tuple[list[Array], list[int]]:
    results = jax.vmap(function, in_axes=tuple(axes))(*arrays)
    return results, [0] * len(results)


ad.primitive_jvps[_program] = _derivative
batching.primitive_batchers[_program] = lambda arrays, axes, *, call, part: _batched(
    getattr(call, f"plain_{part}"), arrays, axes
)
mlir.register_lowering(_program, mlir.lower_fun(_compute))


# Tangents of the result, linear in those of the arguments `given`. Arguments: all of a call's, what
# was kept, the tangents. The substitute's backward part is its transpose.
_tangent = Primitive("substitutable_tangent")
_tangent.multiple_results = True


def _compute_tangents(*arrays: Array, call: _Call, given: tuple[int, ...]) -> list[Array]:
    leaves = arrays[: call.tree.num_leaves]
    tangents = arrays[len(arrays) - len(given) :]
    at = tuple(leaves[i] for i in given)
    return jax.jvp(call.floats_of(leaves, given), at, tuple(tangents))[1]


@_tangent.def_abstract_eval
def _abstract_tangents(*avals: Any, call: _Call, given: tuple[int, ...]) -> list[Any]:
    shapes = _result_shapes(call.plain_forward, _shapes_of(avals[: call.tree.num_leaves]))
    return _avals([shape for shape in shapes if _is_float(shape)], avals)


def _transposed(
    grads: Sequence[Any], *arrays: Any, call: _Call, given: tuple[int, ...]
) -> list[Any]:
    constants = arrays[: len(arrays) - len(given)]
    grads = [ad.instantiate_zeros(grad) for grad in grads]
    by_float = iter(_program.bind(*constants, *grads, call=call, part="backward"))
    by_leaf = [next(by_float) if _is_float(x) else None for x in constants[: call.tree.num_leaves]]
    return [None] * len(constants) + [by_leaf[i] for i in given]


def _second_derivative(
    primals: Sequence[Array], tangents: Sequence[Any], **params: Any
) -> tuple[list[Array], list[Any]]:
    function = functools.partial(_compute_tangents, **params)
    return _tangent.bind(*primals, **params), _plain_tangents(function, primals, tangents)


_tangent.def_impl(_compute_tangents)
ad.primitive_transposes[_tangent] = _transposed
ad.primitive_jvps[_tangent] = _second_derivative
batching.primitive_batchers[_tangent] = lambda arrays, axes, **params: _batched(
    functools.partial(_compute_tangents, **params), arrays, axes
)
mlir.register_lowering(_tangent, mlir.lower_fun(_compute_tangents))
