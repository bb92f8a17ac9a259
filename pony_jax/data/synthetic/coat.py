"""Coats: colours as functions of the place on the template's surface, so they stick to the skin.

A coat is evaluated at the vertices as smooth fields; edges of patches and stripes are made sharp
per pixel, after the fields have been interpolated (`albedo_of_fields`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, PRNGKeyArray

from pony_jax.data.synthetic.template import KEYPOINT_NAMES, PART_NAMES, Template

FIELD_CHANNELS = 8  # two colours, the field between them, the phase of stripes


class Coat(NamedTuple):
    """Colours are RGB; amounts run from 0 to 1; lengths in object units."""

    base: tuple[float, float, float]
    points: tuple[float, float, float]  # lower legs, mane, tail, muzzle
    second: tuple[float, float, float]  # patches, stripes, cells
    vary: float = 0.12  # largest change of brightness and of single channels
    points_on_legs: float = 0.0
    points_on_hair: float = 0.0  # mane, tail
    points_on_muzzle: float = 0.0
    patches: float = 0.0  # share of the skin, about
    stripes: float = 0.0
    cells: float = 0.0
    mottle: float = 0.06
    socks: float = 0.0  # chance of a white lower leg, each leg for itself


_WHITE = (0.92, 0.90, 0.86)
_BLACK = (0.06, 0.055, 0.05)

COATS: dict[str, Coat] = {
    "bay": Coat(
        base=(0.42, 0.22, 0.11),
        points=_BLACK,
        second=_WHITE,
        points_on_legs=0.95,
        points_on_hair=1.0,
        points_on_muzzle=0.7,
        socks=0.12,
    ),
    "chestnut": Coat(
        base=(0.58, 0.30, 0.14),
        points=(0.72, 0.47, 0.26),
        second=_WHITE,
        points_on_hair=0.8,
        socks=0.35,
    ),
    "black": Coat(
        base=(0.17, 0.15, 0.145), points=_BLACK, second=_WHITE, points_on_hair=1.0, socks=0.1
    ),
    "grey": Coat(
        base=(0.72, 0.72, 0.73),
        points=(0.32, 0.32, 0.34),
        second=(0.5, 0.5, 0.52),
        points_on_legs=0.7,
        points_on_hair=0.7,
        points_on_muzzle=0.8,
        mottle=0.07,
    ),
    "pinto": Coat(
        base=(0.40, 0.23, 0.12),
        points=_WHITE,
        second=_WHITE,
        points_on_legs=0.8,
        patches=0.42,
        socks=0.5,
    ),
    "zebra": Coat(
        base=(0.88, 0.86, 0.82),
        points=(0.12, 0.11, 0.11),
        second=(0.08, 0.08, 0.08),
        vary=0.04,
        points_on_muzzle=0.95,
        stripes=1.0,
        mottle=0.03,
    ),
    "holstein": Coat(
        base=(0.90, 0.88, 0.85),
        points=(0.75, 0.58, 0.52),
        second=(0.09, 0.08, 0.08),
        vary=0.06,
        points_on_muzzle=0.7,
        patches=0.5,
    ),
    "brown_cow": Coat(
        base=(0.52, 0.31, 0.18),
        points=(0.75, 0.60, 0.48),
        second=_WHITE,
        points_on_muzzle=0.6,
        socks=0.3,
    ),
    "giraffe": Coat(
        base=(0.86, 0.74, 0.52),
        points=(0.88, 0.80, 0.64),
        second=(0.55, 0.32, 0.14),
        points_on_legs=0.8,
        points_on_muzzle=0.5,
        cells=1.0,
    ),
}

NUM_WAVES = 24  # of a smooth random function
_NUM_CELLS = 90
_STRIPES_PER_UNIT = 5.5
_DARK = np.array([0.05, 0.04, 0.04], np.float32)


def smooth_noise(
    waves: Float[Array, "w 4"], points: Float[Array, "v 3"], scale: float
) -> Float[Array, " v"]:
    """A smooth random function of unit variance whose bumps are about `scale` wide, made of waves
    whose three frequencies and phase are normal numbers."""
    frequencies, phases = waves[:, :3] * (1.8 / scale), 10.0 * waves[:, 3]
    return jnp.sum(jnp.sin(points @ frequencies.T + phases), -1) * (2.0 / len(waves)) ** 0.5


def _cell_walls(key: PRNGKeyArray, points: Float[Array, "v 3"]) -> Float[Array, " v"]:
    """Difference of the distances to the two nearest of random surface points: 0 on the walls."""
    seeds = points[jax.random.randint(key, (_NUM_CELLS,), 0, len(points))]
    squared = jnp.sum((points[:, None] - seeds) ** 2, -1)
    nearest = squared.min(-1)
    second = jnp.where(squared == nearest[:, None], jnp.inf, squared).min(-1)
    return jnp.sqrt(second) - jnp.sqrt(nearest)


def _part(template: Template, *names: str) -> Float[np.ndarray, "v 1"]:
    return template.parts[:, [PART_NAMES.index(name) for name in names]].sum(1, keepdims=True)


def _stripe_coordinate(template: Template) -> Float[np.ndarray, " v"]:
    """Runs along the body, and up the legs, whose stripes are rings."""
    _, y, z = template.verts.T
    legs = ("foreleg", "fore_cannon", "fore_hoof", "hind_leg", "hind_cannon", "hind_hoof")
    on_legs = _part(template, *legs)[:, 0]
    up = np.clip((y - np.median(y)) / np.ptp(y), -0.5, 0.5)
    return (1 - on_legs) * (z + 0.5 * up) + on_legs * 1.3 * y


def sample_coat(
    key: PRNGKeyArray, template: Template, coats: tuple[str, ...]
) -> Float[Array, "v 8"]:
    """Fields of a random coat out of `coats` at the template's vertices, for `albedo_of_fields`.

    Raises `ValueError` on an unknown coat.
    """
    for name in coats:
        if name not in COATS:
            raise ValueError(
                f"expected coats out of {sorted(COATS)}, got {name!r}; correct the name"
            )
    key_uniform, key_waves, key_cells = jax.random.split(key, 3)
    which, *rest = jnp.split(jax.random.uniform(key_uniform, (13,)), (1, 5, 9))
    chosen = (which[0] * len(coats)).astype(int)
    waves = jax.random.normal(key_waves, (4, NUM_WAVES, 4))
    columns = zip(*(COATS[name] for name in coats), strict=True)
    coat = Coat(*(jnp.array(column, jnp.float32)[chosen] for column in columns))
    points = jnp.asarray(template.verts)
    tints = [(2 * tint - 1) * coat.vary for tint in rest[:2]]
    base, dark = (
        colour * (1 + tint[0] + 0.4 * tint[1:])
        for colour, tint in zip((coat.base, coat.points), tints, strict=True)
    )

    legs = _part(template, "fore_cannon", "fore_hoof", "hind_cannon", "hind_hoof")
    colour = jnp.broadcast_to(base, points.shape)
    mottle = smooth_noise(waves[0], points, 0.15) + smooth_noise(waves[1], points, 0.5)
    colour *= 1 + coat.mottle * mottle[:, None]
    colour = _mix(colour, dark, coat.points_on_legs * legs)
    colour = _mix(colour, dark, coat.points_on_hair * _part(template, "mane", "tail"))
    colour = _mix(colour, dark, coat.points_on_muzzle * _part(template, "muzzle"))
    colour = _mix(colour, jnp.array(_WHITE), _socks(rest[2] < coat.socks, template) * legs)
    second = jnp.broadcast_to(coat.second, points.shape)

    hooves = 0.8 * _part(template, "fore_hoof", "hind_hoof") ** 2
    eyes = _near_eyes(template)[:, None]
    colour, second = (_mix(_mix(c, _DARK, hooves), _DARK, eyes) for c in (colour, second))

    # Only what some coat of the species needs is computed.
    field = jnp.full(len(points), -1.0)
    phase = jnp.zeros(len(points))
    if any(COATS[name].patches for name in coats):
        patches = 0.35 * (smooth_noise(waves[2], points, 0.55) - 1.6 * (0.5 - coat.patches))
        field = jnp.where(coat.patches > 0, patches, field)
    if any(COATS[name].cells for name in coats):
        cells = _cell_walls(key_cells, points) - 0.035 - 0.3 * legs[:, 0]
        field = jnp.where(coat.cells > 0, cells, field)
    if any(COATS[name].stripes for name in coats):
        along = 2 * jnp.pi * _STRIPES_PER_UNIT * jnp.asarray(_stripe_coordinate(template))
        phase = jnp.where(
            coat.stripes > 0, along + 0.7 * smooth_noise(waves[3], points, 0.4), phase
        )
        field = jnp.where(coat.stripes > 0, 0.0, field)
    return jnp.concatenate([colour, second, field[:, None], phase[:, None]], axis=-1)


def _mix(a: Array, b: Array, share: Array) -> Array:
    return a + share * (b - a)


def _socks(white: Bool[Array, "4"], template: Template) -> Float[Array, "v 1"]:
    """1 at the vertices of the legs that wear white: hind right, hind left, fore right, left."""
    fore, left = template.verts[:, 2] > 0, template.verts[:, 0] > 0
    return white.astype(jnp.float32)[2 * fore.astype(int) + left.astype(int)][:, None]


def _near_eyes(template: Template) -> Float[np.ndarray, " v"]:
    eyes = template.verts[
        [template.keypoints[KEYPOINT_NAMES.index(f"{side}_eye")] for side in ("left", "right")]
    ]
    distance = np.linalg.norm(template.verts[:, None] - eyes, axis=-1).min(-1)
    return np.exp(-0.5 * (distance / 0.035) ** 2).astype(np.float32)


def albedo_of_fields(fields: Float[Array, "*n 8"]) -> Float[Array, "*n 3"]:
    """Colour of skin from interpolated coat fields, in 0..1."""
    first, second, between, phase = jnp.split(fields, (3, 6, 7), axis=-1)
    share = jnp.clip(0.5 + between / 0.03 + jnp.sin(phase) / 0.5, 0.0, 1.0)
    share = jnp.where((phase == 0) & (between == 0), 0.0, share)
    return jnp.clip(_mix(first, second, share), 0.0, 1.0)
