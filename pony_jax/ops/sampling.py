"""Looking up maps between their pixels, and moving whole maps."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def bilinear_sample(
    maps: Float[Array, "b h w c"], xy_ndc: Float[Array, "b k 2"]
) -> Float[Array, "b k c"]:
    """Bilinear look-up at NDC positions, zero outside (torch grid_sample, align_corners=False).

    Args:
      maps: row 0 at the top.
      xy_ndc: x right and y down, (-1, -1) the outer corner of the first pixel.
    """
    b, h, w, _ = maps.shape
    position = (xy_ndc + 1) * jnp.array([w / 2, h / 2]) - 0.5
    low = jnp.floor(position)
    share = position - low
    out = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = low[..., 0] + dx, low[..., 1] + dy
            inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
            weight = jnp.abs(1 - dx - share[..., 0]) * jnp.abs(1 - dy - share[..., 1])
            row = jnp.clip(y, 0, h - 1).astype(jnp.int32)
            column = jnp.clip(x, 0, w - 1).astype(jnp.int32)
            value = maps[jnp.arange(b)[:, None], row, column]
            out = out + jnp.where(inside, weight, 0.0)[..., None] * value
    return out
