"""Where does a training step's time go?

    python -m experiments.benchmarks.step
    python -m experiments.benchmarks.step --sizes=original        # grid 32, hidden and heads 64
    python -m experiments.benchmarks.step --sizes=original_large  # grid 64, hidden and heads 128

The animal is the starting shape with everything switched on, the images are random: nothing needs
to be downloaded or trained. Times are minimum and median of `--repeats` warm calls, gradients
included; parts are compiled on their own, so their sum is not the whole.

GFLOP are those of matrix products and convolutions (`flops.py`) that the mesh and the foreground
need: padding of buffers does not count, and of the search for the surface only a first round (a
quarter). The last columns are their rate in the median call, as a share of the best rate at which
this machine multiplied large matrices between the parts, and of its peak, fused multiply-adds in
registers; the work that is no product takes its time too.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import horse
from experiments.benchmarks.flops import count_flops, fma_peak, matmul_rate
from pony_jax.model import (
    NO_CAPACITIES,
    Capacities,
    Pony,
    Stage,
    build_model,
    build_objective,
)
from pony_jax.model.objective import eikonal_term, image_losses, silhouette_term
from pony_jax.model.render import composite, lit_values
from pony_jax.model.rig import make_rig, pose
from pony_jax.training.environment import keep_freed_memory
from pony_jax.training.optimizers import parameter_groups
from pony_jax.training.step import Report, init_state, train_step

TOKENS = (16, 32)
"""Tokens along each side of an image, and their length: of the data that the default run makes."""

# What the original's sizes are timed with; its own tokens are longer.
_ORIGINAL_TOKENS = (16, 64)

# The search for the surface goes on only where its cells leave the blocks that it started with.
_WHILE_ROUNDS = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", choices=("default", "original", "original_large"))
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    keep_freed_memory()
    model, config, tokens = _model(args.sizes or "default")
    params = jax.jit(model.init_params)(jax.random.key(0))
    batch = random_batch(config, tokens)
    count = loss_counts(model, config, params, batch)
    stage = fitting_stage(model, config.num_steps - 1, count)
    needed = stage._replace(capacities=Capacities(*map(int, count(stage))))
    timer = _Timer(args.repeats)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}; {stage}")
    print(f"needed: {needed.capacities}")

    without_padding = _parts(model, config, params, batch, needed)
    for name, (function, arguments) in _parts(model, config, params, batch, stage).items():
        flops = _count_flops(without_padding[name][0], *without_padding[name][1])
        timer.measure(name, function, *arguments, flops=flops)
    steps = TrainingSteps(model, config, params, batch, stage)
    timer.measure_steps("training step", steps, flops=steps.count_flops(needed))
    timer.print_table()


def _model(sizes: str) -> tuple[Pony, ConfigDict, tuple[int, int]]:
    """The default configuration, or the network and grid sizes that the original was timed at.

    Returns model, configuration, and number and length of its tokens.
    """
    config, tokens = horse.get_config(), TOKENS
    if sizes != "default":
        tokens = _ORIGINAL_TOKENS
        large = sizes == "original_large"
        width, resolution = (128, 64) if large else (64, 32)
        config.model.hidden = width
        config.model.encoder_hidden = width
        config.model.fine_resolution = resolution
        # The original's own choices: its cube, shared layers, one token a bone, no silhouettes.
        config.model.grid_extent = (7.0, 7.0, 7.0)
        config.model.ellipsoid = (1.0, 1.0, 2.0)
        config.model.articulation_own_layers = False
        config.model.articulation_window = 1
        config.model.silhouette_hidden = 0
        config.model.refine_steps = 0
    return build_model(config, tokens), config, tokens


def random_batch(config: ConfigDict, tokens: tuple[int, int] = TOKENS) -> dict[str, jax.Array]:
    """Images, masks and features of the configuration's sizes, and tokens, all of them noise."""
    rng = np.random.default_rng(0)
    size, b = config.data.image_size, config.data.batch_size

    def noise(*shape: int) -> jax.Array:
        return jnp.asarray(rng.uniform(size=(b, *shape)), jnp.float32)

    token_shape = (tokens[0], *tokens)
    one = (size, size, 1)
    return {
        "image": noise(size, size, 3),
        "feature": noise(size, size, config.model.feature_dim),
        "mask": jnp.round(noise(*one)),
        "valid": jnp.ones((b, *one)),
        "distance_outside": noise(*one),
        "distance_inside": noise(*one),
        "patch_key": noise(*token_shape),
        "patch_out": noise(*token_shape),
    }


