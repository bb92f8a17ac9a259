"""Fields, heads and networks with the original's weights: values, and gradients of everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.interop.torch_names import (
    articulation_network,
    coordinate_mlp,
    mlp,
    module_params,
    token_encoder,
)
from pony_jax.modules.articulation import ArticulationMLP, ArticulationNetwork
from pony_jax.modules.coordinate_mlp import CoordinateMLP
from pony_jax.modules.fields import DeformationField, SDFField
from pony_jax.modules.heads import LightHead, TokenEncoder
from pony_jax.modules.linear import MLP
from pony_jax.ops.viewpoint import decode_hypotheses, num_viewpoint_outputs


def weights_of(case, prefix="", kind="w"):
    """Weights (or, of kind g/w, their gradients) of one module of a golden case."""
    prefix = f"{kind}/{prefix}"
    return {
        k.removeprefix(prefix): v
        for k, v in case.items()
        if k.startswith(prefix) and not k.endswith("min_max")
    }


def conditioned(name):
    return coordinate_mlp(name, conditioned=True)


def check(equals_original, case, run, params, inputs, path_of, wrap=lambda tree: tree, **options):
    """Compares outputs, gradients of inputs and gradients of parameters.

    Args:
      run: of parameters and inputs; `inputs` holds them by their names in the golden case.
      wrap: puts a module's parameters at their place in `params`.
    """
    cot = options.get("cot", "cot")
    expected = case[options.get("out", "out")]
    out, pull = jax.vjp(jax.jit(run), params, *inputs.values())
    equals_original("output", out, expected, 1e-4)
    by_params, *by_inputs = pull(jnp.asarray(case[cot]))
    for name, gradient in zip(inputs, by_inputs, strict=True):
        wanted = case[f"g/in/{name}"]
        if name == "x" and wanted.ndim == 4:
            wanted = np.moveaxis(wanted, 1, -1)
        equals_original(f"gradient of {name}", gradient, wanted, 1e-3)
    wanted = wrap(module_params(weights_of(case, options.get("prefix", ""), "g/w"), path_of))
    got, wanted = (dict(jax.tree_util.tree_leaves_with_path(t)) for t in (by_params, wanted))
    assert got.keys() == wanted.keys()
    for path, gradient in got.items():
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        equals_original(f"gradient of {name}", gradient, wanted[path], 1e-3)


@pytest.mark.parametrize("name", ["mlp_1layer", "mlp_2layer", "mlp_5layer"])
def test_mlp(golden_case, equals_original, name):
    case = golden_case("model_01_networks", name)
    cfg = case["cfg"]
    network = MLP(cfg["cout"], cfg["nf"], cfg["num_layers"])
    final = jax.nn.sigmoid if cfg["activation"] else lambda x: x
    check(
        equals_original,
        case,
        lambda p, x: final(network.apply({"params": p}, x)),
        module_params(weights_of(case), mlp),
        {"x": jnp.asarray(case["in/x"])},
        mlp,
    )


@pytest.mark.parametrize("name", ["coord_plain", "coord_feat_sym_minmax", "coord_noembed_sym"])
def test_coordinate_mlp(golden_case, equals_original, name):
    case = golden_case("model_01_networks", name)
    cfg = case["cfg"]
    network = CoordinateMLP(
        features=cfg["cout"],
        hidden=cfg["nf"],
        num_layers=cfg["num_layers"],
        num_frequencies=cfg["n_harmonic_functions"],
        frequency_scale=cfg["embedder_scalar"],
        mirror=cfg.get("symmetrize", False),
    )
    low, high = np.array(cfg.get("min_max", [[0, 1]]), np.float32).T
    x = jnp.asarray(case["in/x"])
    inputs, path_of = {"x": x}, coordinate_mlp
    if "in/feat" in case:
        inputs["feat"], path_of = jnp.asarray(case["in/feat"]), conditioned

    def run(params, x, feature=None):
        image = None
        if feature is not None:
            image = jnp.repeat(jnp.arange(len(x)), x[0].size // 3)
        out = network.apply({"params": params}, x.reshape(-1, 3), feature, image)
        if "activation" in cfg:
            out = jax.nn.sigmoid(out) * (high - low) + low
        return out.reshape(*x.shape[:-1], -1)

    check(equals_original, case, run, module_params(weights_of(case), path_of), inputs, path_of)


def test_deformation_field(golden_case, equals_original):
    case = golden_case("model_04_predictor", "deform")
    cfg = case["cfg"]
    # The case gives the angular frequency, which the field derives from the grid's scale.
    field = DeformationField(
        cfg["nf"],
        cfg["num_layers"],
        cfg["n_harmonic_functions"],
        grid_scale=0.9 * 2 * np.pi / cfg["embedder_scalar"],
        mirror=cfg["symmetrize"],
    )
    params = {"network": module_params(weights_of(case), conditioned)}
    verts, feature = jnp.asarray(case["in/verts"][0]), jnp.asarray(case["in/feat"])

    @jax.jit
    def run(params, verts, feature):
        offsets = field.apply({"params": params}, verts, feature)
        return offsets, verts + offsets

    (offsets, moved), pull = jax.vjp(run, params, verts, feature)
    equals_original("offsets", offsets, case["deformation"], 1e-4)
    equals_original("vertices", moved, case["verts"], 1e-4)
    gradients = pull((jnp.asarray(case["cot_deformation"]), jnp.asarray(case["cot_verts"])))
    equals_original("gradient of vertices", gradients[1], case["g/in/verts"][0], 1e-3)
    equals_original("gradient of feature", gradients[2], case["g/in/feat"], 1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "sdf_ellipsoid_sym1",
        "sdf_sphere_sym1",
        "sdf_None_sym1",
        "sdf_0.3_sym1",
        "sdf_ellipsoid_sym0",
        "sdf_sphere_sym0",
    ],
)
def test_sdf_field(golden_case, equals_original, name):
    case = golden_case("model_02_dmtet", name)
    cfg = case["cfg"]
    is_shape = isinstance(cfg["init_sdf"], str)
    field = SDFField(
        cfg["init_sdf"] if is_shape else "constant",
        (1.0, 1.0, 2.0),
        0.0 if is_shape else float(cfg["init_sdf"] or 0.0),
        cfg["hidden_size"],
        cfg["num_layers"],
        cfg["embedder_freq"],
        float(cfg["grid_scale"]),
        cfg["symmetrize"],
    )
    params = {"network": module_params(weights_of(case, "mlp."), coordinate_mlp)}
    check(
        equals_original,
        case,
        lambda p, x: field.apply({"params": p}, x)[:, None],
        params,
        {"pts": jnp.asarray(case["in/pts"])},
        coordinate_mlp,
        wrap=lambda tree: {"network": tree},
        prefix="mlp.",
    )


def test_eikonal_term(golden_case, equals_original):
    case = golden_case("model_02_dmtet", "eikonal")
    cfg = case["cfg"]
    field = SDFField(
        "ellipsoid",
        (1.0, 1.0, 2.0),
        0.0,
        cfg["hidden_size"],
        cfg["num_layers"],
        cfg["embedder_freq"],
        float(cfg["grid_scale"]),
        cfg["symmetrize"],
    )
    params = {"network": module_params(weights_of(case, "mlp."), coordinate_mlp)}
    points = jnp.asarray(case["in/sample_points"])

    @jax.jit
    @jax.value_and_grad
    def run(params):
        slope = field.apply({"params": params}, points, method="gradient")
        return jnp.mean((jnp.linalg.norm(slope, axis=-1) - 1) ** 2)

    value, gradient = run(params)
    equals_original("loss", value, case["loss"], 1e-4)
    wanted = {"network": module_params(weights_of(case, "mlp.", "g/w"), coordinate_mlp)}
    for path, expected in jax.tree_util.tree_leaves_with_path(wanted):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        got = dict(jax.tree_util.tree_leaves_with_path(gradient))[path]
        equals_original(f"gradient of {name}", got, expected, 1e-3)


@pytest.mark.parametrize("name", ["encoder32", "encoder32_wide"])
def test_token_encoder(golden_case, equals_original, name):
    case = golden_case("model_01_networks", name)
    encoder = TokenEncoder(case["cfg"]["cout"], case["cfg"]["nf"])
    check(
        equals_original,
        case,
        lambda p, x: encoder.apply({"params": p}, x),
        module_params(weights_of(case), token_encoder),
        {"x": jnp.asarray(np.moveaxis(case["in/x"], 1, -1))},
        token_encoder,
    )


@pytest.mark.parametrize(
    "name", ["pose_quad_zeroy", "pose_quad_bird", "pose_oct", "pose_oct_zeroy"]
)
def test_viewpoint_head(golden_case, equals_original, name):
    """From tokens (keys, or outputs where the case says so) to decoded hypotheses."""
    case = golden_case("model_04_predictor", name)
    if "in/patch" not in case:
        pytest.skip("tokens and weights of the case are only in the full golden set")
    cfg = case["cfg"]
    width = len(case["w/network.0.weight"])
    head = TokenEncoder(num_viewpoint_outputs(cfg["rot_rep"]), width)

    def run(params, tokens):
        decoded = decode_hypotheses(
            head.apply({"params": params}, tokens),
            kind=cfg["rot_rep"],
            zero_y=cfg["lookat_zeroy"],
            max_trans_xy=cfg["max_trans_xy_range"],
            max_trans_z=cfg["max_trans_z_range"],
        )
        each = jnp.concatenate([decoded.logits[..., None], decoded.orientation], axis=-1)
        return jnp.concatenate([each.reshape(len(each), -1), decoded.translation_cam], axis=-1)

    params = module_params(weights_of(case), token_encoder)
    tokens = jnp.asarray(np.moveaxis(case["in/patch"], 1, -1))
    equals_original("raw", head.apply({"params": params}, tokens), case["raw"], 1e-4)
    case["g/in/x"] = case["g/in/patch"]
    check(equals_original, case, run, params, {"x": tokens}, token_encoder)


def test_light_head(golden_case, equals_original):
    case = golden_case("model_06_render", "light")
    cfg = case["cfg"]
    head = LightHead(cfg["hidden"], cfg["num_layers"])
    check(
        equals_original,
        case,
        lambda p, x: jnp.concatenate(head.apply({"params": p}, x), axis=-1),
        {"mlp": module_params(weights_of(case, "mlp."), mlp)},
        {"feat": jnp.asarray(case["in/feat"])},
        mlp,
        wrap=lambda tree: {"mlp": tree},
        prefix="mlp.",
        out="params",
    )


@pytest.mark.parametrize("kind", ["attention", "mlp"])
def test_articulation_network(golden_case, equals_original, kind):
    case = golden_case("model_01_networks", f"arti_{kind}")
    cfg = case["cfg"]
    sizes = {"hidden": cfg["nf"], "num_frequencies": cfg["n_harmonic_functions"]}
    if kind == "mlp":
        network = ArticulationMLP(num_layers=cfg["num_layers"], **sizes)
    else:
        network = ArticulationNetwork(
            num_blocks=cfg["num_layers"], num_heads=cfg["num_heads"], own_layers=False, **sizes
        )
    assert cfg["embedder_scalar"] == pytest.approx(0.9 * np.pi)
    check(
        equals_original,
        case,
        lambda p, x, position: network.apply({"params": p}, x, position),
        module_params(weights_of(case), articulation_network),
        {"x": jnp.asarray(case["in/x"]), "pos": jnp.asarray(case["in/pos"])},
        articulation_network,
    )
