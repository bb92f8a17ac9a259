"""How fast is the CPU rasteriser: against DEODR (C++), and against the bare traffic of memory?

    pip install deodr
    taskset -c 0 python -m experiments.benchmarks.rasterizer --spot=spot.obj --threads=1
    python -m experiments.benchmarks.rasterizer --spot=spot.obj --threads=2

Times are the best and the median of `--repeats` warm runs, in milliseconds for the whole batch.
DEODR culls back faces and has one thread; it is run view by view on the same projected meshes.
"ours" is how many times faster our best is. "traffic" is the time of copying as many bytes as
the operation must read and write, at the bandwidth of a copy measured in the same run. DEODR draws
into the same arrays every time; so that we do not pay for fresh memory either, glibc is told to
keep what was freed, as in training.
"""

import argparse
import ctypes
import ctypes.util
import gc
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rasterizer_ffi
from pony_jax.training.environment import keep_freed_memory

try:
    from deodr import differentiable_renderer as deodr
except ImportError:
    deodr = None


class Scene(NamedTuple):
    name: str
    verts: np.ndarray
    faces: np.ndarray
    views: int
    size: int


class Timing(NamedTuple):
    best_ms: float
    median_ms: float

    def __str__(self) -> str:
        return f"{self.best_ms:7.2f} {self.median_ms:7.2f}"


def icosphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere of 20 * 4^n faces."""
    golden = (1 + 5**0.5) / 2
    verts = np.array(
        [[s * a, t * b, 0] for a, b in [(1, golden)] for s in (-1, 1) for t in (-1, 1)], float
    )
    verts = np.concatenate([np.roll(verts, k, axis=1) for k in range(3)])
    squared = ((verts[:, None] - verts[None]) ** 2).sum(-1)
    near = np.isclose(squared, 4)
    faces = [
        (i, j, k) if np.linalg.det(verts[[i, j, k]]) > 0 else (i, k, j)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    faces = np.array(faces)
    for _ in range(subdivisions):
        edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, index = np.unique(edges, axis=0, return_inverse=True)
        middle = len(verts) + index.reshape(-1, 3)
        verts = np.concatenate([verts, verts[unique].mean(axis=1)])
        (a, b, c), (ab, bc, ca) = faces.T, middle.T
        faces = np.stack([a, ab, ca, b, bc, ab, c, ca, bc, ab, bc, ca], 1).reshape(-1, 3)
    verts /= np.linalg.norm(verts, axis=1, keepdims=True)
    return verts.astype(np.float32), faces.astype(np.int32)


def load_obj(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices, scaled to the unit sphere, and faces."""
    verts, faces = [], []
    with open(path) as lines:
        for line in lines:
            kind, *words = line.split() or [""]
            if kind == "v":
                verts.append([float(w) for w in words[:3]])
            elif kind == "f":
                faces.append([int(w.split("/")[0]) - 1 for w in words[:3]])
    verts = np.array(verts, np.float32)
    verts -= (verts.max(0) + verts.min(0)) / 2
    verts /= np.linalg.norm(verts, axis=1).max()
    return verts, np.array(faces, np.int32)


def project(verts: np.ndarray, views: int) -> np.ndarray:
    """Clip-space positions from a ring of views: 45 degrees wide, distance 3, elevation 20."""
    elevation, near, far = np.radians(20), 0.1, 10.0
    focal = 1 / np.tan(np.radians(22.5))
    pos = []
    for view in range(views):
        azimuth = 2 * np.pi * view / views + 0.1
        back = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation),
                         np.cos(elevation) * np.cos(azimuth)])  # fmt: skip
        right = np.cross([0, 1, 0], back)
        right /= np.linalg.norm(right)
        x, y, z = ((verts - 3 * back) @ np.stack([right, np.cross(back, right), back]).T).T
        depth = -((far + near) * z + 2 * far * near) / (far - near)
        pos.append(np.stack([x * focal, y * focal, depth, -z], axis=1))
    return np.stack(pos).astype(np.float32)


def measure(repeats: int, function: Callable, *args) -> Timing:
    for _ in range(3):
        jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(1e3 * (time.perf_counter() - start))
    return Timing(min(times), statistics.median(times))


