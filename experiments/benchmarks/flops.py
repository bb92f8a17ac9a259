"""Arithmetic of a function's matrix products and convolutions, and what this machine could do."""

import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from pony_jax.ops.substitution import without_substitutes


def count_flops(
    function: Callable[..., Any], *arguments: Any, while_rounds: int | None = None
) -> int:
    """Multiplications and additions in the matrix products and convolutions of one call.

    Counted in the jaxpr of the plain mathematics, since neither XLA's cost analysis nor jaxprs
    know what library calls compute: 2 for each product that is summed. What no output needs is
    left out; so are the zeros that a gradient's convolution puts between and around its input.
    What is padded or computed a second time (`jax.checkpoint`) counts as often as it is done, and
    of the branches of a `cond` the largest.

    Args:
      while_rounds: of every loop that runs until a condition is met.

    Raises:
      ValueError: for products in such a loop if `while_rounds` is not given.
    """
    with without_substitutes():
        jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _of_jaxpr(needed, while_rounds)


def matmul_rate(size: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of the better of numpy's and jax's float32 products of two `size`^2 matrices."""
    a, b = np.random.default_rng(0).normal(size=(2, size, size)).astype(np.float32)
    on_device = jnp.asarray(a), jnp.asarray(b)
    multiply = jax.jit(jnp.matmul).lower(*on_device).compile()
    calls = [lambda: np.matmul(a, b), lambda: multiply(*on_device).block_until_ready()]
    best_s = math.inf
    for call in calls * repeats:
        start = time.perf_counter()
        call()
        best_s = min(best_s, time.perf_counter() - start)
    return 2 * size**3 / best_s


def fma_peak() -> float:
    """FLOP/s of fused multiply-adds in registers, with all cores at once: what nothing exceeds.

    Takes a second or two, and a C compiler, which building the project needs as well.
    """
    source = Path(__file__).with_name("fma_peak.c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "fma_peak"
        subprocess.run(["cc", "-O2", "-march=native", source, "-o", program], check=True)
        cores = [
            subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
            for _ in os.sched_getaffinity(0)
        ]
        return sum(float(core.communicate()[0]) for core in cores)


def _of_jaxpr(jaxpr: Jaxpr, while_rounds: int | None) -> int:
    return sum(_of_equation(equation, while_rounds) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn, while_rounds: int | None) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        length = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2 * equation.outvars[0].aval.size * length
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    inside = [_of_jaxpr(jaxpr, while_rounds) for jaxpr in jaxprs_in_params(params)]
    if name == "cond":
        return max(inside)
    if name == "scan":
        return params["length"] * sum(inside)
    if name == "while" and sum(inside):
        if while_rounds is None:
            raise ValueError(
                "expected loops with matrix products to have a known number of rounds, got a while "
                "loop; give while_rounds, or write it as a scan"
            )
        return while_rounds * sum(inside)
    return sum(inside)


def _of_convolution(equation: JaxprEqn) -> int:
    lhs, rhs = (variable.aval.shape for variable in equation.invars)
    out, params = equation.outvars[0].aval.shape, equation.params
    numbers = params["dimension_numbers"]
    out_batch, out_channels, *out_axes = numbers.out_spec
    in_channels = rhs[numbers.rhs_spec[1]]  # of one group
    num_pairs = math.prod(
        _num_real_taps(lhs[i], rhs[j], out[k], *geometry)
        for i, j, k, *geometry in zip(
            numbers.lhs_spec[2:],
            numbers.rhs_spec[2:],
            out_axes,
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    )
    return 2 * out[out_batch] * out[out_channels] * in_channels * num_pairs


def _num_real_taps(
    num_in: int,
    num_taps: int,
    num_out: int,
    stride: int,
    padding: tuple[int, int],
    in_dilation: int,
    tap_dilation: int,
) -> int:
    """Along one axis, the pairs of an output and a tap that meet a value, not a zero put in."""
    first = np.arange(num_out)[:, None] * stride - padding[0]
    position = first + np.arange(num_taps) * tap_dilation
    inside = (position >= 0) & (position <= (num_in - 1) * in_dilation)
    return int(np.sum(inside & (position % in_dilation == 0)))
