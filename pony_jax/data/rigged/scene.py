"""Photographs of a rigged model: an individual in a pose, its viewpoint, light and background."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

import rasterizer_ffi
from pony_jax.data.rigged.coat import albedo_of_fields, sample_coat, srgb_of_linear
from pony_jax.data.rigged.individual import (
    Individual,
    pose_individual,
    sample_factors,
    sample_pose,
)
from pony_jax.data.rigged.template import RiggedTemplate
from pony_jax.data.synthetic.backdrop import sample_backdrop
from pony_jax.data.synthetic.scene import (
    SAMPLES,
    SENSOR_NOISE,
    Light,
    Viewpoint,
    camera_of,
    pool_samples,
    project_px,
    sample_light,
    sample_viewpoint,
    visible_keypoints,
)
from pony_jax.ops.cameras import transform_points
from pony_jax.ops.mesh import vertex_normals
from pony_jax.ops.numerics import safe_normalize
from pony_jax.ops.shading import directional_shading


class RiggedShot(NamedTuple):
    """A batch of photographs and everything true about them, as `pony_jax.data.synthetic.scene`
    has it; `pose` is a row of the template's poses."""

    image: Float[Array, "b s s 3"]
    mask: Bool[Array, "b s s 1"]
    individual: Individual
    pose: Int[Array, " b"]
    viewpoint: Viewpoint
    light: Light
    keypoints_px: Float[Array, "b n 2"]
    keypoints_visible: Bool[Array, "b n"]


Renderer = Callable[[PRNGKeyArray], RiggedShot]
"""Renders one random picture of a model for each of its keys [b]."""


def make_renderer(template: RiggedTemplate, image_size: int) -> Renderer:
    """The renderer of a model. It is compiled for each number of keys, which takes some seconds."""
    return jax.jit(functools.partial(_take_shots, template=template, image_size=image_size))


def _take_shots(keys: PRNGKeyArray, *, template: RiggedTemplate, image_size: int) -> RiggedShot:
    def sample(key: PRNGKeyArray) -> tuple:
        key_build, key_pose, key_view, key_light, key_coat, key_back, key_noise = jax.random.split(
            key, 7
        )
        pose = sample_pose(key_pose, template)
        individual = pose_individual(template, sample_factors(key_build, template), pose)
        noise = jax.random.normal(key_noise, (image_size, image_size, 3))
        return (
            individual,
            pose,
            sample_viewpoint(key_view, individual.verts_posed),
            sample_light(key_light),
            sample_coat(key_coat, template),
            sample_backdrop(key_back, image_size) + SENSOR_NOISE * noise,
            noise,
        )

    individual, pose, viewpoint, light, coat, backdrop, noise = jax.vmap(sample)(keys)
    camera = camera_of(viewpoint)
    verts_clip = transform_points(camera.clip_from_world, individual.verts_posed)
    normals = vertex_normals(individual.verts_posed, template.faces) @ viewpoint.rotation
    fine = image_size * SAMPLES
    rast, _ = rasterizer_ffi.rasterize(
        verts_clip[:, template.welded], template.drawn_faces, (fine, fine), grad_db=False
    )
    colour, alpha = _shade(rast, template, coat, normals[:, template.welded], light)
    colour, alpha = (pool_samples(array, SAMPLES) for array in (colour, alpha))
    image = colour + alpha * SENSOR_NOISE * noise + (1.0 - alpha) * backdrop
    return RiggedShot(
        image=jnp.clip(image, 0.0, 1.0),
        mask=alpha > 0.5,
        individual=individual,
        pose=pose,
        viewpoint=viewpoint,
        light=light,
        keypoints_px=project_px(
            camera.clip_from_world, individual.verts_posed[:, template.keypoints], image_size
        ),
        keypoints_visible=visible_keypoints(rast, template.keypoint_faces),
    )


def _shade(
    rast: Float[Array, "b h w 4"],
    template: RiggedTemplate,
    coat: Float[Array, "b d 7"],
    normals_cam: Float[Array, "b d 3"],
    light: Light,
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w 1"]]:
    """Colour, 0 off the animal, and coverage, of every sample."""
    b = len(rast)
    own = np.concatenate([srgb_of_linear(template.colours), template.uv], axis=1)
    shared = jnp.broadcast_to(jnp.asarray(own, jnp.float32), (b, *own.shape))
    attributes = jnp.concatenate([shared, coat, normals_cam], axis=-1)
    fields, _ = rasterizer_ffi.interpolate(attributes, rast, template.drawn_faces)
    colours, uv, coat_fields, normals = jnp.split(fields, (3, 5, 12), axis=-1)
    if template.textures:
        colours = colours * _texture_colours(rast, template, uv)
    alpha = (rast[..., 3:] > 0).astype(jnp.float32)
    direction, ambient, diffuse = (array[:, None, None] for array in light)
    shading = directional_shading(safe_normalize(normals), direction, ambient, diffuse)
    return alpha * shading * albedo_of_fields(colours, coat_fields), alpha


def _texture_colours(
    rast: Float[Array, "b h w 4"], template: RiggedTemplate, uv: Float[Array, "b h w 2"]
) -> Float[Array, "b h w 3"]:
    """Of the base colour textures, 1 where a material has none."""
    material_of_face = jnp.asarray(template.materials[template.drawn_faces[:, 0]])
    face = jnp.maximum(rast[..., 3].astype(jnp.int32) - 1, 0)
    material = material_of_face[face][..., None]
    colours = jnp.ones((*uv.shape[:3], 3))
    for number, texture in template.textures.items():
        sampled = rasterizer_ffi.texture(jnp.asarray(texture)[None], uv, filter_mode="linear")
        colours = jnp.where(material == number, sampled, colours)
    return colours
