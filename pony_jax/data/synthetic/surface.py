"""From flesh to a mesh: the smooth union of limbs, and its zero level as quads cut in two."""

import numpy as np
from jaxtyping import Float, Int

CELL = 0.044
"""Side of a grid cell in metres: about 8,000 faces for a horse."""


def limb_distance(
    points: Float[np.ndarray, "n 3"], nodes: Float[np.ndarray, "m 5"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n m"]]:
    """Distance to the surface of a limb (negative inside), and barycentric weights of the nodes.

    The limb is a chain of tubes through the nodes (x, y, z, radius in x, radius in the y z plane),
    all linear in between. The distance is measured along the ray from the nearest axis point: exact
    for round limbs, and close enough for elliptical ones.
    """
    start, end = nodes[:-1], nodes[1:]
    along = end[:, :3] - start[:, :3]
    offset = points[:, None] - start[:, :3]
    share = np.sum(offset * along, -1) / np.maximum(np.sum(along * along, -1), 1e-12)
    share = np.clip(share, 0.0, 1.0)[..., None]
    at = start + (end - start) * share
    away = points[:, None] - at[..., :3]
    length = np.linalg.norm(away, axis=-1)
    ratio = np.hypot(away[..., 0] / at[..., 3], np.hypot(away[..., 1], away[..., 2]) / at[..., 4])
    radius = np.where(ratio > 1e-6, length / np.maximum(ratio, 1e-6), at[..., 3:].min(-1))
    distance = length - radius

    nearest = np.argmin(distance, axis=1)
    rows = np.arange(len(points))
    weights = np.zeros((len(points), len(nodes)))
    weights[rows, nearest] = 1.0 - share[rows, nearest, 0]
    weights[rows, nearest + 1] += share[rows, nearest, 0]
    return distance[rows, nearest], weights


def smooth_union(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], width: float
) -> Float[np.ndarray, " n"]:
    """Minimum of two distances with the crease filled over `width` (a quadratic blend)."""
    overlap = np.maximum(width - np.abs(a - b), 0.0)
    return np.minimum(a, b) - overlap * overlap / (4.0 * width)


def surface_nets(
    values: Float[np.ndarray, "nx ny nz"],
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """The zero level of a sampled function, one vertex in every cell that it crosses.

    Vertices are means of the crossings of the cell's twelve edges (naive surface nets, after Gibson
    1998), in units of the grid; faces are wound so that (v1 - v0) x (v2 - v0) points to where the
    function is positive. The function must be positive on the border of the grid.
    """
    inside = values < 0
    sums = np.zeros((*(np.array(values.shape) - 1), 4))
    quads = []
    vert_of_cell = np.full(sums.shape[:3], -1)
    crossings = []
    for axis in range(3):
        low, high = _ends(values, axis)
        crossing = (low < 0) != (high < 0)
        index = np.argwhere(crossing)
        value_low, value_high = low[crossing], high[crossing]
        point = index.astype(float)
        point[:, axis] += value_low / (value_low - value_high)
        crossings.append((index, inside[tuple(index.T)]))
        for side in np.ndindex(2, 2):
            cell = index - np.insert(side, axis, 0)
            np.add.at(sums, tuple(cell.T), np.column_stack([point, np.ones(len(point))]))
    used = sums[..., 3] > 0
    vert_of_cell[used] = np.arange(used.sum())
    verts = sums[used][:, :3] / sums[used][:, 3:]

    for axis, (index, goes_out) in enumerate(crossings):
        # Around an edge along x the four cells lie at y, z = (-1,-1), (0,-1), (0,0), (-1,0):
        # counter-clockwise as seen from +x; likewise for y and z, cyclically.
        around = np.zeros((4, 3), int)
        around[:, (axis + 1) % 3] = (-1, 0, 0, -1)
        around[:, (axis + 2) % 3] = (-1, -1, 0, 0)
        corners = vert_of_cell[tuple(np.moveaxis(index[:, None] + around, -1, 0))]
        quads.append(np.where(goes_out[:, None], corners, corners[:, ::-1]))
    return verts, _triangles(verts, np.concatenate(quads))


def _ends(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    count = values.shape[axis]
    return values.take(range(count - 1), axis), values.take(range(1, count), axis)


def _triangles(verts: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Cuts every quad along its shorter diagonal."""
    a, b, c, d = quads.T
    first = np.linalg.norm(verts[a] - verts[c], axis=-1)
    second = np.linalg.norm(verts[b] - verts[d], axis=-1)
    keep = (first <= second)[:, None]
    one = np.where(keep, np.stack([a, b, c], -1), np.stack([a, b, d], -1))
    two = np.where(keep, np.stack([a, c, d], -1), np.stack([b, c, d], -1))
    return np.concatenate([one, two])
