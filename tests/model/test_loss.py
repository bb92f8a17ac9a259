"""The loss of whole batches: flow of clips, and the gap between legs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import horse
from pony_jax.model import Pony, build_model, build_objective
from pony_jax.model.objective import Objective, leg_gap_term
from pony_jax.model.pony import Scene
from pony_jax.model.render import composite, render_flow
from pony_jax.model.rig import pose


@pytest.fixture(scope="module")
def clip() -> tuple[Pony, Objective]:
    """Model and objective of clips of two frames."""
    config = horse.get_config("test")
    config.data.clip_frames = 2
    config.loss.flow = 1.0
    return build_model(config, (8, 6)), build_objective(config)


@pytest.mark.slow
def test_flow_brings_the_pose_of_the_next_frame_nearer_to_the_truth(clip, estimate, stage):
    model, objective = clip
    rig, prior, chosen = estimate.rig, estimate.rig.prior, jnp.zeros(2, jnp.int32)
    # Two frames alike, so that only the pose differs.
    rig = rig._replace(
        verts_rest=rig.verts_rest[:1],
        bones_rest=jnp.stack([rig.bones_rest[0]] * 2),
        leg_attachments=rig.leg_attachments[:1],
        weights=rig.weights[:1],
    )
    camera = jax.tree.map(lambda x: jnp.stack([x[0]] * 2), estimate.camera)
    still = jnp.zeros((20, 3))
    truth = 0.1 * jax.random.normal(jax.random.key(1), (20, 3))

    def see(next_angles):
        angles = jnp.stack([still, next_angles])
        posed = pose(rig, angles, model.instance.skeleton, attach_legs=True)
        visible = model.rendering.find_surface(posed.verts, prior, camera, max_pixels=1024)
        alpha = composite(visible, jnp.ones((1024, 1)), samples=2)
        return Scene(posed, visible, shaded=None), alpha

    scene, alpha = jax.jit(see)(truth)
    wanted = {
        "mask": (alpha > 0.5).astype(jnp.float32),
        "valid": jnp.ones_like(alpha),
        "flow": render_flow(scene.visible, num_frames=2, samples=2),
        "flow_valid": jnp.ones_like(alpha),
    }
    adam = optax.adam(0.02)

    @jax.jit
    def descend(angles, moments):
        def loss(angles):
            scene, alpha = see(angles)
            return jnp.sum(objective.flow(scene, alpha, wanted, chosen, 2).per_pair)

        value, gradient = jax.value_and_grad(loss)(angles)
        updates, moments = adam.update(gradient, moments)
        return optax.apply_updates(angles, updates), moments, value

    angles, moments, values = still, adam.init(still), []
    for _ in range(40):
        angles, moments, value = descend(angles, moments)
        values.append(float(value))
    assert values[-1] < 0.05 * values[0]

    # What the first frame shows has found its place in the second.
    faces = np.unique(scene.visible.coverage[0, ..., 3].astype(int))[1:] - 1
    shown = jnp.unique(prior.faces[faces])

    @jax.jit
    def error(angles):
        place, wanted = (see(a)[0].visible.verts_clip[1, shown] for a in (angles, truth))
        return jnp.mean(jnp.linalg.norm((place - wanted)[:, :2], axis=-1))

    assert error(angles) < 0.35 * error(still)


@pytest.mark.slow
def test_flow_counts_in_the_loss_of_clips_alone(clip, params, batch, stage):
    model, with_flow = clip
    rng = np.random.default_rng(1)
    ones = np.ones((2, 32, 32, 1), np.float32)
    # Two frames alike have the same viewpoint hypotheses, and no flow.
    alike = {name: np.stack([value[0]] * 2) for name, value in batch.items()}
    frames = alike | {
        "mask": ones,
        "valid": ones,
        "distance_inside": ones,
        "distance_outside": 0 * ones,
        "feature": rng.uniform(size=(2, 32, 32, 16)).astype(np.float32),
        "flow": rng.uniform(-0.1, 0.1, (2, 32, 32, 2)).astype(np.float32),
        "flow_valid": ones,
    }
    always_best = dataclasses.replace(model.schedule, best_from=-2, best_full=-1, best_share=1.5)
    model = model.clone(schedule=always_best)

    def run(objective):
        objective = dataclasses.replace(objective, jitter=0.0)
        loss, aux = jax.jit(functools.partial(objective.loss, model), static_argnums=4)(
            params, frames, jnp.int32(7), jax.random.key(1), stage
        )
        return float(loss), {name: float(value) for name, value in aux["metrics"].items()}

    (loss_without, without) = run(build_objective(horse.get_config("test")))
    loss, terms = run(with_flow)
    assert "flow" not in without
    shape = jax.jit(lambda params: model.bind({"params": params}).shape(stage))(params)
    assert terms["steep_blocks"] == int(shape.steep_count)
    # Uniform flow from -0.1 to 0.1 against none, an image of the probability that they have.
    assert terms["flow"] == pytest.approx(0.1**2 / 3 * 4 * terms["best_probability"], rel=0.1)
    learned = terms["hypothesis_score"] - without["hypothesis_score"]
    assert loss - loss_without == pytest.approx(terms["flow"] + learned, rel=0.01)
    for name in without.keys() - {"hypothesis_score"}:
        assert terms[name] == pytest.approx(without[name], rel=1e-4, abs=1e-7)


@pytest.mark.slow
def test_the_leg_gap_opens_the_middle_and_leaves_the_sides(model, params, estimate):
    skeleton = model.instance.skeleton
    bones = estimate.rig.bones_rest[0]
    foot, hip = bones[skeleton.num_body_bones :][jnp.array([0, 2]), [1, 0]]
    below = hip + 0.9 * (foot - hip)
    in_plane = below * jnp.array([0.0, 1.0, 1.0])

    def sdf(params, point):
        return model.bind({"params": params}).prior.sdf(point[None])[0]

    adam = optax.adam(3e-3)

    @jax.jit
    def descend(params, moments, key):
        def gap(params):
            return leg_gap_term(model.bind({"params": params}).prior, bones, skeleton, key)

        loss, grads = jax.value_and_grad(gap)(params)
        updates, moments = adam.update(grads, moments)
        return optax.apply_updates(params, updates), moments, loss

    first = sdf(params, in_plane) - sdf(params, below)
    opened, moments, start = params, adam.init(params), None
    for i in range(50):
        opened, moments, loss = descend(opened, moments, jax.random.key(i))
        start = loss if start is None else start
    # The start is solid in the middle; the term is what goes, and it is felt most in the plane.
    assert start > 0 and loss < 0.5 * start
    assert sdf(opened, in_plane) - sdf(opened, below) < first
