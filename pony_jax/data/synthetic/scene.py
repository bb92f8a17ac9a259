"""One photograph of a synthetic animal: viewpoint, light, picture, and the truth about them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

import rasterizer_ffi
from pony_jax.data.synthetic.anatomy import Species
from pony_jax.data.synthetic.animal import Animal, sample_animal
from pony_jax.data.synthetic.backdrop import sample_backdrop
from pony_jax.data.synthetic.coat import albedo_of_fields, sample_coat
from pony_jax.data.synthetic.descriptors import (
    Descriptors,
    feature_table,
    render_descriptors,
    surface_basis,
)
from pony_jax.data.synthetic.template import Template
from pony_jax.ops.cameras import Camera, camera_from_pose, transform_points
from pony_jax.ops.mesh import vertex_normals
from pony_jax.ops.numerics import safe_normalize
from pony_jax.ops.rotations import euler_xyz_to_matrix
from pony_jax.ops.shading import directional_shading

DISTANCE = 10.0
FOV_DEG = 25.0
_FILL = 1 / 1.2  # longer side of the animal's box / side of the crop
_MAX_SHIFT = (0.42, 0.42, 1.05)  # object units; the model's viewpoint head reaches 0.44 and 1.1
SAMPLES = 2  # samples a pixel, in both directions
SENSOR_NOISE = 0.012
"""Standard deviation of the noise on colours in 0..1."""
_STRIDES_PER_FRAME = 0.04  # of a sequence, about that of a walk filmed at 25 frames a second
_MAX_TURN_DEG = 3.0  # of the animal before the camera, a frame


class Viewpoint(NamedTuple):
    """A camera pose as the model states it (`pony_jax.ops.cameras.camera_from_pose`).

    Azimuth 0 is an animal that looks at the camera, 90 one that walks to the right of the image;
    elevation is that of the camera above the animal's horizon.
    """

    azimuth_deg: Float[Array, ""]
    elevation_deg: Float[Array, ""]
    rotation: Float[Array, "3 3"]  # rows: the animal's right (x), up, forward in camera space
    translation_cam: Float[Array, "3"]


class Light(NamedTuple):
    """Directional light in camera space."""

    direction: Float[Array, "3"]
    ambient: Float[Array, "1"]
    diffuse: Float[Array, "1"]


class Shot(NamedTuple):
    """A batch of photographs and everything true about them. Pixels count from the top left corner
    of the image, x right, y down; flow is as in `pony_jax.data.schema`."""

    image: Float[Array, "b s s 3"]
    mask: Bool[Array, "b s s 1"]
    descriptors: Descriptors
    flip_descriptors: Descriptors
    animal: Animal
    viewpoint: Viewpoint
    light: Light
    keypoints_px: Float[Array, "b n 2"]
    keypoints_visible: Bool[Array, "b n"]
    flow: Float[Array, "b s s 2"] | None  # None for single photographs
    flow_valid: Bool[Array, "b s s 1"] | None


def sample_viewpoint(
    key: PRNGKeyArray, verts: Float[Array, "v 3"], turned_deg: Float[Array, ""] | float = 0.0
) -> Viewpoint:
    """A camera anywhere around the animal, -5 to 25 degrees up (low more often, as people stand),
    moved so that the animal's box is about centred and fills the crop as far as `_MAX_SHIFT` lets
    it: from in front, where it is narrower and lower, it stays somewhat smaller. The animal has
    turned by `turned_deg` from the azimuth drawn."""
    turn, height, *jitter = jax.random.uniform(key, (5,))
    azimuth_deg, elevation_deg = 360.0 * turn + turned_deg, -5.0 + 30.0 * height**2
    # Rx(elevation) @ Ry(azimuth) takes the object frame to that of the camera.
    angles_rad = jnp.radians(jnp.stack([elevation_deg, azimuth_deg, jnp.zeros(())]))
    rotation = euler_xyz_to_matrix(angles_rad).T
    jitter = (2.0 * jnp.stack(jitter) - 1.0) * jnp.array([0.06, 0.06, 0.05])

    def improve(shift: Array, _: None) -> tuple[Array, None]:
        points = verts @ rotation + shift - jnp.array([0.0, 0.0, DISTANCE])
        tangent = jnp.tan(jnp.radians(FOV_DEG) / 2)
        ndc = points[:, :2] / (-points[:, 2:] * tangent)
        low, high = ndc.min(0), ndc.max(0)
        fill = 0.5 * jnp.max(high - low)
        depth = DISTANCE - shift[2]
        closer = depth * (1.0 - fill / (_FILL * (1.0 + jitter[2])))
        centre = 0.5 * (low + high) * depth * tangent
        shift = shift + jnp.append(jitter[:2] - centre, closer)
        return jnp.clip(shift, -jnp.array(_MAX_SHIFT), jnp.array(_MAX_SHIFT)), None

    translation_cam, _ = jax.lax.scan(improve, jnp.zeros(3), None, length=5)
    return Viewpoint(azimuth_deg, elevation_deg, rotation, translation_cam)


def sample_light(key: PRNGKeyArray) -> Light:
    """Light from above, from any side."""
    x, z, ambient, diffuse = jax.random.uniform(key, (4, 1))
    direction = safe_normalize(jnp.concatenate([2 * x - 1, jnp.array([0.5]), 2 * z - 1]))
    return Light(direction, 0.35 + 0.25 * ambient, 0.5 + 0.4 * diffuse)


def camera_of(viewpoint: Viewpoint) -> Camera:
    """Cameras of a batch of viewpoints."""
    return camera_from_pose(
        viewpoint.rotation, viewpoint.translation_cam, distance=DISTANCE, fov_y_deg=FOV_DEG
    )


def project_px(
    clip_from_world: Float[Array, "b 4 4"], points: Float[Array, "b n 3"], image_size: int
) -> Float[Array, "b n 2"]:
    """Places in the image, pixels, of points in the object frame."""
    clip = transform_points(clip_from_world, points)
    return 0.5 * image_size * (clip[..., :2] / clip[..., 3:] + 1.0)


def take_shots(
    keys: PRNGKeyArray,  # [b]
    template: Template,
    species: Species,
    *,
    image_size: int,
    feature_size: int,
    token_grid: int,
    token_dim: int,
    sequence_frames: int = 1,
) -> Shot:
    """Renders one random animal per key; jit it with all but `keys` bound.

    With `sequence_frames` above 1, every so many images in a row are a sequence: an animal that
    moves its legs and turns, followed by the crop. What stays the same is drawn from the first key.
    """

    keys = jax.vmap(functools.partial(jax.random.split, num=7))(keys)
    shared = jnp.repeat(keys[::sequence_frames], sequence_frames, axis=0)
    frame = jnp.arange(len(keys)) % sequence_frames

    def sample(key: PRNGKeyArray, frame: Array) -> tuple[Animal, Viewpoint, Light, Array, Array]:
        animal = sample_animal(key[0], template, _STRIDES_PER_FRAME * frame)
        turning_deg = _MAX_TURN_DEG * jax.random.uniform(jax.random.fold_in(key[1], 1), minval=-1)
        return (
            animal,
            sample_viewpoint(key[1], animal.verts_posed, turning_deg * frame),
            sample_light(key[2]),
            sample_coat(key[3], template, species.coats),
            sample_backdrop(key[4], image_size),
        )

    animal, viewpoint, light, coat, backdrop = jax.vmap(sample)(shared, frame)
    camera = camera_of(viewpoint)
    verts_clip = transform_points(camera.clip_from_world, animal.verts_posed)
    normals = vertex_normals(animal.verts_posed, template.faces) @ viewpoint.rotation

    fine = image_size * SAMPLES
    rast, _ = rasterizer_ffi.rasterize(verts_clip, template.faces, (fine, fine), grad_db=False)
    colour, shade, alpha = _shade(rast, template.faces, coat, normals, light)
    colour, shade, alpha = (pool_samples(array, SAMPLES) for array in (colour, shade, alpha))
    noise = jax.vmap(lambda key: jax.random.normal(key, backdrop.shape[1:]))(keys[:, 5])
    image = jnp.clip(colour + (1.0 - alpha) * backdrop + SENSOR_NOISE * noise, 0.0, 1.0)

    feature_map, basis_map, coverage = _describe(verts_clip, template, image_size)
    descriptors, flip_descriptors = render_descriptors(
        keys[:, 6],
        feature_map=feature_map,
        basis_map=basis_map,
        coverage=coverage,
        image=image,
        shading=shade / jnp.maximum(alpha, 1e-6),
        feature_size=feature_size,
        token_grid=token_grid,
        token_dim=token_dim,
    )
    flow = flow_valid = None
    if sequence_frames > 1:
        flow, flow_valid = _flow_to_next(rast, verts_clip, template.faces, sequence_frames)
    return Shot(
        image=image,
        mask=alpha > 0.5,
        descriptors=descriptors,
        flip_descriptors=flip_descriptors,
        animal=animal,
        viewpoint=viewpoint,
        light=light,
        keypoints_px=project_px(
            camera.clip_from_world, animal.verts_posed[:, template.keypoints], image_size
        ),
        keypoints_visible=visible_keypoints(rast, template.keypoint_faces),
        flow=flow,
        flow_valid=flow_valid,
    )


def _shade(
    rast: Float[Array, "b h w 4"],
    faces: Int[Array, "f 3"],
    coat: Float[Array, "b v c"],
    normals_cam: Float[Array, "b v 3"],
    light: Light,
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w 1"], Float[Array, "b h w 1"]]:
    """Colour and shading, 0 off the animal, and coverage, of every sample."""
    attributes = jnp.concatenate([coat, normals_cam], axis=-1)
    fields, _ = rasterizer_ffi.interpolate(attributes, rast, faces)
    alpha = (rast[..., 3:] > 0).astype(jnp.float32)
    direction, ambient, diffuse = (array[:, None, None] for array in light)
    shading = directional_shading(safe_normalize(fields[..., -3:]), direction, ambient, diffuse)
    return alpha * shading * albedo_of_fields(fields[..., :-3]), alpha * shading, alpha


def _flow_to_next(
    rast: Float[Array, "b h w 4"],
    verts_clip: Float[Array, "b v 4"],
    faces: Int[Array, "f 3"],
    num_frames: int,
) -> tuple[Float[Array, "b s s 2"], Bool[Array, "b s s 1"]]:
    """Flow of the animal's surface from each frame to the next, and the pixels that are mostly
    animal, which have one; 0 elsewhere and in the last frame of a sequence."""
    b, v, _ = verts_clip.shape
    places = (verts_clip[..., :2] / verts_clip[..., 3:]).reshape(-1, num_frames, v, 2)
    moves = jnp.pad(places[:, 1:] - places[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0)))
    flow, _ = rasterizer_ffi.interpolate(moves.reshape(b, v, 2), rast, faces)
    covered = pool_samples((rast[..., 3:] > 0).astype(jnp.float32), SAMPLES)
    is_last = jnp.arange(b) % num_frames == num_frames - 1
    valid = (covered > 0.5) & ~is_last[:, None, None, None]
    return jnp.where(valid, pool_samples(flow, SAMPLES) / jnp.maximum(covered, 1e-6), 0.0), valid


def _describe(
    verts_clip: Float[Array, "b v 4"], template: Template, size: int
) -> tuple[Float[Array, "b s s 16"], Float[Array, "b s s n"], Float[Array, "b s s 1"]]:
    """Features, basis functions and coverage at one sample a pixel: they are smooth."""
    rast, _ = rasterizer_ffi.rasterize(verts_clip, template.faces, (size, size), grad_db=False)
    features = feature_table(template)
    attributes = jnp.concatenate([features, surface_basis(template)], axis=-1)
    rendered, _ = rasterizer_ffi.interpolate(attributes[None], rast, template.faces)
    feature_map, basis_map = jnp.split(rendered, [features.shape[1]], axis=-1)
    return feature_map, basis_map, (rast[..., 3:] > 0).astype(jnp.float32)


def visible_keypoints(
    rast: Float[Array, "b h w 4"], keypoint_faces: Int[Array, "n j"]
) -> Bool[Array, "b n"]:
    """A keypoint is visible where some sample shows a face around it."""
    face_of_sample = rast[..., 3].astype(jnp.int32).reshape(len(rast), -1)

    def of_image(samples: Array) -> Array:
        # Faces that are no neighbour of a keypoint may lie beyond the end, and are dropped.
        shown = jnp.zeros(keypoint_faces.max() + 2, bool).at[samples].set(True, mode="drop")
        return shown[keypoint_faces + 1].any(-1)

    return jax.vmap(of_image)(face_of_sample)


def pool_samples(image: Float[Array, "b h w c"], by: int) -> Float[Array, "b s s c"]:
    """Means of `by` by `by` samples."""
    b, h, w, c = image.shape
    return image.reshape(b, h // by, by, w // by, by, c).mean((2, 4))
