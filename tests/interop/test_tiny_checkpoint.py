"""The original's small complete checkpoint: converted, it computes what the original computed."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from configs import base
from pony_jax.interop.original_checkpoint import convert_checkpoint
from pony_jax.interop.original_config import original_config, read_settings
from pony_jax.interop.torch_file import CheckpointError, read_torch_file
from pony_jax.model import NO_CAPACITIES, Stage, build_model
from pony_jax.model.rig import pose
from pony_jax.modules.vit import ViT
from pony_jax.ops.cameras import transform_points
from pony_jax.ops.mesh import Mesh, vertex_normals
from pony_jax.training.optimizers import parameter_groups, split_by_group

GOLDEN = Path(__file__).parents[1] / "golden"
GROUPS = parameter_groups(1e-3, 1e-4)


@pytest.fixture(scope="module")
def original():
    """Arrays that the original computed."""
    return dict(np.load(GOLDEN / "tiny_checkpoint.npz"))


@pytest.fixture
def content(checkpoint):
    """The checkpoint, read afresh for every test that changes it."""
    return read_torch_file(checkpoint)


@pytest.fixture(scope="module")
def settings():
    return read_settings(GOLDEN / "tiny_checkpoint_config.json")


@pytest.fixture(scope="module")
def model(settings):
    config = original_config(settings, base.get_config(), 700.0)
    config.model.batch_statistics = True  # as the original is
    return build_model(config, (32, 48))


@pytest.fixture(scope="module")
def converted(checkpoint, model):
    return convert_checkpoint(read_torch_file(checkpoint), model, GROUPS)


def tokens_of(backbone, settings, original):
    """Tokens of the stored images; numbers are of the backbone's precision."""
    vit = settings["vit"]
    network = ViT(width=vit["embed_dim"], depth=vit["depth"], num_heads=vit["num_heads"])
    images = np.moveaxis(original["in/images_u8"][:, 0], 1, -1)
    images = images / jax.tree.leaves(backbone)[0].dtype.type(255)
    params = unflatten_dict(backbone, sep="/")
    return jax.jit(network.apply)({"params": params}, jnp.asarray(images * 2 - 1))


@pytest.fixture(scope="module")
def tokens(converted, settings, original):
    """Tokens of the stored images, by the converted backbone."""
    return tokens_of(converted.backbone, settings, original)


def test_tokens(tokens, original, equals_original):
    equals_original("patch_key", tokens.key, np.moveaxis(original["patch_key"], 1, -1), 1e-4)
    equals_original("patch_out", tokens.out, np.moveaxis(original["patch_out"], 1, -1), 1e-4)


def outputs(model, params, original, stage):
    """What the model computes from tokens on, up to the posed animal, by the original's names.

    The early stage has no deformation and free legs. Numbers are of the parameters' precision.
    """
    dtype = jax.tree.leaves(params)[0].dtype
    prior_verts = jnp.asarray(original["prior/verts"], dtype)
    faces = jnp.asarray(original["prior/faces"])
    n, skeleton, late = len(prior_verts), model.instance.skeleton, stage == ""
    prior = Mesh(prior_verts, faces, jnp.int32(n), jnp.int32(len(faces)))
    iteration = float(original[f"{stage}in/total_iter"])
    switches = Stage(
        grid_resolution=0,
        articulation=True,
        deformation=late,
        attach_legs=late,
        capacities=NO_CAPACITIES,
    )

    @jax.jit
    def run(key, out):
        bound = model.bind({"params": params})
        batch = {"patch_key": key, "patch_out": out}
        found = bound.estimate(prior, batch, iteration, switches)
        rig, camera, viewpoints = found.rig, found.camera, found.viewpoints
        posed = pose(rig, found.angles_rad, skeleton, attach_legs=late)
        verts = jnp.broadcast_to(rig.verts_rest, posed.verts.shape)
        weights = jnp.broadcast_to(rig.weights, (2, *rig.weights.shape[1:]))
        clip = transform_points(camera.clip_from_world, posed.verts)
        chosen = jnp.arange(2), found.chosen
        rotation = jnp.swapaxes(camera.cam_from_world[:, :3, :3], 1, 2)
        translation = viewpoints.translation_cam
        return {
            "feat_key": bound.instance.shape_feature(key),
            "feat_out": found.appearance,
            "rots_probs": found.probabilities,
            "rot_idx": found.chosen,
            "rot_logit": viewpoints.scores[chosen],
            "rot_prob": found.probabilities[chosen],
            "pose": jnp.concatenate([rotation.reshape(2, 9), translation], axis=-1),
            "pose_raw": jnp.concatenate([viewpoints.rotations[chosen][:, 2], translation], axis=-1),
            "mvp": camera.clip_from_world,
            "w2c": camera.cam_from_world,
            "campos": camera.position_world,
            "deformation": rig.deformation,
            "deformed_verts": verts,
            "bones_pred": rig.bones_rest[:, None],
            "arti_params": found.angles_rad[:, None],
            "vertices_to_bones": jnp.moveaxis(weights, 2, 0)[:, :, None],
            "posed_verts": posed.verts,
            "posed_bones": posed.bones[:, None],
            "posed_v_nrm": vertex_normals(posed.verts, faces),
            "prior/v_nrm": vertex_normals(prior_verts[None], faces)[0],
            "verts_ndc": clip[..., :2] / clip[..., 3:],
            "texture_at_prior_verts": jnp.stack(
                [bound.albedo(prior_verts, appearance) for appearance in found.appearance]
            ),
            "light_params": jnp.concatenate(bound.instance.light(found.appearance), axis=-1),
            "prior/dino_at_verts": bound.prior.feature(prior_verts),
        }

    return run


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["", "early/"])
def test_every_output(model, converted, tokens, original, equals_original, stage):
    run = outputs(model, converted.params, original, stage)
    # The articulation network sees sines of up to 360 radians a unit, which magnify the rounding of
    # the tokens (the original's own is 7e-7 of the largest), and normals of the thinnest
    # triangles that of the vertices. So the stored tokens are the input of the strict comparison,
    # and the next test says whose rounding it is.
    stored = [jnp.asarray(np.moveaxis(original[k], 1, -1)) for k in ("patch_key", "patch_out")]
    for source, maps, tolerance in [
        ("", stored, 1e-4),
        (", from the image", [tokens.key, tokens.out], 5e-4),
    ]:
        values = {name: value for name, value in run(*maps).items() if f"{stage}{name}" in original}
        assert len(values) == (24 if stage == "" else 5)
        for name, value in values.items():
            expected = original[f"{stage}{name}"]
            if name == "texture_at_prior_verts":
                expected = expected[..., :3]
            by_normal = 10 if name == "posed_v_nrm" else 1
            equals_original(f"{stage}{name}{source}", value, expected, by_normal * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["", "early/"])
