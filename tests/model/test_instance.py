"""What is read off an image, with the original's weights: joint angles, poses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.interop.torch_names import articulation_network, module_params
from pony_jax.model.instance import Instance
from pony_jax.ops.bones import Skeleton, estimate_bones
from pony_jax.ops.cameras import Camera
from pony_jax.ops.kinematics import posed_bone_transforms
from pony_jax.ops.skinning import pose_bones, skin, skinning_weights


@pytest.mark.parametrize(
    "name",
    [
        "arti_horse_perinstance",
        "arti_horse_shared_noattach",
        "arti_horse_free",
        "arti_bird",
        "arti_bird_perinstance_global",
    ],
)
def test_poses_equal_the_original(golden_case, equals_original, name):
    case = golden_case("model_04_predictor", name)
    cfg = case["cfg"]
    instance = Instance(
        skeleton=Skeleton(
            cfg["num_body_bones"],
            cfg["num_legs"],
            cfg["num_leg_bones"] or 0,
            cfg["body_bones_mode"],
            cfg["static_root_bones"],
        ),
        hidden=cfg["mlp_hidden_size"],
        latent=cfg["latent_dim"],
        encoder_hidden=16,
        num_viewpoint_outputs=19,
        num_handicaps=0,
        grid_scale=float(cfg["grid_scale"]),
        camera_distance=float(cfg["cam_pos_z_offset"]),
        texture_layers=1,
        texture_frequencies=1,
        texture_mirror=True,
        deformation_layers=1,
        deformation_frequencies=1,
        deformation_mirror=True,
        light_layers=1,
        articulation_kind=cfg["articulation_arch"],
        articulation_features=cfg["articulation_feature_mode"],
        articulation_blocks=cfg["num_layers_arti"],
        articulation_heads=8,
        articulation_frequencies=cfg["embedder_freq_arti"],
        articulation_window=1,
        articulation_own_layers=False,
        articulation_multiplier=cfg["articulation_multiplier"],
        max_angle_deg=float(cfg["max_arti_angle"]),
        constrain_legs=bool(cfg["constrain_legs"]),
        silhouette_hidden=0,
    )
    weights = {k.removeprefix("w/"): v for k, v in case.items() if k.startswith("w/")}
    params = module_params(weights, articulation_network)
    key = jnp.asarray(np.moveaxis(case["in/patch_feat"], 1, -1))
    feature = jnp.asarray(case["in/feat"])
    b = len(feature)
    verts = jnp.asarray(case["in/verts"])
    clip, cam = jnp.asarray(case["in/mvp"]), jnp.asarray(case["in/w2c"])
    attach_legs = cfg["epoch"] in range(*(cfg["attach_legs_to_body_epochs"] or (0, 0)))

    @jax.jit
    def run(params, key, feature, verts, clip, cam):
        valid = jnp.ones(verts.shape[1], bool)
        bones, attachments = estimate_bones(
            verts, valid, instance.skeleton, None, batch_statistics=True
        )
        weights = skinning_weights(verts, bones, cfg["skinning_temperature"])
        bones, verts, weights = (
            jnp.broadcast_to(x, (b, *x.shape[1:])) for x in (bones, verts, weights)
        )
        camera = Camera(clip, cam, jnp.zeros((b, 3)))
        angles = instance.apply(
            {"params": {"articulation_network": params}},
            key,
            feature,
            bones,
            camera,
            method="joint_angles",
        )
        transforms = posed_bone_transforms(
            bones, angles, instance.skeleton, attachments, attach_legs
        )
        return angles, skin(verts, weights, transforms), pose_bones(bones, transforms)

    (angles, posed, posed_bones), pull = jax.vjp(run, params, key, feature, verts, clip, cam)
    shape = angles.shape
    equals_original("angles", angles, case["angles"].reshape(shape), 1e-4)
    equals_original("vertices", posed, case["posed_verts"], 1e-4)
    equals_original("bones", posed_bones, case["posed_bones"].reshape(posed_bones.shape), 1e-4)
    if cfg["static_root_bones"]:
        np.testing.assert_array_equal(angles[:, jnp.array(instance.skeleton.root_bones)], 0.0)

    cotangents = case["cot_angles"].reshape(shape), case["cot_verts"], jnp.zeros_like(posed_bones)
    by_params, by_key, *rest = pull(tuple(jnp.asarray(c) for c in cotangents))
    by_key = np.moveaxis(by_key, -1, 1)
    # Nothing flows to the camera, nor to what a feature mode leaves out.
    for name, gradient in zip(
        ("patch_feat", "feat", "verts", "mvp", "w2c"), (by_key, *rest), strict=True
    ):
        equals_original(f"gradient of {name}", gradient, case[f"g/in/{name}"], 1e-3)
    gradients = {k.removeprefix("g/w/"): v for k, v in case.items() if k.startswith("g/w/")}
    if gradients:
        expected = module_params(gradients, articulation_network)
        for path, value in jax.tree_util.tree_leaves_with_path(expected):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            got = dict(jax.tree_util.tree_leaves_with_path(by_params))[path]
            equals_original(f"gradient of {name}", got, value, 1e-3)