def fitting_stage(model: Pony, step: int, count: Callable[[Stage], Capacities]) -> Stage:
    """The stage of a step, with buffers that hold what is counted in it."""
    capacities = NO_CAPACITIES.grown_to(model.expected_counts(step))
    while True:
        stage = model.stage_at(step, capacities)
        wanted = Capacities(*map(int, count(stage)))
        if capacities.covers(wanted):
            return stage
        capacities = capacities.grown_to(wanted)


def loss_counts(
    model: Pony, config: ConfigDict, params: dict, batch: dict
) -> Callable[[Stage], Capacities]:
    """What the loss of the first step counts."""
    loss = jax.jit(functools.partial(build_objective(config).loss, model), static_argnums=4)
    return lambda stage: loss(params, batch, jnp.int32(0), jax.random.key(0), stage)[1]["counts"]


def _parts(
    model: Pony, config: ConfigDict, params: dict, batch: dict, stage: Stage
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Scalar functions of parameters or arrays, whose gradients are timed."""
    key = jax.random.key(0)
    skeleton, attach_legs = model.instance.skeleton, stage.attach_legs

    def bound(p: dict) -> Pony:
        return model.bind({"params": p})

    mesh = jax.jit(lambda p: bound(p).shape(stage).mesh)(params)
    estimate = jax.jit(lambda p: bound(p).estimate(mesh, batch, 0, stage))(params)
    rig, camera, angles = estimate.rig, estimate.camera, estimate.angles_rad
    vector = jax.jit(lambda p: bound(p).instance.shape_feature(batch["patch_key"]))(params)
    verts = jax.jit(lambda a: pose(rig, a, skeleton, attach_legs=attach_legs).verts)(angles)

    def find_surface(v: jax.Array) -> Any:
        pixels = stage.capacities.pixels
        return model.rendering.find_surface(v, mesh, camera, max_pixels=pixels)

    visible = jax.jit(find_surface)(verts)
    values = jnp.ones((stage.capacities.pixels, 4 + batch["feature"].shape[-1]))
    image = jnp.full((*batch["image"].shape[:3], values.shape[1]), 0.5)

    def shape(p: dict) -> Any:
        return bound(p).shape(stage).mesh.verts

    def eikonal(p: dict) -> Any:
        return eikonal_term(bound(p).prior, mesh, config.model.eikonal_points, key)

    def heads(p: dict) -> Any:
        instance = bound(p).instance
        patch_key, patch_out = batch["patch_key"], batch["patch_out"]
        return [
            instance.viewpoint(patch_key),
            instance.shape_feature(patch_key),
            instance.appearance(patch_out),
        ]

    def shade(p: dict) -> Any:
        appearance = bound(p).instance.appearance(batch["patch_out"])
        return lit_values(visible.surface, bound(p).shade(visible.surface, appearance))

    def deform(p: dict) -> Any:
        instance = bound(p).instance
        offsets = instance.deformation(
            mesh.verts, instance.shape_feature(batch["patch_key"]), mesh.vert_count
        )
        sizes = {"num_images": len(offsets), "attach_legs": attach_legs}
        new = make_rig(mesh, offsets, skeleton, model.rigging, **sizes)
        return new.verts_rest, new.bones_rest, new.weights

    def articulate(p: dict) -> Any:
        return bound(p).instance.joint_angles(batch["patch_key"], vector, rig.bones_rest, camera)

    def silhouette(p: dict) -> Any:
        return silhouette_term(bound(p), batch, key)

    def surface(v: jax.Array) -> Any:
        found = find_surface(v).surface
        return found.point_rest, found.normal_cam

    def compare(x: jax.Array) -> Any:
        return image_losses(x, batch)

    def composed(x: jax.Array, clip: jax.Array) -> Any:
        return composite(visible._replace(verts_clip=clip), x, samples=model.rendering.samples)

    parts = {
        "SDF on the grid, marching": (shape, (params,)),
        "Eikonal": (eikonal, (params,)),
        "image heads": (heads, (params,)),
        "deformation, bones, weights": (deform, (params,)),
        "articulation network": (articulate, (params,)),
        "kinematics, skinning": (
            lambda a: pose(rig, a, skeleton, attach_legs=attach_legs).verts,
            (angles,),
        ),
        "rasterise, interpolate": (surface, (verts,)),
        "texture, features, light": (shade, (params,)),
        "composite, antialias": (composed, (values, visible.verts_clip)),
        "image losses": (compare, (image,)),
    }
    if model.instance.silhouette_hidden:
        parts["silhouette head"] = (silhouette, (params,))
    return {
        name: (functools.partial(_gradient, function), arguments)
        for name, (function, arguments) in parts.items()
    }


def _count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    return count_flops(function, *arguments, while_rounds=_WHILE_ROUNDS)


def _gradient(function: Callable[..., Any], *arguments: Any) -> Any:
    def total(*arguments: Any) -> jax.Array:
        return sum(jnp.sum(x * x) for x in jax.tree.leaves(function(*arguments)))

    return jax.grad(total, argnums=tuple(range(len(arguments))))(*arguments)


class TrainingSteps:
    """Whole steps with their update, each from the state that the one before left.

    The learning rates are 0, so that the shape stays the one that the buffers hold.

    Attributes:
      compiled: the program of a step.
    """

    def __init__(self, model: Pony, config: ConfigDict, params: dict, batch: dict, stage: Stage):
        rates = {"prior_learning_rate": 0.0, "instance_learning_rate": 0.0}
        groups = parameter_groups(**{**config.optimizer, **rates}, num_steps=config.num_steps)
        state = init_state(model, groups, jax.random.key(0))._replace(params=params)
        self._state = jax.tree.map(jnp.copy, state)  # steps give their buffers away
        self._batch, self._key, self._num_updates = batch, jax.random.key(0), 0
        loss = functools.partial(build_objective(config).loss, model)
        self._step = functools.partial(train_step, loss=loss, groups=groups)
        step = jax.jit(functools.partial(self._step, stage=stage), donate_argnums=0)
        self.compiled = step.lower(*self._arguments()).compile()

    def __call__(self) -> Report:
        self._state, report = jax.block_until_ready(self.compiled(*self._arguments()))
        self._num_updates += 1
        return report

    def count_flops(self, stage: Stage) -> int:
        """Of one step in a stage."""
        return _count_flops(functools.partial(self._step, stage=stage), *self._arguments())

    def _arguments(self) -> tuple[Any, ...]:
        return self._state, self._batch, np.int32(self._num_updates), self._key


class _Timer:
    """Times functions, and between them large matrix products, for a table at the end.

    Args:
      repeats: calls that count; two more warm up.
    """

    def __init__(self, repeats: int):
        self._repeats = repeats
        self._rows: list[tuple[str, list[float], int]] = []
        self._rate, self._peak = matmul_rate(), fma_peak()

    def measure(self, name: str, function: Callable[..., Any], *arguments: Any, flops: int) -> None:
        compiled = jax.jit(function).lower(*arguments).compile()
        self._time(name, lambda: compiled(*arguments), flops)

    def measure_steps(self, name: str, steps: TrainingSteps, flops: int) -> None:
        self._time(name, steps, flops)

    def print_table(self) -> None:
        self._peak = max(self._peak, fma_peak())
        print(f"large float32 matrix products: {self._rate / 1e9:.1f} GFLOP/s")
        print(f"fused multiply-adds in registers: {self._peak / 1e9:.1f} GFLOP/s")
        print(
            f"{'part':30s} {'min ms':>8s} {'median':>8s} {'GFLOP':>8s} {'% of rate':>10s} "
            f"{'% of peak':>10s}"
        )
        for name, seconds, flops in self._rows:
            fastest, median = min(seconds), statistics.median(seconds)
            of_rate, of_peak = (flops / median / best for best in (self._rate, self._peak))
            print(
                f"{name:30s} {1e3 * fastest:8.2f} {1e3 * median:8.2f} {flops / 1e9:8.3f} "
                f"{100 * of_rate:10.1f} {100 * of_peak:10.1f}"
            )

    def _time(self, name: str, call: Callable[[], Any], flops: int) -> None:
        seconds = [_seconds(call) for _ in range(self._repeats + 2)][2:]
        self._rows.append((name, seconds, flops))
        print(f"{name}: {1e3 * min(seconds):.2f} ms", file=sys.stderr, flush=True)
        self._rate = max(self._rate, matmul_rate(repeats=2))


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