def test_rounding_from_the_image(model, converted, settings, tokens, original, stage):
    """Both codes against the same model in float64, from the image to the posed animal.

    Where the two differ by more than 1e-4, the original is the one further from exact.
    """
    name = f"{stage}posed_verts"
    ours = outputs(model, converted.params, original, stage)(tokens.key, tokens.out)["posed_verts"]
    with jax.enable_x64(True):
        params, backbone = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64), (converted.params, converted.backbone)
        )
        exact_tokens = tokens_of(backbone, settings, original)
        assert exact_tokens.key.dtype == jnp.float64
        run = outputs(model, params, original, stage)
        exact = np.asarray(run(exact_tokens.key, exact_tokens.out)["posed_verts"])
    assert exact.dtype == np.float64
    largest = np.abs(exact).max()
    ours_off = np.abs(ours - exact).max() / largest
    original_off = np.abs(original[name] - exact).max() / largest
    # Rounding of float32 and what the networks make of it: measured 4e-5 and 1.1e-4.
    assert ours_off < 1e-4
    assert ours_off < original_off < 3e-4


def test_every_tensor_is_used_or_named(converted, content):
    named = "\n".join(converted.notes)
    for network in ("netPrior", "netInstance"):
        for name in content[network]:
            if not name.startswith("netEncoder.ViT."):
                assert name in named
    assert (
        f"{sum(n.startswith('netEncoder.ViT.') for n in content['netInstance'])} tensors" in named
    )


def test_moments_follow_their_parameters(converted, content):
    order = json.loads(str(np.load(GOLDEN / "tiny_checkpoint.npz")["trainable_order"]))
    number = order["optimizerInstance"].index("netDeform.mlp.network.0.weight")
    stored = content["optimizerInstance"]["state"][number]
    adam = converted.moments["deformation"]
    members = split_by_group(converted.params, GROUPS)
    path = "instance/deformation_field/network/conditioned"
    before = sum(leaf.size for name, leaf in members["deformation"].items() if name < path)
    size = stored["exp_avg"].size
    for ours, theirs in ((adam.mu, "exp_avg"), (adam.nu, "exp_avg_sq")):
        np.testing.assert_array_equal(ours[before : before + size], stored[theirs].T.ravel())
    assert int(adam.count) == int(stored["step"]) == 1
    assert converted.num_updates == 70_000
    for name, state in converted.moments.items():
        size = sum(leaf.size for leaf in members[name].values())
        assert state.mu.shape == state.nu.shape == (size,)


def test_weights_alone_get_fresh_moments(model, content):
    for name in ("optimizerPrior", "optimizerInstance", "epoch", "total_iter"):
        del content[name]
    alone = convert_checkpoint(content, model, GROUPS)
    assert alone.num_updates is None
    for leaf in jax.tree.leaves(alone.moments):
        assert not np.any(leaf)


