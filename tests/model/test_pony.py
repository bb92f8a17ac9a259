"""The forward pass in use: poses refined against the silhouettes that the model predicts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rasterizer_ffi
from configs import horse
from pony_jax.model import Capacities, Pony, Stage, build_model
from pony_jax.model.render import (
    background_image,
    composite,
    find_surface,
    render_flow,
    render_silhouette,
    surface_shading,
)
from pony_jax.ops.losses import mask_loss
from pony_jax.ops.viewpoint import Hypotheses

STAGE = Stage(16, True, True, True, Capacities(1024, 2048, 1024, 256, 512))


@pytest.fixture(scope="module")
def model() -> Pony:
    return build_model(horse.get_config("test"), (8, 6))


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2, 2, 8, 8, 6)).astype(np.float32)
    image = rng.uniform(size=(2, 32, 32, 3)).astype(np.float32)
    return {"image": image, "patch_key": tokens[0], "patch_out": tokens[1]}


def _predict(model, params, batch):
    return jax.jit(model.predict, static_argnums=3)(params, batch, 7, STAGE)


@pytest.mark.parametrize("kind", ["octlookat", "lookat", "quaternion", "euler_angle"])
def test_every_kind_of_viewpoint_gives_cameras(kind, batch):
    config = horse.get_config("test")
    config.model.hypotheses = kind
    config.model.level_horizon = False
    config.model.max_turn_deg = (10.0, 0.0, 0.0)
    model = build_model(config, (8, 6))
    tokens = batch["patch_key"]
    params = model.instance.init(jax.random.key(0), tokens, method="viewpoint")["params"]
    hypotheses = model._hypotheses({"instance": params}, batch)
    camera = model._chosen_camera(hypotheses, jnp.zeros(2, jnp.int32))
    rotation = camera.cam_from_world[:, :3, :3]
    np.testing.assert_allclose(jnp.linalg.det(rotation), 1.0, atol=1e-5)
    if kind == "euler_angle":  # only about x
        np.testing.assert_allclose(rotation[:, 0], [[1.0, 0.0, 0.0]] * 2, atol=1e-6)
        assert jnp.all(rotation[:, 2, 2] >= np.cos(np.deg2rad(10.1)))


@pytest.mark.parametrize("tokens", ["patch_key", "patch_out"])
def test_viewpoints_are_read_from_the_tokens_that_the_setting_names(tokens, batch):
    config = horse.get_config("test")
    config.model.viewpoint_tokens = tokens
    model = build_model(config, (8, 6))
    params = model.instance.init(jax.random.key(0), batch[tokens], method="viewpoint")["params"]
    params["viewpoint_head"]["conv_1"]["kernel"] += 0.1
    seen = model._hypotheses({"instance": params}, batch).logits
    for name in ("patch_key", "patch_out"):
        other = model._hypotheses({"instance": params}, batch | {name: -batch[name]}).logits
        assert np.array_equal(seen, other) == (name != tokens)


def test_a_mirror_image_has_the_mirrored_viewpoint(model, batch):
    params = model.instance.init(jax.random.key(0), batch["patch_key"], method="viewpoint")
    params["params"]["viewpoint_head"]["conv_1"]["kernel"] += 0.1
    params = {"instance": params["params"]}
    plain = model._hypotheses(params, batch)
    mirror = model._hypotheses(params, {"patch_key": batch["patch_key"][:, :, ::-1]})
    flip = jnp.array([-1.0, 1.0, 1.0])
    partner = jnp.array([1, 0, 3, 2])
    # The mean of the same two numbers, in another order.
    np.testing.assert_allclose(mirror.logits, plain.logits[:, partner], rtol=1e-6)
    expected = plain.orientation[:, partner] * flip
    np.testing.assert_allclose(mirror.orientation, expected, atol=1e-6)
    np.testing.assert_allclose(mirror.translation_cam, plain.translation_cam * flip, atol=1e-6)
    assert not np.allclose(plain.logits, plain.logits[:, partner], atol=1e-3)


@pytest.fixture(scope="module")
def target(model, params, batch) -> jax.Array:
    """Silhouettes of the animals in other poses than the networks read off the images."""
    rest = model._prior_shape(params, STAGE).mesh
    rig = model._rig(params, batch, rest, STAGE)
    hypotheses = model._hypotheses(params, batch)
    camera = model._chosen_camera(hypotheses, jnp.zeros(2, jnp.int32))
    angles = 0.35 * jax.random.normal(jax.random.key(1), (2, 20, 3))
    verts, _ = model._pose(rig, angles, STAGE)
    return render_silhouette(verts, rest.faces, camera, image_size=32, samples=2)


@pytest.mark.slow
def test_refinement_brings_the_pose_nearer_to_the_silhouette(model, params, batch, target):
    rest = model._prior_shape(params, STAGE).mesh
    rig = model._rig(params, batch, rest, STAGE)
    camera = model._chosen_camera(model._hypotheses(params, batch), jnp.zeros(2, jnp.int32))

    @jax.jit
    def errors(angles, camera):
        verts, _ = model._pose(rig, angles, STAGE)
        alpha = render_silhouette(verts, rest.faces, camera, image_size=32, samples=2)
        return mask_loss(alpha, target, jnp.ones_like(target))

    start = jnp.zeros((2, 20, 3))
    angles, moved = jax.jit(model._refine_pose, static_argnums=4)(rig, start, camera, target, STAGE)
    before, after = errors(start, camera), errors(angles, moved)
    # Silhouettes of this very animal can be met; most of the error must go in every image.
    assert np.all(after < 0.5 * before)
    # Only the position of a camera is refined, not its direction.
    np.testing.assert_array_equal(moved.cam_from_world[:, :3, :3], camera.cam_from_world[:, :3, :3])


@pytest.fixture(scope="module")
def clip_model() -> Pony:
    config = horse.get_config("test")
    config.data.clip_frames = 2
    config.loss.flow = 1.0
    return build_model(config, (8, 6))


@pytest.mark.slow
def test_flow_brings_the_pose_of_the_next_frame_nearer_to_the_truth(clip_model, params, batch):
    model = clip_model
    rest = model._prior_shape(params, STAGE).mesh
    rig = model._rig(params, batch, rest, STAGE)
    chosen = jnp.zeros(2, jnp.int32)
    one_view = {name: jnp.stack([value[0]] * 2) for name, value in batch.items()}
    camera = model._chosen_camera(model._hypotheses(params, one_view), chosen)
    still = jnp.zeros((20, 3))
    truth = 0.1 * jax.random.normal(jax.random.key(1), (20, 3))

    def see(next_angles):
        verts, _ = model._pose(rig, jnp.stack([still, next_angles]), STAGE)
        visible = model._find_surface(verts, rest, camera, STAGE)
        return verts, visible, composite(visible, jnp.ones((1024, 1)), samples=2)

    _, visible, alpha = jax.jit(see)(truth)
    clip = {
        "mask": (alpha > 0.5).astype(jnp.float32),
        "valid": jnp.ones_like(alpha),
        "flow": render_flow(visible, num_frames=2, samples=2),
        "flow_valid": jnp.ones_like(alpha),
    }
    adam = optax.adam(0.02)

    @jax.jit
    def descend(angles, moments):
        def loss(angles):
            _, visible, alpha = see(angles)
            return jnp.sum(model._flow_losses(visible, alpha, clip, chosen).per_pair)

        value, gradient = jax.value_and_grad(loss)(angles)
        updates, moments = adam.update(gradient, moments)
        return optax.apply_updates(angles, updates), moments, value

    angles, moments, values = still, adam.init(still), []
    for _ in range(40):
        angles, moments, value = descend(angles, moments)
        values.append(float(value))
    assert values[-1] < 0.05 * values[0]

    # What the first frame shows has found its place in the second.
    shown = jnp.unique(rest.faces[np.unique(visible.coverage[0, ..., 3].astype(int))[1:] - 1])

    @jax.jit
    def error(angles):
        place, wanted = (see(a)[1].verts_clip[1, shown] for a in (angles, truth))
        return jnp.mean(jnp.linalg.norm((place - wanted)[:, :2], axis=-1))

    assert error(angles) < 0.35 * error(still)


@pytest.mark.slow
def test_flow_counts_in_the_loss_of_clips_alone(model, clip_model, params, batch):
    rng = np.random.default_rng(1)
    ones = np.ones((2, 32, 32, 1), np.float32)
    # Two frames alike have the same viewpoint hypotheses, and no flow.
    alike = {name: np.stack([value[0]] * 2) for name, value in batch.items()}
    clip = alike | {
        "mask": ones,
        "valid": ones,
        "distance_inside": ones,
        "distance_outside": 0 * ones,
        "feature": rng.uniform(size=(2, 32, 32, 16)).astype(np.float32),
        "flow": rng.uniform(-0.1, 0.1, (2, 32, 32, 2)).astype(np.float32),
        "flow_valid": ones,
    }

    def run(model):
        always_best = dataclasses.replace(
            model.schedule, best_from=-2, best_full=-1, best_share=1.5
        )
        model = dataclasses.replace(model, schedule=always_best)
        loss, aux = jax.jit(model.loss, static_argnums=4)(
            params, clip, jnp.int32(7), jax.random.key(1), STAGE
        )
        return float(loss), {name: float(value) for name, value in aux["metrics"].items()}

    (loss_without, without), (loss, terms) = run(model), run(clip_model)
    assert "flow" not in without
    # Uniform flow from -0.1 to 0.1 against none, an image of the probability that they have.
    assert terms["flow"] == pytest.approx(0.1**2 / 3 * 4 * terms["best_probability"], rel=0.1)
    learned = terms["hypothesis_score"] - without["hypothesis_score"]
    assert loss - loss_without == pytest.approx(terms["flow"] + learned, rel=0.01)
    for name in without.keys() - {"hypothesis_score"}:
        assert terms[name] == pytest.approx(without[name], rel=1e-4, abs=1e-7)


def test_no_hypothesis_is_ever_without_weight(model):
    config = horse.get_config("test")
    share = config.schedule.uniform_share
    sure = Hypotheses(jnp.array([[0.0, 9.0, 9.0, 9.0]]), jnp.zeros((1, 4, 3)), jnp.zeros((1, 3)))

    def probabilities(step):
        return np.asarray(model._probabilities(sure, step))[0]

    assert 0 < share < 1
    np.testing.assert_allclose(probabilities(0), 0.25)
    late = probabilities(config.num_steps)
    np.testing.assert_allclose(late[1:], share / 4, rtol=1e-6)
    np.testing.assert_allclose(late[0], 1 - 3 * share / 4, rtol=1e-6)


@pytest.mark.slow
def test_refinement_brings_colours_nearer_to_the_photograph(model, params, batch):
    hypotheses = model._hypotheses(params, batch)
    camera = model._chosen_camera(hypotheses, jnp.zeros(2, jnp.int32))
    rest = model._prior_shape(params, STAGE).mesh
    verts = jnp.broadcast_to(rest.verts, (2, *rest.verts.shape))
    visible = model._find_surface(verts, rest, camera, STAGE)
    # The upper half is animal.
    upper = jnp.zeros((2, 32, 32, 1)).at[:, :16].set(1.0)

    @jax.jit
    def colours(appearance):
        """An image without supersampling; black where there is no surface."""
        shaded = model._shade(params, appearance, visible)
        rows = jnp.zeros((2 * 32 * 32, 3))
        rgb = shaded.albedo * surface_shading(visible.surface, shaded.light)
        rows = rows.at[visible.surface.pixel].set(rgb, mode="drop")
        return rows.reshape(2, 32, 32, 3)

    start = model._apply(params, "appearance", batch["patch_out"])
    photograph = colours(start + 10 * jax.random.normal(jax.random.key(1), start.shape))
    refined = jax.jit(model._refine_appearance)(params, start, visible, photograph, upper)

    def errors(appearance):
        return jnp.mean((colours(appearance) - photograph) ** 2 * upper, axis=(1, 2, 3))

    # Colours that this very model has made can be met; most of the error must go in every image.
    assert np.all(errors(refined) < 0.5 * errors(start))


@pytest.mark.slow
def test_each_image_is_refined_on_its_own(model, params, batch):
    # Few steps: Adam blows the rounding of a gradient near 0 up to a step of its full rate, and
    # from there on two descents part.
    few = dataclasses.replace(model, refine_steps=5)
    both = _predict(few, params, batch)
    one = _predict(few, params, {name: value[:1] for name, value in batch.items()})
    # Adam normalises each angle on its own; what is left is the order of float32 sums, through 5
    # steps of up to 0.02 rad.
    np.testing.assert_allclose(both.angles_rad[:1], one.angles_rad, atol=5e-3)
    # A silhouette that moved by 5e-3 of a radian changes few pixels, those by a sample's share.
    assert np.mean(np.abs(both.image[:1] - one.image)) < 5e-3


@pytest.mark.slow
def test_without_refinement_the_networks_answer_stands(model, params, batch):
    plain = dataclasses.replace(model, refine_steps=0)
    prediction = _predict(plain, params, batch)
    # Untrained networks say: at rest.
    np.testing.assert_array_equal(prediction.angles_rad, 0.0)
    assert np.abs(_predict(model, params, batch).angles_rad).max() > 0


def test_a_silhouette_is_the_coverage_of_a_composite(model, params):
    rest = jax.jit(model._prior_shape, static_argnums=1)(params, STAGE).mesh
    camera = model._camera(jnp.eye(3)[None], jnp.array([[0.1, 0.0, 0.3]]))

    @jax.jit
    def both_ways(verts):
        sizes = {"image_size": 32, "samples": 2}
        visible = find_surface(verts, rest.verts, rest.faces, camera, max_pixels=1024, **sizes)
        covered = composite(visible, jnp.ones((1024, 1)), samples=2)
        return render_silhouette(verts, rest.faces, camera, **sizes), covered

    silhouette, covered = both_ways(rest.verts[None])
    assert 0.05 < float(silhouette.mean()) < 0.95
    # The same samples, antialiased by the same kernel.
    np.testing.assert_allclose(silhouette, covered, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("with_background", [False, True])
def test_a_composite_is_the_mean_of_antialiased_samples(model, params, samples, with_background):
    rest = jax.jit(model._prior_shape, static_argnums=1)(params, STAGE).mesh
    camera = model._camera(jnp.eye(3)[None].repeat(2, 0), jnp.array([[0.1, 0.0, 0.3], [0, 0.2, 0]]))
    verts = jnp.stack([rest.verts, rest.verts * 1.1])
    values = jax.random.uniform(jax.random.key(0), (2048, 7))
    # Another colour in every pixel, so that none is taken for its neighbour.
    behind = jax.random.uniform(jax.random.key(1), (32, 32, 7)) if with_background else None
    wanted = jax.random.uniform(jax.random.key(2), (2, 32, 32, 7))

    def slow(visible, values):
        image = jnp.zeros((2 * 32 * 32, 7)).at[visible.surface.pixel].set(values, mode="drop")
        back = jnp.zeros((32, 32, 7)) if behind is None else behind

        def repeat(pixels):
            return jnp.repeat(jnp.repeat(pixels, samples, axis=1), samples, axis=2)

        covered = visible.coverage[..., 3:] > 0
        fine = jnp.where(covered, repeat(image.reshape(2, 32, 32, 7)), repeat(back[None]))
        fine = rasterizer_ffi.antialias(fine, visible.coverage, visible.verts_clip, visible.faces)
        return fine.reshape(2, 32, samples, 32, samples, 7).mean(axis=(2, 4))

    def fast(visible, values):
        return composite(visible, values, samples=samples, background=behind)

    def image_and_grads(mix):
        def loss(verts, values):
            sizes = {"image_size": 32, "samples": samples, "max_pixels": 2048}
            visible = find_surface(verts, rest.verts, rest.faces, camera, **sizes)
            image = mix(visible, values)
            return jnp.sum((image - wanted) ** 2), image

        (_, image), grads = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(verts, values)
        return image, grads

    image, grads = image_and_grads(fast)
    slow_image, slow_grads = image_and_grads(slow)
    assert 0.05 < float(jnp.mean(abs(grads[1]).sum(-1) > 0))  # pixels that show the animal
    # A few roundings of numbers near 1.
    np.testing.assert_allclose(image, slow_image, atol=1e-6)
    for grad, slow_grad in zip(grads, slow_grads, strict=True):
        assert float(abs(slow_grad).max()) > 0
        np.testing.assert_allclose(grad, slow_grad, atol=1e-5 * float(abs(slow_grad).max()))


@pytest.mark.parametrize("kind", ["black", "white", "checkerboard"])
def test_a_background_shows_where_the_animal_does_not(model, params, kind):
    rest = jax.jit(model._prior_shape, static_argnums=1)(params, STAGE).mesh
    camera = model._camera(jnp.eye(3)[None], jnp.array([[0.1, 0.0, 0.3]]))
    sizes = {"image_size": 32, "samples": 2}
    behind = background_image(kind, 32)
    values = jax.random.uniform(jax.random.key(0), (1024, 3))

    @jax.jit
    def run(verts):
        visible = find_surface(verts, rest.verts, rest.faces, camera, max_pixels=1024, **sizes)
        covered = composite(visible, jnp.ones((1024, 3)), samples=2)
        before = composite(visible, values, samples=2, background=jnp.asarray(behind))
        return covered, before, composite(visible, values, samples=2)

    covered, before, alone = run(rest.verts[None])
    edge = (covered > 0) & (covered < 1)
    assert 0 < edge.mean() < 0.3
    if kind == "checkerboard":
        # Antialiasing takes a neighbour's colour, so at the silhouette two cells may mix.
        np.testing.assert_allclose(behind[:9, ::8, 0], [[0.66, 0.33] * 2] * 8 + [[0.33, 0.66] * 2])
    else:
        edge = np.zeros_like(edge)
        assert np.all(behind == (kind == "white"))
    mixed = alone + (1 - covered) * behind
    np.testing.assert_allclose(np.where(edge, 0, before), np.where(edge, 0, mixed), atol=1e-6)


def test_an_unknown_background_is_refused():
    with pytest.raises(ValueError, match=r"background: expected one of .*, got 'grey'"):
        background_image("grey", 8)


@pytest.mark.slow
def test_the_leg_gap_opens_the_middle_and_leaves_the_sides(model, params, batch):
    rest = model._prior_shape(params, STAGE).mesh
    rig = model._rig(params, batch, rest, STAGE)
    foot, hip = rig.bones[0, model.instance.skeleton.num_body_bones :][jnp.array([0, 2]), [1, 0]]
    below = hip + 0.9 * (foot - hip)
    in_plane = below * jnp.array([0.0, 1.0, 1.0])

    def sdf(params, point):
        return model.prior.apply({"params": params["prior"]}, point[None])[0][0]

    adam = optax.adam(3e-3)

    @jax.jit
    def descend(params, moments, key):
        loss, grads = jax.value_and_grad(model._leg_gap)(params, rig, key)
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
