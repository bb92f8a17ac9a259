"""Refinement in use: poses and colours that come nearer to the image."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import horse
from pony_jax.model import build_model
from pony_jax.model.pony import Pony
from pony_jax.model.render import render_silhouette, surface_shading
from pony_jax.model.rig import pose
from pony_jax.ops.losses import mask_loss


@pytest.fixture(scope="module")
def target(model, estimate) -> jax.Array:
    """Silhouettes of the animals in other poses than the networks read off the images."""
    angles = 0.35 * jax.random.normal(jax.random.key(1), (2, 20, 3))
    posed = pose(estimate.rig, angles, model.instance.skeleton, attach_legs=True)
    faces = estimate.rig.prior.faces
    return render_silhouette(posed.verts, faces, estimate.camera, image_size=32, samples=2)


@pytest.mark.slow
@pytest.mark.parametrize("training_mask", [10.0, 0.0])
def test_refinement_brings_the_pose_nearer_to_the_silhouette(training_mask, estimate, target):
    config = horse.get_config("test")
    config.loss.mask = training_mask  # of training alone: refinement has weights of its own
    model = build_model(config, (8, 6))
    rig, camera, skeleton = estimate.rig, estimate.camera, model.instance.skeleton

    @jax.jit
    def errors(angles, camera):
        posed = pose(rig, angles, skeleton, attach_legs=True)
        alpha = render_silhouette(posed.verts, rig.prior.faces, camera, image_size=32, samples=2)
        return mask_loss(alpha, target, jnp.ones_like(target))

    @jax.jit
    def refine(angles, camera):
        return model.refinement.pose(
            rig, angles, camera, target, skeleton, model.camera, model.rendering, attach_legs=True
        )

    start = jnp.zeros((2, 20, 3))
    angles, moved = refine(start, camera)
    before, after = errors(start, camera), errors(angles, moved)
    # Silhouettes of this very animal can be met; most of the error must go in every image.
    assert np.all(after < 0.5 * before)
    # Only the position of a camera is refined, not its direction.
    np.testing.assert_array_equal(moved.cam_from_world[:, :3, :3], camera.cam_from_world[:, :3, :3])


@pytest.mark.slow
def test_refinement_brings_colours_nearer_to_the_photograph(model, params, estimate, stage):
    rig = estimate.rig
    verts = jnp.broadcast_to(rig.prior.verts, (2, *rig.prior.verts.shape))
    visible = model.rendering.find_surface(verts, rig.prior, estimate.camera)
    # The upper half is animal.
    upper = jnp.zeros((2, 32, 32, 1)).at[:, :16].set(1.0)

    def shade(appearance):
        return model.apply({"params": params}, visible.surface, appearance, method=Pony.shade)

    @jax.jit
    def colours(appearance):
        """An image without supersampling; black where there is no surface."""
        shaded = shade(appearance)
        rows = jnp.zeros((2 * 32 * 32, 3))
        rgb = shaded.albedo * surface_shading(visible.surface, shaded.light)
        rows = rows.at[visible.surface.pixel].set(rgb, mode="drop")
        return rows.reshape(2, 32, 32, 3)

    start = estimate.appearance
    photograph = colours(start + 10 * jax.random.normal(jax.random.key(1), start.shape))
    refined = jax.jit(
        lambda start: model.refinement.appearance(shade, start, visible, photograph, upper)
    )(start)

    def errors(appearance):
        return jnp.mean((colours(appearance) - photograph) ** 2 * upper, axis=(1, 2, 3))

    # Colours that this very model has made can be met; most of the error must go in every image.
    assert np.all(errors(refined) < 0.5 * errors(start))


def test_refinement_by_nothing_is_refused(model):
    with pytest.raises(ValueError, match=r"refine_mask, .*: expected one of them above 0 .* got 0"):
        dataclasses.replace(model.refinement, mask=0.0, mask_pyramid=0.0)
    dataclasses.replace(model.refinement, steps=0, mask=0.0, mask_pyramid=0.0)