def test_the_newer_repository_calls_the_prior_base(model, converted, content):
    content["netBase"] = content.pop("netPrior")
    content["optimizerBase"] = content.pop("optimizerPrior")
    again = convert_checkpoint(content, model, GROUPS)
    jax.tree.map(np.testing.assert_array_equal, again.params, converted.params)
    jax.tree.map(np.testing.assert_array_equal, again.moments, converted.moments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (
                lambda content, net=net, name=name, value=value: content[net].update(
                    {name: np.full_like(content[net][name], value)}
                ),
                f"tensor {name}: expected finite numbers, found NaN or infinity",
            )
            for net, name, value in (
                ("netInstance", "netPose.network.0.weight", np.nan),
                ("netInstance", "netEncoder.ViT.cls_token", np.inf),
            )
        ),
        (
            lambda c: c["netInstance"].pop("netDeform.in_layer.bias"),
            r"found none for instance/deformation_field/network/input/dense/bias "
            r"\(netDeform\.in_layer\.bias\)",
        ),
        (
            lambda c: c["netInstance"].update({"netSecret.weight": np.zeros(3)}),
            r"tensor netSecret\.weight: expected a name of the original",
        ),
        (
            lambda c: c["netInstance"].update(
                {"netPose.network.12.weight": np.zeros((1, 1, 4, 4))}
            ),
            r"tensor netPose\.network\.12\.weight: .* has no instance/viewpoint_head/conv_4/kernel",
        ),
        (
            lambda c: c["netPrior"].update({"netShape.mlp.in_layer.bias": np.zeros(5)}),
            r"tensor netShape\.mlp\.in_layer\.bias: expected the shape of .*\(32,\), got \(5,\)",
        ),
        (
            lambda c: c["netPrior"].update({"netDINO.min_max": np.full((16, 2), 0.5)}),
            r"tensor netDINO\.min_max: expected the ranges",
        ),
        (
            lambda c: c["netInstance"].pop("netEncoder.ViT.cls_token"),
            r"tensor netEncoder\.ViT\.cls_token: unknown or missing",
        ),
        (
            lambda c: c["netInstance"].pop("netEncoder.ViT.blocks.0.mlp.fc1.weight"),
            r"found none for backbone/block_0/mlp_in/kernel \(netEncoder\.ViT\.blocks\.0\.mlp\.fc1",
        ),
        (
            lambda c: c["netInstance"].update(
                {"netEncoder.ViT.blocks.0.norm1.bias": np.zeros(47, np.float32)}
            ),
            r"tensor netEncoder\.ViT\.blocks\.0\.norm1\.bias: expected .* \(48,\), got \(47,\)",
        ),
        (
            lambda c: c["netInstance"].update({"netEncoder.ViT.cls_token": np.zeros(48)}),
            r"ViT\.cls_token: expected the shape \(1, 1, width\), got \(48,\)",
        ),
        (
            lambda c: c["netInstance"].update({"netEncoder.ViT.pos_embed": np.zeros((1, 3, 48))}),
            r"ViT\.pos_embed: expected the shape \(1, 1 \+ a square, width\), got \(1, 3, 48\)",
        ),
        (
            lambda c: c["netInstance"].pop("netTexture.mlp.network.6.weight"),
            r"layer_2/dense/kernel \(netTexture\.mlp\.network\.6\.weight\)",
        ),
        (lambda c: c["netInstance"].pop("netTexture.min_max"), r"none for netTexture\.min_max"),
        (
            lambda c: c["netInstance"].update({"netTexture.min_max": np.zeros(9)}),
            r"tensor netTexture\.min_max: expected the ranges",
        ),
        (
            lambda c: c["netInstance"].update({"netPose.network.2.weight": np.zeros(16)}),
            r"tensor netPose\.network\.2\.weight: expected a name of the original",
        ),
        (
            lambda c: c["netPrior"].update({"netDINO.mlp.network.1.weight": np.zeros((32, 32))}),
            r"tensor netDINO\.mlp\.network\.1\.weight: expected a name of the original",
        ),
        (
            lambda c: c.update({"netPrior": [1, 2]}),
            r"netPrior: expected tensors by name, got list",
        ),
        (
            lambda c: c["netPrior"].update({"netDINO.note": "hello"}),
            r"netPrior\.netDINO\.note: expected a tensor, got something else",
        ),
        (
            lambda c: c.update({"optimizerPrior": {"state": 3}}),
            r"optimizerPrior: expected the state of PyTorch's Adam, got something else",
        ),
        (
            lambda c: c["optimizerPrior"]["param_groups"][0]["params"].pop(),
            r"optimizerPrior: expected 11 parameters, got 10",
        ),
        (
            lambda c: c["optimizerPrior"]["state"][0].update({"exp_avg": np.zeros((2, 2))}),
            r"exp_avg of netShape\.mlp\.in_layer\.weight: expected the shape \(32, 51\)",
        ),
        (lambda c: c.pop("netInstance"), r"expected an entry netInstance, got \['epoch'"),
    ],
)
def test_wrong_tensors_raise(model, content, change, message):
    change(content)
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(content, model, GROUPS)
