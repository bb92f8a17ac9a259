"""What is read off an image, with the original's weights: joint angles and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pony_jax.interop.torch_names import articulation_network, module_params
from pony_jax.model.instance import Instance
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.cameras import Camera


@pytest.mark.parametrize("name", ["arti_horse_perinstance", "arti_horse_shared_noattach"])
def test_joint_angles_equal_the_original(golden_case, equals_original, name):
    case = golden_case("model_04_predictor", name)
    cfg = case["cfg"]
    instance = Instance(
        skeleton=Skeleton(
            cfg["num_body_bones"], cfg["num_legs"], cfg["num_leg_bones"], cfg["body_bones_mode"]
        ),
        hidden=cfg["mlp_hidden_size"],
        latent=cfg["latent_dim"],
        encoder_hidden=16,
        num_viewpoint_outputs=19,
        grid_scale=float(cfg["grid_scale"]),
        camera_distance=float(cfg["cam_pos_z_offset"]),
        texture_layers=1,
        texture_frequencies=1,
        deformation_layers=1,
        deformation_frequencies=1,
        light_layers=1,
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
    params = {"articulation_network": module_params(weights, articulation_network)}
    key = jnp.asarray(np.moveaxis(case["in/patch_feat"], 1, -1))
    feature = jnp.asarray(case["in/feat"])
    b = len(feature)
    bones = case["bones"].reshape(-1, *case["bones"].shape[2:])
    bones = jnp.asarray(np.broadcast_to(bones, (b, *bones.shape[1:])))
    clip, cam = jnp.asarray(case["in/mvp"]), jnp.asarray(case["in/w2c"])

    @jax.jit
    def angles(key, feature, bones, clip, cam):
        camera = Camera(clip, cam, jnp.zeros((b, 3)))
        return instance.apply(
            {"params": params}, key, feature, bones, camera, method="joint_angles"
        )

    value, pull = jax.vjp(angles, key, feature, bones, clip, cam)
    expected = case["angles"].reshape(value.shape)
    equals_original("angles", value, expected, 1e-4)
    # Nothing flows to the bones or the camera: they are inputs only.
    for gradient in pull(jnp.ones_like(value))[2:]:
        np.testing.assert_array_equal(gradient, 0.0)
