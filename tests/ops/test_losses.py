"""Loss terms against the original's, and their corner cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.ops import losses


def channels_last(array):
    """[B, F, c, H, W] or [B, F, H, W] of the original to [b, h, w, c]."""
    if array.ndim == 4:
        array = array[:, :, None]
    return jnp.asarray(np.moveaxis(array.reshape(-1, *array.shape[2:]), 1, -1))


@pytest.mark.parametrize("name", ["rec_single", "rec_flow", "rec_nodino", "rec_bgmode"])
def test_image_losses_equal_the_original(golden_case, equals_original, name):
    case = golden_case("model_07_losses", name)
    inputs = {k[3:]: channels_last(v) for k, v in case.items() if k.startswith("in/")}
    inside, outside = inputs["mask_dt"][..., :1], inputs["mask_dt"][..., 1:]
    mask, valid = inputs["mask_gt"], inputs["mask_valid"]

    @jax.jit
    def terms(image, alpha, feature):
        overlap = losses.overlap_mask(alpha, mask, valid)
        # With the background in the picture, colours count everywhere.
        whole = jnp.ones_like(overlap)
        rgb_where = whole if case["cfg"]["background_mode"] == "input" else overlap
        out = {
            "mask_loss": losses.mask_loss(alpha, mask, valid),
            "mask_dt_loss": losses.mask_distance_loss(alpha, outside),
            "mask_inv_dt_loss": losses.mask_inverse_distance_loss(alpha, inside),
            "rgb_loss": losses.rgb_loss(image, inputs["image_gt"], rgb_where),
        }
        if feature is not None:
            out["dino_feat_im_loss"] = losses.feature_loss(feature, inputs["dino_gt"], overlap)
        return out

    keys = [k for k in ("image_pred", "mask_pred", "dino_pred") if k in inputs]
    preds = [inputs[k] for k in keys] + [None] * (3 - len(keys))
    for key, value in terms(*preds).items():
        equals_original(key, value, case[key].reshape(-1), 1e-6)
    gradients = jax.grad(
        lambda *p: sum(jnp.sum(v * case[f"cot/{k}"].reshape(-1)) for k, v in terms(*p).items()),
        tuple(range(len(keys))),
    )(*preds)
    for key, gradient in zip(keys, gradients, strict=True):
        equals_original(f"gradient of {key}", gradient, channels_last(case[f"g/in/{key}"]), 1e-6)


@pytest.mark.parametrize("name", ["rec_flow", "rec_bgmode"])
def test_flow_loss_equals_the_original(golden_case, equals_original, name):
    case = golden_case("model_07_losses", name)
    first = {k: case[f"in/{k}"][:, :-1] for k in ("mask_pred", "mask_gt", "mask_valid")}
    overlap = losses.overlap_mask(*(channels_last(x) for x in first.values()))
    pred, target = (channels_last(case[f"in/flow_{k}"]) for k in ("pred", "gt"))
    value, pull = jax.vjp(lambda pred: losses.flow_loss(pred, target, overlap), pred)
    equals_original("loss", value, case["flow_loss"].reshape(-1), 1e-6)
    assert np.array_equal(value == 0, case["large_flow"].reshape(-1) == 1)
    (gradient,) = pull(jnp.asarray(case["cot/flow_loss"].reshape(-1)))
    equals_original("gradient", gradient, channels_last(case["g/in/flow_pred"]), 1e-6)


def test_flow_without_an_overlap_costs_nothing():
    flow = jnp.ones((2, 4, 4, 2))
    value, gradient = jax.value_and_grad(
        lambda pred: jnp.sum(losses.flow_loss(pred, 0 * flow, jnp.zeros((2, 4, 4, 1))))
    )(flow)
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


def test_sdf_sign_loss_equals_the_original(golden_case, equals_original):
    edges = jnp.asarray(golden_case("model_02_dmtet", "gridown")["all_edges"])
    names = [f"marchown_{n}" for n in ("ellipsoid", "mlp", "torus", "twoblobs")]
    value_and_grad = jax.jit(jax.value_and_grad(losses.sdf_sign_loss))
    for name in [*names, "zeros_own"]:
        case = golden_case("model_02_dmtet", name)
        value, gradient = value_and_grad(jnp.asarray(case["in/sdf"][:, 0]), edges)
        equals_original(name, value, case["bce_loss"], 1e-5)
        if "g_bce/in/sdf" in case:
            equals_original(f"{name} gradient", gradient[:, None], case["g_bce/in/sdf"], 1e-5)


def test_eikonal_loss_equals_the_original(golden_case, equals_original):
    case = golden_case("model_02_dmtet", "eikonal")
    equals_original("loss", losses.eikonal_loss(jnp.asarray(case["gradients"])), case["loss"], 1e-5)


def test_regularisers_equal_the_original(golden_case, equals_original):
    case = golden_case("model_07_losses", "fwd_mid")
    angles = jnp.asarray(case["in/arti_params"])
    angles = angles.reshape(-1, *angles.shape[2:])
    offsets = jnp.asarray(case["in/deformation"])
    equals_original("angles", losses.articulation_loss(angles), case["metric/arti_reg_loss"], 1e-6)
    padded = jnp.pad(offsets, ((0, 0), (0, 13), (0, 0)))
    for x in (offsets, padded):
        value = losses.deformation_loss(x, offsets.shape[1])
        equals_original("offsets", value, case["metric/deformation_reg_loss"], 1e-6)


def test_overlap_equals_a_loop():
    key = jax.random.split(jax.random.key(0), 3)
    alpha, mask, valid = (
        (jax.random.uniform(k, (2, 9, 7, 1)) > 0.01).astype(jnp.float32) for k in key
    )
    both = np.asarray(alpha * mask * valid)[..., 0]
    expected = np.zeros_like(both)
    for y in range(1, 8):
        for x in range(1, 6):
            expected[:, y, x] = both[:, y - 1 : y + 2, x - 1 : x + 2].min(axis=(1, 2))
    np.testing.assert_array_equal(losses.overlap_mask(0.3 * alpha, mask, valid)[..., 0], expected)
    assert expected.any()


def test_perfect_render_costs_nothing():
    mask = jnp.zeros((3, 16, 16, 1)).at[:, 4:12, 4:12].set(1.0)
    image = jnp.broadcast_to(mask, (3, 16, 16, 3)) * 0.5
    overlap = losses.overlap_mask(mask, mask, jnp.ones_like(mask))
    for value in (
        losses.mask_loss(mask, mask, jnp.ones_like(mask)),
        losses.mask_distance_loss(mask, 1 - mask),
        losses.mask_inverse_distance_loss(mask, mask),
        losses.rgb_loss(image, image, overlap),
        losses.feature_loss(image, image, overlap),
    ):
        np.testing.assert_array_equal(value, jnp.zeros(3))
    assert float(jnp.sum(overlap)) == 3 * 6 * 6


def test_score_loss_teaches_only_the_score():
    score, target = jnp.array([1.0, 2.0]), jnp.array([3.0, 2.5])
    np.testing.assert_allclose(losses.hypothesis_score_loss(score, target), [4.0, 0.25])
    gradients = jax.grad(lambda s, t: jnp.sum(losses.hypothesis_score_loss(s, t)), (0, 1))(
        score, target
    )
    np.testing.assert_allclose(gradients[0], [-4.0, -1.0])
    np.testing.assert_array_equal(gradients[1], 0.0)


def test_flat_places_of_the_sdf_have_no_gradient():
    value, gradient = jax.value_and_grad(losses.eikonal_loss)(jnp.zeros((4, 3)))
    assert float(value) == 1.0
    np.testing.assert_array_equal(gradient, 0.0)


def test_nothing_to_average_gives_zero():
    edges = jnp.array([[0, 1], [1, 2]])
    value, gradient = jax.value_and_grad(losses.sdf_sign_loss)(jnp.ones(3), edges)
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, 0.0)
    value, gradient = jax.value_and_grad(losses.deformation_loss)(jnp.zeros((2, 5, 3)), 0)
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


def test_silhouette_loss_is_the_mean_cross_entropy():
    logits = jnp.array([[[[0.0], [2.0]], [[-3.0], [50.0]]]])
    mask = jnp.array([[[[1.0], [0.0]], [[0.0], [1.0]]]])
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    expected = -np.mean(np.log(np.where(np.asarray(mask) > 0, p, 1 - p)))
    np.testing.assert_allclose(losses.silhouette_loss(logits, mask), expected, rtol=1e-6)


def test_outside_loss_counts_depth_and_missing_margin():
    # 0.5 deep and 0.1 to keep; just outside, 0.05 short of the margin; far outside.
    sdf = jnp.array([0.5, -0.05, -2.0])
    np.testing.assert_allclose(losses.outside_loss(sdf, margin=0.1), 0.65 / 3, rtol=1e-6)
    np.testing.assert_allclose(
        jax.grad(lambda s: losses.outside_loss(s, margin=0.1))(sdf), [1 / 3, 1 / 3, 0.0], rtol=1e-6
    )


def test_mask_pyramid_of_one_wrong_pixel():
    alpha = jnp.zeros((1, 32, 32, 1)).at[0, 17, 18].set(1.0)
    mask, valid = jnp.zeros_like(alpha), jnp.ones_like(alpha)
    # Windows of side s lie s/2 apart, so four hold the pixel, of (64/s - 1)^2: s * 4 / s^4 / n.
    expected = sum(4 / s**3 / (64 / s - 1) ** 2 for s in (4, 8, 16))
    np.testing.assert_allclose(losses.mask_pyramid_loss(alpha, mask, valid), expected, rtol=1e-6)


def test_mask_pyramid_pulls_a_leg_beside_its_place():
    mask = jnp.zeros((1, 16, 16, 1)).at[0, 2:14, 8].set(1.0)

    def loss(shift):
        """A leg three pixels to the left, `shift` pixels nearer."""
        alpha = jnp.zeros_like(mask).at[0, 2:14, 5].set(1 - shift).at[0, 2:14, 6].set(shift)
        return losses.mask_pyramid_loss(alpha, mask, jnp.ones_like(mask))[0]

    assert jax.grad(loss)(0.5) < 0


def test_mask_pyramid_counts_a_rest_of_pixels():
    alpha = jnp.zeros((1, 13, 9, 1)).at[0, 12, 8].set(1.0)
    value = losses.mask_pyramid_loss(alpha, jnp.zeros_like(alpha), jnp.ones_like(alpha))
    assert value[0] > 0
