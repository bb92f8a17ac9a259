"""The backbones: shapes, sensitivity to place, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.errors import UserError
from pony_jax.features import dino
from pony_jax.features.backbones import (
    BACKBONES,
    backbone_options,
    load_backbone,
    parse_backbone,
)
from pony_jax.modules.vit import ViT


@pytest.fixture(scope="module")
def efficientnet():
    pytest.importorskip("efficientnet_lite_pytorch", reason="comes with the extra 'extract'")
    return load_backbone("efficientnet_lite0")


def test_unknown_backbone_lists_those_there_are():
    with pytest.raises(ValueError, match="expected a backbone of efficientnet_lite0, dino_vits8"):
        load_backbone("resnet")


def test_missing_weights_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the weights of dino_vits8 at"):
        load_backbone("dino_vits8", tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("name", "options", "again"),
    [
        ("efficientnet_lite0", ("efficientnet_lite0", 512, (10, 14)), None),
        ("dino_vits8:layers=9,11", ("dino_vits8", 256, (9, 11)), None),
        ("efficientnet_lite0:input_size=256", ("efficientnet_lite0", 256, (10, 14)), None),
        ("dino_vits8:layers=11:input_size=256", ("dino_vits8", 256, (11,)), "dino_vits8"),
    ],
)
def test_a_name_says_what_is_unusual(name, options, again):
    assert parse_backbone(name) == options
    assert parse_backbone(name).name == (again or name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_lite0:input_size=200", "multiple of 32, got 200; try 192"),
        ("dino_vits8:input_size=0", "multiple of 8, got 0; try 8"),
        ("efficientnet_lite0:layers=10,4", "out of 4, 10, 14, each once and in ascending order"),
        ("efficientnet_lite0:layers=11", "out of 4, 10, 14, .* got 11"),
        ("dino_vits8:layers=12", "got 12"),
        ("dino_vits8:layers=", "expected options such as"),
        ("dino_vits8:stride=4", "got 'stride=4' in 'dino_vits8:stride=4'"),
    ],
)
def test_options_that_a_backbone_does_not_have_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        load_backbone(name)


def test_no_layers_are_refused():
    with pytest.raises(UserError, match="got none"):
        backbone_options("dino_vits8", layers=())


def _image(size):
    image = np.full((size, size, 3), 127, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (size // 4, size // 4, 3))
    image[: size // 4, : size // 4] = noise
    return image


def _check_tokens(tokens, *, key_dim, out_dim):
    assert tokens.key.shape == (32, 32, key_dim)
    assert tokens.out.shape == (32, 32, out_dim)
    assert np.isfinite(tokens.key).all() and np.isfinite(tokens.out).all()


def test_efficientnet():
    backbone = load_backbone("efficientnet_lite0")
    tokens = backbone(_image(512))
    _check_tokens(tokens, key_dim=304, out_dim=155)
    # Rows and columns are not swapped, nor is the image turned: the noise is at the top left.
    deviation = np.linalg.norm(tokens.out - np.median(tokens.out, axis=(0, 1)), axis=-1)
    top_left = deviation[:8, :8].mean()
    assert top_left > 2 * deviation[20:, 20:].mean()
    assert len(backbone.weights_sha256) == 64


def test_efficientnet_at_another_size_with_other_layers():
    image = _image(128)
    both = load_backbone("efficientnet_lite0:input_size=128:layers=4,10")(image)
    assert both.key.shape == (8, 8, 40 + 112) and both.out.shape == (8, 8, 155)
    middle = load_backbone("efficientnet_lite0:input_size=128:layers=10")(image).key
    # Keys have unit length, so that the part of a layer in joined keys has its direction.
    part = both.key[..., 40:] / np.linalg.norm(both.key[..., 40:], axis=-1, keepdims=True)
    np.testing.assert_allclose(part, middle, atol=1e-5)  # float32, in another program


def test_keys_of_any_block_of_dino():
    """Blocks behind the last one that is asked for do not matter; those before it do."""
    params = ViT(resize="timm").init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    image = _image(32)
    last, out = dino._tokens(params, image, layers=(11,))
    early, same_out = dino._tokens(params, image, layers=(3,))
    np.testing.assert_array_equal(out, same_out)
    shallow = ViT(depth=4, resize="timm").apply(
        {"params": params},
        (image[None] / np.float32(255) - jnp.array(dino._MEAN)) / jnp.array(dino._DEVIATION),
    )
    np.testing.assert_allclose(early, shallow.key[0], atol=1e-5)  # the same sums
    joined, _ = dino._tokens(params, image, layers=(3, 11))
    expected = [key / np.std(key) for key in (early, last)]
    np.testing.assert_allclose(joined, np.concatenate(expected, axis=-1), atol=1e-4)


@pytest.mark.slow
def test_dino_with_random_weights_from_a_file(tmp_path, equals_original):
    torch = pytest.importorskip("torch", reason="PyTorch comes with the extra 'extract'")
    timm = pytest.importorskip("timm", reason="timm comes with the extra 'extract'")
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch8_224.dino", pretrained=False, num_classes=0)
    file = tmp_path / "dino.pth"
    torch.save(network.state_dict(), file)
    backbone = load_backbone("dino_vits8", file)
    tokens = backbone(_image(256))
    _check_tokens(tokens, key_dim=384, out_dim=384)
    # The keys are the middle third of the projection in the last block.
    network = timm.create_model(
        "vit_small_patch8_224.dino", pretrained=False, num_classes=0, img_size=256
    )
    state = timm.models.vision_transformer.checkpoint_filter_fn(torch.load(file), network)
    network.load_state_dict(state)
    kept = []
    network.blocks[-1].attn.qkv.register_forward_hook(lambda *args: kept.append(args[2]))
    pixels = (_image(256) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        out = network.eval().forward_features(torch.tensor(pixels.transpose(2, 0, 1)[None]).float())
    for name, ours, expected in [
        ("key", tokens.key, kept[0].chunk(3, dim=-1)[1]),
        ("out", tokens.out, out),
    ]:
        equals_original(name, ours, expected[0, 1:].reshape(32, 32, 384).numpy(), 1e-4)
    torch.save({"weight": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match=r"expected the weights of vit_small_patch8_224.dino in"):
        load_backbone("dino_vits8", file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("vit_small_patch16_224.dino", r"patch_embed.proj.weight \[384, 3, 16, 16\] instead of"),
        ("vit_tiny_patch16_224", r"found others: .* and \d+ more differences"),
    ],
)
def test_dino_refuses_the_weights_of_other_vits(tmp_path, architecture, message):
    """timm would bring patches and positions to our size without a word."""
    torch = pytest.importorskip("torch", reason="PyTorch comes with the extra 'extract'")
    timm = pytest.importorskip("timm", reason="timm comes with the extra 'extract'")
    network = timm.create_model(architecture, pretrained=False, num_classes=0)
    torch.save(network.state_dict(), tmp_path / "dino.pth")
    with pytest.raises(UserError, match=message):
        load_backbone("dino_vits8", tmp_path / "dino.pth")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_files_that_are_no_weights_are_refused_in_one_line(tmp_path, backbone):
    pytest.importorskip("torch", reason="PyTorch comes with the extra 'extract'")
    for content in (b"", b"<html>not found</html>"):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(UserError, match="expected the weights of") as caught:
            load_backbone(backbone, tmp_path / "a.pth")
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("colour", [(0, 0, 0), (90, 90, 90), (127, 127, 127), (255, 255, 255)])
def test_a_picture_of_one_colour_has_finite_tokens(colour, efficientnet):
    image = np.full((512, 512, 3), colour, np.uint8)
    image[0, 0] += 1  # nearly one colour is no better
    for picture in (image, np.full_like(image, colour)):
        tokens = efficientnet(picture)
        for values in tokens:
            assert np.isfinite(values).all()
            assert np.abs(values).max() < 1000  # float16 holds 65504 after the projection
