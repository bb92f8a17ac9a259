"""A small rigged quadruped made of boxes, with everything that a reconstruction has."""

import dataclasses

import numpy as np

from pony_jax.ops.bones import Skeleton as ModelSkeleton
from pony_jax.ops.bones import estimate_bones
from pony_jax.ops.skinning import skinning_weights
from pony_jax.reconstruction.animal import (
    Animal,
    Camera,
    Clip,
    Hypotheses,
    Light,
    TriangleMesh,
)
from pony_jax.reconstruction.skeleton import Skeleton

MODEL_SKELETON = ModelSkeleton()


def make_animal(angle_scale: float = 0.3, subdivisions: int = 4) -> Animal:
    """A body, a neck with a head, a tail and four legs; posed at random angles of a fixed seed."""
    verts, faces = _quadruped(subdivisions)
    all_verts = np.ones(len(verts), bool)
    bones, attachments = estimate_bones(verts[None], all_verts, MODEL_SKELETON, None)
    parents = MODEL_SKELETON.parents(np.asarray(attachments[0]))
    skeleton = Skeleton.from_model(MODEL_SKELETON, np.asarray(bones[0]), parents)
    weights = np.asarray(skinning_weights(verts[None], bones, 0.05)[0])
    rng = np.random.default_rng(0)
    angles = rng.uniform(-angle_scale, angle_scale, (skeleton.num_bones, 3)).astype(np.float32)
    rest = TriangleMesh(verts, faces)
    turn = np.deg2rad(70)
    cam_from_world = np.eye(4, dtype=np.float32)
    cam_from_world[:3, :3] = [
        [np.cos(turn), 0, np.sin(turn)],
        [0, 1, 0],
        [-np.sin(turn), 0, np.cos(turn)],
    ]
    cam_from_world[2, 3] = -10.0
    animal = Animal(
        name="sample",
        category="horse",
        rest_mesh=rest,
        posed_mesh=rest,
        prior_verts=(verts * [0.9, 1, 1]).astype(np.float32),
        skeleton=skeleton,
        skin_weights=weights,
        angles_rad=angles,
        camera=Camera(cam_from_world, 25.0, 128),
        light=Light(np.array([0.36, 0.8, 0.48], np.float32), 0.5, 0.6),
        hypotheses=Hypotheses(np.array([0.8, 0.2]), np.stack([cam_from_world[:3, :3].T] * 2)),
        albedo=patches,
        photograph=np.full((32, 32, 3), 120, np.uint8),
    )
    return dataclasses.replace(animal, posed_mesh=animal.pose(angles))


def patches(points: np.ndarray) -> np.ndarray:
    """Smooth colours, different on the left and on the right."""
    x, y, z = points.T
    rgb = [0.5 + 0.4 * np.sin(2 * z), 0.5 + 0.4 * np.sin(3 * y), np.where(x > 0, 0.8, 0.3)]
    return np.stack(rgb, axis=-1).astype(np.float32)


def make_clip(animal: Animal, name: str = "walk", frames: int = 9) -> Clip:
    """One second of every bone swinging, the animal moving ahead and turning."""
    phase = np.linspace(0, 2 * np.pi, frames)
    k = animal.skeleton.num_bones
    angles = 0.4 * np.sin(phase[:, None, None] + np.arange(k)[:, None] + np.arange(3))
    zero, one = np.zeros(frames), np.ones(frames)
    turn = 0.5 * np.sin(phase)
    rotation = [
        [np.cos(turn), zero, np.sin(turn)],
        [zero, one, zero],
        [-np.sin(turn), zero, np.cos(turn)],
    ]
    return Clip(
        name=name,
        times_s=np.linspace(0, 1, frames),
        angles_rad=angles,
        root_translation=np.stack([zero, 0.1 * np.sin(phase), phase / 5], axis=-1),
        root_rotation=np.moveaxis(np.array(rotation), -1, 0),
    )


def _quadruped(n: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        ((-0.4, -0.3, -1.2), (0.4, 0.4, 1.0)),  # body
        ((-0.15, 0.5, 1.05), (0.15, 1.2, 1.9)),  # neck and head
        ((-0.05, 0.1, -1.7), (0.05, 0.3, -1.25)),  # tail
    ]
    parts += [
        ((x - 0.12, -1.4, z - 0.12), (x + 0.12, -0.35, z + 0.12))
        for x in (-0.28, 0.28)
        for z in (-0.9, 0.7)
    ]
    verts, faces = [], []
    for low, high in parts:
        box_verts, box_faces = _box(np.array(low), np.array(high), n)
        faces.append(box_faces + sum(map(len, verts)))
        verts.append(box_verts)
    return np.concatenate(verts).astype(np.float32), np.concatenate(faces).astype(np.int32)


def _box(low: np.ndarray, high: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed box whose sides are n x n squares; edges share vertices; wound outwards."""
    rows: dict[tuple[int, ...], int] = {}
    faces = []
    for axis in range(3):
        for side in (0, n):
            for i in range(n):
                for j in range(n):
                    corners = []
                    for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1)):
                        corner = np.roll([side, i + di, j + dj], axis)
                        corners.append(rows.setdefault(tuple(map(int, corner)), len(rows)))
                    if side == 0:
                        corners.reverse()
                    faces += [corners[:3], [corners[0], *corners[2:]]]
    lattice = np.array(list(rows)) / n
    return low + lattice * (high - low), np.array(faces)
