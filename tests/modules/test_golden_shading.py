"""What a pixel shows, put together from fields, light and normals with the original's weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.interop.torch_names import coordinate_mlp, mlp, module_params
from pony_jax.modules.fields import FeatureField, TextureField
from pony_jax.modules.heads import LightHead
from pony_jax.ops.numerics import safe_normalize
from pony_jax.ops.shading import directional_shading, shading_normal
from rasterizer_ffi.pooled_antialiasing import _mean_of_samples

POSITIONS = ("gb_pos", "gb_normal", "gb_geometric_normal", "gb_tex_pos", "view_pos", "w2c", "feat")


def params_of(case, kind):
    """Parameters (kind w) or their gradients (kind g/w) of the three networks, in our layout."""

    def part(prefix, path_of):
        prefix = f"{kind}/{prefix}."
        state = {
            k.removeprefix(prefix): v
            for k, v in case.items()
            if k.startswith(prefix) and not k.endswith("min_max")
        }
        if not state:
            return {}
        return module_params(state, path_of)

    texture = part("texture", lambda name: coordinate_mlp(name, conditioned=True))
    if texture:  # of nine channels, three are read
        layers = texture["mlp"]
        last = layers[max(layers)]["dense"]
        last["kernel"] = last["kernel"][:, :3]
    return {
        "texture": {"network": texture},
        "dino": {"network": part("dino", coordinate_mlp)},
        "light": {"mlp": part("light.mlp", mlp)},
    }


@pytest.mark.parametrize(
    "name",
    [
        "shade_two1_light1_tex1",
        "shade_two0_light1_tex1",
        "shade_two1_light0_tex1",
        "shade_two1_light1_tex0",
    ],
)
def test_pixels_equal_the_original(golden_case, equals_original, name):
    shared = golden_case("model_06_render", "shade")
    case = golden_case("model_06_render", name)
    cfg, light_cfg = shared["cfg"], golden_case("model_06_render", "light")["cfg"]
    grid_scale = 0.9 * 2 * np.pi / cfg["embedder_scalar"]
    texture, dino = cfg["texture"], cfg["dino"]
    texture_field = TextureField(
        texture["nf"],
        texture["num_layers"],
        texture["n_harmonic_functions"],
        grid_scale,
        texture["symmetrize"],
    )
    feature_field = FeatureField(
        dino["cout"],
        dino["nf"],
        dino["num_layers"],
        dino["n_harmonic_functions"],
        grid_scale,
        mirror=False,
    )
    light_head = LightHead(light_cfg["hidden"], light_cfg["num_layers"])
    two_sided, has_light, has_texture = (f"{part}1" in name for part in ("two", "light", "tex"))
    b, h, w, _ = case["in/gb_pos"].shape
    image = jnp.repeat(jnp.arange(b), h * w)
    low, high = shared["w/texture.min_max"][:3].T

    @jax.jit
    def run(params, inputs):
        flat = {k: v.reshape(b * h * w, 3) for k, v in inputs.items() if k.startswith("gb_")}
        camera = inputs["view_pos"][:, 0, 0][image]
        normal = shading_normal(
            flat["gb_normal"],
            flat["gb_geometric_normal"],
            camera - flat["gb_pos"],
            two_sided=two_sided,
        )
        out = {"normal": (normal + 1) / 2}
        albedo = jnp.ones((b * h * w, 3))
        if has_texture:
            albedo = texture_field.apply(
                {"params": params["texture"]}, flat["gb_tex_pos"], inputs["feat"], image
            )
            albedo = low + (high - low) * albedo
        out["kd"] = out["shaded"] = albedo
        if has_light:
            light = light_head.apply({"params": params["light"]}, inputs["feat"])
            cam_from_world = inputs["w2c"][image, :3, :3]
            normal_cam = safe_normalize(jnp.einsum("nij,nj->ni", cam_from_world, normal))
            out["shading"] = directional_shading(normal_cam, *(part[image] for part in light))
            out["shaded"] = out["shading"] * albedo
        out["dino_pred"] = feature_field.apply({"params": params["dino"]}, flat["gb_tex_pos"])
        return {k: v.reshape(b, h, w, -1) for k, v in out.items()}

    params = params_of(shared, "w")
    inputs = {k: jnp.asarray(case[f"in/{k}"]) for k in POSITIONS}
    out, pull = jax.vjp(run, params, inputs)
    for key, value in out.items():
        equals_original(key, value, case[key][..., :-1], 1e-4)  # the last channel is alpha

    cotangents = {k: jnp.zeros_like(v) for k, v in out.items()} | {
        "shaded": jnp.asarray(case["cot_shaded"][..., :-1]),
        "dino_pred": jnp.asarray(case["cot_dino"][..., :-1]),
    }
    by_params, by_inputs = pull(cotangents)
    for key, gradient in by_inputs.items():
        expected = case[f"g/in/{key}"]
        if key in ("gb_normal", "gb_geometric_normal"):
            # On background pixels the normals are zero, where the original's gradient is 1e10.
            background = np.all(case[f"in/{key}"] == 0, axis=-1, keepdims=True)
            expected = np.where(background, 0.0, expected)
        equals_original(f"gradient of {key}", gradient, expected, 1e-3)
    expected = dict(jax.tree_util.tree_leaves_with_path(params_of(case, "g/w")))
    assert expected
    for path, gradient in jax.tree_util.tree_leaves_with_path(by_params):
        key = jax.tree_util.keystr(path, simple=True, separator="/")
        if path in expected:
            equals_original(f"gradient of {key}", gradient, expected[path], 1e-3)
        else:  # a network that this case leaves out
            assert not np.any(gradient), key


def test_light_reaches_the_image_vector(golden_case, equals_original):
    """Gradients through shading to the head's weights and its input."""
    source, case = (golden_case("model_06_render", name) for name in ("light", "lightshade"))
    head = LightHead(source["cfg"]["hidden"], source["cfg"]["num_layers"])
    normal, albedo = jnp.asarray(case["in/normal"]), jnp.asarray(case["in/kd"])

    @jax.jit
    @jax.grad
    def gradients(learned):
        light = head.apply({"params": learned["params"]}, learned["feat"])
        parts = (
            jnp.broadcast_to(x[:, None, None], (*normal.shape[:3], x.shape[-1])) for x in light
        )
        shading = directional_shading(normal, *parts)
        return jnp.sum(shading * case["cot_shading"]) + jnp.sum(
            shading * albedo * case["cot_shaded"]
        )

    params = params_of({f"w/light.{k[2:]}": v for k, v in source.items() if k[:2] == "w/"}, "w")
    got = gradients({"params": params["light"], "feat": jnp.asarray(source["in/feat"])})
    equals_original("gradient of feat", got["feat"], case["g/in/feat"], 1e-3)
    wanted = {f"g/w/light.{k[4:]}": v for k, v in case.items() if k[:4] == "g/w/"}
    for path, expected in jax.tree_util.tree_leaves_with_path(params_of(wanted, "g/w")["light"]):
        key = jax.tree_util.keystr(path, simple=True, separator="/")
        value = dict(jax.tree_util.tree_leaves_with_path(got["params"]))[path]
        equals_original(f"gradient of {key}", value, expected, 1e-3)


def test_samples_of_a_pixel_are_averaged(golden_case, equals_original):
    case = golden_case("model_06_render", "scale")
    samples = case["in/hi"].shape[1] // case["avg_pool"].shape[1]
    equals_original(
        "mean", _mean_of_samples(jnp.asarray(case["in/hi"]), samples), case["avg_pool"], 1e-6
    )