def copy_bytes_per_ms(threads: int) -> float:
    """Bytes of a large array copied in a millisecond (each read once and written once)."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    size = 1 << 26
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)

    def copy(part: int) -> None:
        begin, length = size * part // threads, size // threads
        libc.memcpy(
            ctypes.c_void_p(target.ctypes.data + begin),
            ctypes.c_void_p(source.ctypes.data + begin),
            ctypes.c_size_t(length),
        )

    with ThreadPoolExecutor(threads) as pool:
        timing = measure(20, lambda: list(pool.map(copy, range(threads))))
    return size / timing.best_ms


def deodr_timings(scene: Scene, pos: np.ndarray, color: np.ndarray, repeats: int):
    """Forward, and backward alone, of all views one after the other."""
    size, num_verts, num_faces = scene.size, len(scene.verts), len(scene.faces)
    scenes, images, depths = [], [], []
    for view in pos:
        ndc = view[:, :3] / view[:, 3:]
        ij = np.ascontiguousarray((ndc[:, :2] + 1) * (0.5 * size) - 0.5, np.float64)
        scenes.append(
            deodr.Scene2D(
                faces=scene.faces.astype(np.uint32),
                faces_uv=scene.faces.astype(np.uint32),
                ij=ij,
                depths=view[:, 3].astype(np.float64),
                textured=np.zeros(num_faces, bool),
                uv=np.zeros((num_verts, 2)),
                shade=np.zeros(num_verts),
                colors=color.astype(np.float64),
                shaded=np.zeros(num_faces, bool),
                edgeflags=np.zeros((num_faces, 3), bool),
                height=size,
                width=size,
                nb_colors=3,
                texture=np.zeros((1, 1, 3)),
                background_color=np.zeros(3),
                clockwise=False,
                backface_culling=True,
            )
        )
        images.append(np.zeros((size, size, 3)))
        depths.append(np.zeros((size, size)))

    def forward():
        for s, image, depth in zip(scenes, images, depths, strict=True):
            deodr.renderScene(s, 0.0, image, depth, check_valid=False)

    forward()
    if not any(image.any() for image in images):
        for s in scenes:
            s.clockwise = True
        forward()
    gradient = np.ones((size, size, 3))

    def backward():
        for s, image, depth in zip(scenes, images, depths, strict=True):
            deodr.renderSceneB(s, 0.0, image, depth, gradient, check_valid=False)

    for s in scenes:
        for name in ("uv", "ij", "shade", "colors", "texture"):
            setattr(s, f"{name}_b", np.zeros_like(getattr(s, name)))
    covered = np.mean([image.any(axis=2).mean() for image in images])
    return measure(repeats, forward), measure(repeats, backward), covered


def run(scene: Scene, repeats: int, bytes_per_ms: float) -> None:
    pos = project(scene.verts, scene.views)
    tri, resolution = jnp.asarray(scene.faces), (scene.size, scene.size)
    color = np.random.default_rng(0).random((1, len(scene.verts), 3)).astype(np.float32)

    @jax.jit
    def rasterize(pos):
        return rasterizer_ffi.rasterize(pos, tri, resolution, grad_db=False)

    @jax.jit
    def interpolate(color, rast):
        return rasterizer_ffi.interpolate(color, rast, tri)[0]

    @jax.jit
    def forward(pos, color):
        rast, rast_db = rasterize(pos)
        return interpolate(color, rast), rast, rast_db

    @jax.jit
    def forward_backward(pos, color, dy):
        out, pullback = jax.vjp(lambda p, c: interpolate(c, rasterize(p)[0]), pos, color)
        return out, pullback(dy)

    topology = jax.jit(rasterizer_ffi.antialias_construct_topology_hash)
    edges = topology(tri)

    @jax.jit
    def antialias(image, rast, pos):
        return rasterizer_ffi.antialias(image, rast, pos, tri, edges)

    @jax.jit
    def antialias_both(image, rast, pos, dy):
        out, pullback = jax.vjp(lambda i, p: antialias(i, rast, p), image, pos)
        return out, pullback(dy)

    pos, color = jnp.asarray(pos), jnp.asarray(color)
    out, rast, _ = forward(pos, color)
    pixels = scene.views * scene.size**2
    inputs = pos.nbytes + tri.nbytes
    timings = {
        "rasterize": (measure(repeats, rasterize, pos), inputs + 32 * pixels),
        "interpolate": (measure(repeats, interpolate, color, rast), 28 * pixels),
        "forward": (measure(repeats, forward, pos, color), inputs + 60 * pixels),
        "forward+backward": (
            measure(repeats, forward_backward, pos, color, out),
            2 * inputs + (60 + 44 + 32) * pixels,
        ),
        "topology": (measure(repeats, topology, tri), 2 * tri.nbytes),
        "antialias": (measure(repeats, antialias, out, rast, pos), inputs + 40 * pixels),
        # Backward, one byte a pixel says where to look at the colours and the geometry.
        "antialias+backward": (
            measure(repeats, antialias_both, out, rast, pos, out),
            2 * inputs + (41 + 25) * pixels,
        ),
    }
    coverage = float((rast[..., 3] > 0).mean())
    print(
        f"\n{scene.name}: {scene.views} x {scene.size}^2, {len(tri)} faces, {coverage:.0%} covered"
    )
    print(f"  {'':22}    best  median | traffic  ratio")
    for name, (timing, num_bytes) in timings.items():
        # A copy moves each byte twice: once in, once out.
        traffic = 0.5 * num_bytes / bytes_per_ms
        print(f"  {name:22} {timing} | {traffic:7.2f} {timing.best_ms / traffic:5.1f}x")
    share = timings["antialias+backward"][0].best_ms / timings["rasterize"][0].best_ms
    print(f"  antialias and its backward take {share:.2f} times as long as rasterize")
    if deodr is not None:
        theirs, theirs_backward, covered = deodr_timings(
            scene, np.asarray(pos), np.asarray(color[0]), repeats
        )
        ours = timings["forward"][0].best_ms
        backward = timings["forward+backward"][0].best_ms - ours
        print(f"  {'DEODR forward':22} {theirs} | ours {theirs.best_ms / ours:4.1f}x faster")
        ratio = theirs_backward.best_ms / backward
        print(
            f"  {'DEODR backward':22} {theirs_backward} | ours {ratio:4.1f}x faster "
            f"({backward:.2f}: forward+backward less forward)"
        )
        assert abs(covered - coverage) < 0.02, f"DEODR covers {covered:.0%}, not {coverage:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--spot", help="path of spot.obj; without it that scene is left out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    keep_freed_memory()
    rasterizer_ffi.set_max_threads(args.threads)
    gc.disable()
    bytes_per_ms = copy_bytes_per_ms(args.threads)
    print(f"{args.threads} threads; a copy runs at {bytes_per_ms / 1e6:.1f} GB/s")
    scenes = [
        Scene("icosphere", *icosphere(5), views=10, size=256),
        Scene("fine icosphere", *icosphere(6), views=1, size=1024),
    ]
    if args.spot:
        scenes.insert(0, Scene("spot", *load_obj(args.spot), views=10, size=256))
    for scene in scenes:
        run(scene, args.repeats, bytes_per_ms)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
