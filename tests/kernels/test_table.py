"""Every row of the table: what a substitute must share with the function that it stands for."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax import kernels
from pony_jax.kernels import library
from pony_jax.ops.skinning import skin
from pony_jax.ops.substitution import in_this_context, without_substitutes
from tests.kernels.examples import EXAMPLES
from tests.kernels.kernel_checks import (
    TOLERANCE,
    assert_close,
    differentiable,
    noise,
    scalar,
    values_and_gradients,
)

_ROOT = Path(__file__).parent.parent.parent
_ROWS = {row.function.__name__: row for row in kernels.TABLE}
_DIFFERENTIABLE = [name for name, row in _ROWS.items() if row.backward is not None]


def _targets(lowered) -> int:
    return lowered.as_text().count("@pony_jax_")


def _gradients(example):
    """A function of the arguments that gives values and gradients."""
    places = differentiable(example.args)
    run = scalar(example)
    if not places:
        return lambda *args: run(*args)
    return jax.value_and_grad(run, places, has_aux=True)


def test_every_row_has_an_example():
    assert EXAMPLES.keys() == _ROWS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_values_and_gradients_equal_the_plain_ones_with_any_instructions_and_threads(name):
    example = EXAMPLES[name]
    with without_substitutes():
        expected = values_and_gradients(example, *example.args)
    assert any(np.any(array) for array in expected)
    run = jax.jit(_gradients(example))

    def results():
        both = run(*example.args)
        (_, out), *grads = both if differentiable(example.args) else (both,)
        return jax.tree.leaves((out, grads))

    try:
        for isa in library.INSTRUCTION_SETS:
            if library.set_instruction_set(isa) != isa:
                continue  # this processor lacks it
            got = [np.asarray(leaf) for leaf in results()]
            assert_close(got, expected, TOLERANCE)
            for num_threads in (1, 3):
                library.set_max_threads(num_threads)
                for a, b in zip(results(), got, strict=True):
                    np.testing.assert_array_equal(a, b)
            library.set_max_threads(None)
    finally:
        library.set_max_threads(None)
        library.set_instruction_set("v4")


@pytest.mark.parametrize("name", EXAMPLES)
def test_only_what_is_lowered_for_a_cpu_in_single_precision_is_substituted(name):
    example = EXAMPLES[name]
    program = jax.jit(_gradients(example))
    assert _targets(program.lower(*example.args)) == 1 + (name in _DIFFERENTIABLE) + (
        name == "strided_convolution"
    )
    exported = jax.export.export(program, platforms=["cuda"], disabled_checks=_RASTERIZER)
    module = exported(*example.args).mlir_module()
    assert "@pony_jax_" not in module and "@rasterizer_cpu_" not in module
    with without_substitutes():
        assert _targets(jax.jit(_gradients(example)).lower(*example.args)) == 0


_RASTERIZER = [
    jax.export.DisabledSafetyCheck.custom_call(f"rasterizer_cuda_{name}")
    for name in ("interpolate", "interpolate_grad")
]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if differentiable(EXAMPLES[name].args)])
def test_doubles_are_computed_as_they_are_written(name):
    if name == "visible_surface":
        pytest.skip("its plain function calls the rasteriser, which is single")
    example = EXAMPLES[name]
    with jax.enable_x64(True):
        args = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x), jnp.float64) if x.dtype == jnp.float32 else x,
            example.args,
        )
        lowered = jax.jit(lambda *args: example(*args)).lower(*args)
        assert _targets(lowered) == 0
        out = lowered.compile()(*args)
    singles = example(*example.args)
    for a, b in zip(jax.tree.leaves(out), jax.tree.leaves(singles), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("name", _DIFFERENTIABLE)
def test_forward_and_second_derivatives_are_those_of_the_plain_function(name):
    if name == "visible_surface":
        pytest.skip("its plain function calls the rasteriser, which is differentiable once")
    example = EXAMPLES[name]
    places = differentiable(example.args)
    run = scalar(example)
    floats = tuple(example.args[i] for i in places)

    def loss(*floats):
        args = list(example.args)
        for i, value in zip(places, floats, strict=True):
            args[i] = value
        return jnp.sin(run(*args)[0])

    def everything(*floats):
        tangents = jax.tree.map(lambda x: 0.1 * noise(17, *x.shape), floats)
        forward = jax.jvp(loss, floats, tangents)
        every = tuple(range(len(floats)))

        def norm(*floats):
            grads = jax.grad(loss, every)(*floats)
            return sum(jnp.sum(g * g) for g in jax.tree.leaves(grads))

        return forward, jax.grad(norm, every)(*floats)

    got = jax.tree.leaves(jax.jit(everything)(*floats))
    with without_substitutes():
        expected = jax.tree.leaves(jax.jit(everything)(*floats))
    # Squares of gradients, and sums of many products of them.
    assert_close([np.asarray(x) for x in got], [np.asarray(x) for x in expected], 2e-4)


@pytest.mark.parametrize("name", EXAMPLES)
def test_batches_of_calls_are_the_calls(name):
    if name == "visible_surface":
        pytest.skip("its plain function calls the rasteriser, which has tests of its own for this")
    example = EXAMPLES[name]

    def stacked(x):
        return jnp.stack([x, 0.9 * x if x.dtype == jnp.float32 else x])

    args = jax.tree.map(stacked, example.args)
    out = jax.jit(jax.vmap(example))(*args)
    for i in range(2):
        one = example(*jax.tree.map(lambda x, i=i: x[i], args))
        got = [np.asarray(x[i]) for x in jax.tree.leaves(out)]
        assert_close(got, [np.asarray(x) for x in jax.tree.leaves(one)], TOLERANCE)


def test_arguments_that_a_row_does_not_accept_are_left_to_the_plain_function():
    example = EXAMPLES["norm_dense"]
    x, weights = example.args
    narrow = x[..., :15], jax.tree.map(lambda w: w[:15] if w.shape[0] == 16 else w, weights)
    assert _targets(jax.jit(lambda *args: example(*args)).lower(*narrow)) == 0


def test_what_is_compiled_for_either_is_not_taken_for_the_other():
    inner = jax.jit(skin)
    total = jax.jit(jax.grad(lambda *args: jnp.sum(inner(*args) ** 2)))
    args = EXAMPLES["skin"].args[:3]

    def calls_kernels() -> bool:
        total(*args)  # fills the caches
        return _targets(total.lower(*args)) > 0

    assert calls_kernels()
    with without_substitutes():
        assert not calls_kernels()
        with without_substitutes("norm_dense"):
            assert not calls_kernels()
        assert not calls_kernels()
    with without_substitutes("norm_dense"):
        assert calls_kernels()
    assert calls_kernels()


def test_other_threads_can_be_given_the_context():
    args = EXAMPLES["skin"].args

    def count() -> int:
        return _targets(jax.jit(lambda *args: skin(*args)).lower(*args))

    with ThreadPoolExecutor(1) as pool, without_substitutes():
        assert pool.submit(count).result() == 1
        assert pool.submit(in_this_context(count)).result() == 0


_ON_TWO_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from tests.kernels.examples import EXAMPLES
mesh = Mesh(np.array(jax.devices()), "d")
for name in ("skin", "norm_dense", "conv_block"):
    example = EXAMPLES[name]
    x, *others = example.args
    if name == "skin":
        others = others[:2]
    x = x[: len(x) // 2 * 2]
    specs = (P("d"), *(P("d") if name == "skin" else P() for _ in others))
    def loss(*args):
        return jnp.sum(jnp.sin(example(*args)))[None]
    def total(*args):
        parts = jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=P("d"))(*args)
        return jnp.sum(parts)
    value, grads = jax.jit(jax.value_and_grad(total, (0, 1)))(x, *others)
    want, wanted = jax.jit(jax.value_and_grad(lambda *a: loss(*a)[0], (0, 1)))(x, *others)
    for a, b in zip(jax.tree.leaves((value, grads)), jax.tree.leaves((want, wanted))):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)
    assert "pony_jax_" in jax.jit(total).lower(x, *others).as_text()
print("done")
"""


@pytest.mark.slow
def test_two_devices_compute_what_one_does():
    run = [sys.executable, "-c", _ON_TWO_DEVICES]
    done = subprocess.run(run, cwd=_ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr
