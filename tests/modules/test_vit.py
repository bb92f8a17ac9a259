"""The vision transformer against the original's and against timm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.interop.torch_names import module_params, token_encoder, vit_params
from pony_jax.modules.heads import TokenEncoder
from pony_jax.modules.vit import ViT, resize_positions


def prefixed(case, prefix, kind="w"):
    """Weights (of kind g/w, their gradients) of one module of a golden case."""
    prefix = f"{kind}/{prefix}."
    return {k.removeprefix(prefix): v for k, v in case.items() if k.startswith(prefix)}


def channels_last(array):
    return np.moveaxis(array, 1, -1)


@pytest.mark.parametrize(
    "name", ["vit_none", "vit_none_interp", "vit_none_nonsquare", "vit_conv_256"]
)
def test_tokens_equal_the_original(golden_case, equals_original, name):
    case = golden_case("model_05_vit", name)
    weights = prefixed(case, "ViT")
    params = vit_params(weights)
    network = ViT(
        width=weights["cls_token"].shape[-1],
        depth=case["cfg"]["depth"],
        num_heads=case["cfg"]["num_heads"],
        position_side=len(params["positions"]),
    )
    pixels = jnp.asarray(channels_last(case["in/image_u8"]) / np.float32(255) * 2 - 1)
    tokens = jax.jit(network.apply)({"params": params}, pixels)
    rows, columns = tokens.key.shape[1:3]
    used = case["pos_embed_used"][0]
    equals_original("class position", params["class_position"], used[0], 0.0)
    positions = resize_positions(jnp.asarray(params["positions"]), rows, columns, "dino")
    equals_original("positions", positions.reshape(used[1:].shape), used[1:], 1e-5)
    equals_original("keys", tokens.key, channels_last(case["patch_key"]), 1e-4)
    equals_original("tokens", tokens.out, channels_last(case["patch_out"]), 1e-4)
    if name == "vit_conv_256":
        for part, tokens_of_part, expected in [
            ("out", tokens.out, case["global_out"]),
            ("key", tokens.key, case["global_key"]),
        ]:
            head = prefixed(case, f"final_layer_patch_{part}")
            encoder = TokenEncoder(expected.shape[1], len(head["network.0.weight"]))
            vector, pull = jax.vjp(
                lambda p, encoder=encoder, tokens=tokens_of_part: encoder.apply(
                    {"params": p}, tokens
                ),
                module_params(head, token_encoder),
            )
            equals_original(f"vector of {part}", vector, expected, 1e-4)
            (gradients,) = pull(jnp.asarray(case[f"cot_{part}"]))
            wanted = prefixed(case, f"final_layer_patch_{part}", "g/w")
            wanted = module_params(wanted, token_encoder)
            for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                value = dict(jax.tree_util.tree_leaves_with_path(wanted))[path]
                equals_original(f"gradient of {name}", gradient, value, 1e-3)
    else:
        equals_original("class key", tokens.class_key, case["global_key"], 1e-4)
        equals_original("class token", tokens.class_out, case["global_out"], 1e-4)


@pytest.mark.parametrize(
    "name", ["posembed_28to28", "posembed_28to32", "posembed_28to64", "posembed_odd"]
)
def test_positions_equal_the_original(golden_case, equals_original, name):
    case = golden_case("model_05_vit", name)
    stored, expected = case["in/pos_embed"][0], case["out"][0]
    side = round((len(stored) - 1) ** 0.5)
    rows, columns = (length // case["cfg"]["patch"] for length in case["cfg"]["image_hw"])
    positions = jnp.asarray(stored[1:].reshape(side, side, -1))
    resized = resize_positions(positions, rows, columns, "dino")
    equals_original("positions", resized.reshape(rows * columns, -1), expected[1:], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [224, 256])
@pytest.mark.parametrize("size", ["small", "base"])
def test_tokens_equal_timm(equals_original, size, image_size):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    network = timm.create_model(
        f"vit_{size}_patch8_224.dino",
        pretrained=False,
        num_classes=0,
        img_size=image_size,
        # Two blocks tell as much as twelve about the wiring, and random weights more clearly.
        **({"depth": 2} if size == "base" else {}),
    ).eval()
    for parameter in network.parameters():  # norms and biases start at 1 and 0: make them matter
        parameter.data += 0.02 * torch.randn_like(parameter)
    kept = []
    network.blocks[-1].attn.qkv.register_forward_hook(lambda *args: kept.append(args[2]))
    pixels = torch.rand(1, image_size, image_size, 3) * 2 - 1
    with torch.inference_mode():
        expected = network.forward_features(pixels.permute(0, 3, 1, 2))
    key = kept[0].chunk(3, dim=-1)[1]

    params = vit_params({k: v.numpy() for k, v in network.state_dict().items()})
    ours = ViT(
        width=key.shape[-1],
        depth=len(network.blocks),
        num_heads=network.blocks[0].attn.num_heads,
        position_side=image_size // 8,
    )
    tokens = jax.jit(ours.apply)({"params": params}, jnp.asarray(pixels.numpy()))
    side = image_size // 8
    for what, got, torch_tokens in [("keys", tokens.key, key), ("tokens", tokens.out, expected)]:
        maps = torch_tokens[:, 1:].reshape(1, side, side, -1)
        equals_original(what, got, maps.numpy(), 1e-4)


def test_positions_resized_as_timm_does(equals_original):
    layers, torch = pytest.importorskip("timm.layers"), pytest.importorskip("torch")
    stored = np.random.default_rng(0).normal(size=(28, 28, 5)).astype(np.float32)
    for rows, columns in [(32, 32), (16, 20), (28, 28)]:
        expected = layers.resample_abs_pos_embed(
            torch.from_numpy(stored.reshape(1, -1, 5)), (rows, columns), num_prefix_tokens=0
        )
        resized = resize_positions(jnp.asarray(stored), rows, columns, "timm")
        equals_original(
            f"positions {rows} x {columns}", resized.reshape(1, -1, 5), expected.numpy(), 1e-5
        )


def test_parameters_have_the_shapes_of_the_weights(golden_case):
    weights = prefixed(golden_case("model_05_vit", "vit_none_nonsquare"), "ViT")
    params = vit_params(weights)
    network = ViT(width=24, depth=2, num_heads=4, position_side=6)
    fresh = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, fresh)


def test_odd_sides_raise():
    with pytest.raises(ValueError, match="expected sides that are multiples of 8, got 20 x 16"):
        ViT(width=8, depth=1, num_heads=1).init(jax.random.key(0), jnp.zeros((1, 20, 16, 3)))


def test_unknown_resize_raises():
    with pytest.raises(ValueError, match="expected 'dino' or 'timm', got 'nearest'"):
        resize_positions(jnp.zeros((2, 2, 1)), 3, 3, "nearest")
