"""Every key of a configuration, once, with the recipe of the paper's horses.

Times in `schedule` are shares of `num_steps`, so a short run has the same course as a long one.
Other files in this folder start from `get_config()` and change values; none adds a key. What each
value has to be is in `pony_jax/training/config_rules.py`.
"""

import difflib
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The base configuration, locked."""
    config = ConfigDict()
    config.seed = 0  # of parameters, order of the data, and everything drawn at a step
    config.num_steps = 140_000
    config.compilation_cache_dir = "~/.cache/pony_jax"  # '' compiles anew in every process

    # Start with what another run has learned, as a zebra from a horse.
    config.start = ConfigDict()
    config.start.from_run = ""  # folder of that run; '' starts from nothing
    config.start.share = 0.0  # of this run that counts as done then
    config.start.moments = False  # whether the optimiser's moments go on as well

    config.data = ConfigDict()
    config.data.name = "synthetic_quadruped/horse"  # folder in data_dir
    config.data.data_dir = "data"
    config.data.train_split = "train"
    config.data.test_split = "test"
    config.data.image_size = 256  # side of images, masks and renders, px
    config.data.batch_size = 10  # images, whether or not they are frames of clips
    config.data.clip_frames = 1  # consecutive frames that come together; above 1 needs sequences
    config.data.mirror_probability = 0.5  # share of training images flipped left to right
    config.data.max_train_examples = 0  # 0 = all
    config.data.max_test_examples = 0

    config.optimizer = ConfigDict()
    config.optimizer.prior_learning_rate = 1e-3  # shape and feature fields of the category
    config.optimizer.instance_learning_rate = 1e-4  # everything read off an image
    config.optimizer.max_gradient_norm = 0.0  # of each group of parameters; 0 = any
    config.optimizer.decay_from = 1.0  # share of the run after which both fall along a cosine
    config.optimizer.final_learning_rate = 1.0  # share of the rates left at the end

    # Losses: weight of each term of `LossWeights` (pony_jax/model/objective.py).
    config.loss = ConfigDict()
    config.loss.mask = 10.0
    config.loss.mask_pyramid = 0.0  # of silhouettes at coarser pixels; not in the paper
    config.loss.mask_distance = 0.0
    config.loss.mask_inverse_distance = 100.0
    config.loss.rgb = 1.0
    config.loss.feature = 10.0
    config.loss.flow = 0.0  # optical flow between the frames of a clip; needs data.clip_frames
    config.loss.hypothesis_score = 1.0
    config.loss.hypothesis_balance = 0.0  # keeps them in equal use; not in the paper
    config.loss.score_feature_gain = 50.0
    config.loss.eikonal = 0.01
    config.loss.deformation = 10.0
    config.loss.articulation = 0.1
    config.loss.leg_gap = 0.0  # keeps the legs of a pair apart; not in the paper
    config.loss.silhouette = 1.0  # of the head that poses are refined by; not in the paper

    # Schedule: shares of num_steps, save best_share and max_gain (see `Schedule`, model/pony.py).
    # The paper's epochs of 120, and its iterations of 140,000.
    config.schedule = ConfigDict()
    config.schedule.uniform_until = 2 / 140
    config.schedule.softmax_from = 4 / 140
    config.schedule.uniform_share = 0.0  # of the hypotheses' probabilities that stays uniform
    config.schedule.best_from = 6 / 140
    config.schedule.best_full = 7.6 / 140
    config.schedule.best_share = 0.8
    config.schedule.max_gain = 100.0
    config.schedule.max_gain_at = 100 / 140
    config.schedule.elevation_from = 0.0  # the camera's, see model.elevation_deg; not in the paper
    config.schedule.articulation_from = 8 / 120
    config.schedule.attach_legs_from = 50 / 120
    config.schedule.articulation_loss_from = 50 / 120
    config.schedule.deformation_from = 80 / 120
    config.schedule.fine_grid_from = 90 / 120

    config.model = ConfigDict()
    config.model.grid_scale = 7.0  # unit of length: the cube that the paper's grid fills
    config.model.march = "auto"  # or sparse, dense: how the mesh is made of the field, see `Prior`
    config.model.grid_extent = (7.0, 7.0, 7.0)  # sides of the grid's box, x y z, world units
    config.model.sdf_start = "ellipsoid"  # or sphere, constant
    config.model.sdf_constant = 0.0  # of the constant start, positive inside, world units
    config.model.ellipsoid = (1.0, 1.0, 2.0)  # half axes of the start, in 0.15 grid_scale
    config.model.coarse_resolution = 128  # lattice layers along the longest side, even
    config.model.fine_resolution = 256
    config.model.jitter = 0.05  # largest shift of the grid in training, share of grid_scale
    config.model.background = "black"  # of renders: or white, checkerboard
    config.model.samples = 4  # samples along each side of a pixel: 4 is sixteen a pixel
    config.model.hidden = 256  # width of the fields
    config.model.latent = 256  # length of an image's shape and appearance vectors
    config.model.encoder_hidden = 256  # channels of the token encoders
    config.model.sdf_layers = 5
    config.model.sdf_frequencies = 8
    config.model.sdf_mirror = True  # whether the shape is the same left and right
    config.model.feature_dim = 16
    config.model.feature_layers = 5
    config.model.feature_frequencies = 8
    config.model.feature_mirror = False  # whether features are the same left and right
    config.model.texture_layers = 8
    config.model.texture_frequencies = 10
    config.model.texture_mirror = True  # whether colours are
    config.model.deformation_layers = 5
    config.model.deformation_frequencies = 10
    config.model.deformation_mirror = True  # whether both sides move alike, in x too
    config.model.light_layers = 5
    config.model.articulation_kind = "attention"  # or mlp: each bone on its own
    config.model.articulation_features = "sample+global"  # or sample, global: what bones read
    config.model.articulation_blocks = 4  # layers of an mlp
    config.model.articulation_heads = 8
    config.model.articulation_frequencies = 8
    config.model.articulation_own_layers = False  # first and last, for each bone
    config.model.articulation_window = 1  # tokens along a side that each bone reads
    config.model.articulation_multiplier = 0.1
    config.model.max_angle_deg = 60.0
    config.model.constrain_legs = True  # legs turn mostly fore and aft
    config.model.static_root_bones = False  # whether the two bones at the centre stay still
    config.model.skinning_temperature = 0.05
    config.model.num_body_bones = 8
    config.model.num_legs = 4
    config.model.num_leg_bones = 3
    config.model.body_bones_from = "z_minmax_y+"  # how the spine is laid: see ops/bones.py
    config.model.leg_attachments = ()  # body bone of each leg; () takes the nearest along z
    config.model.batch_statistics = False  # whether bones depend on the batch: see ops/bones.py
    config.model.camera_distance = 10.0
    config.model.fov_y_deg = 25.0
    config.model.max_shift_xy = 0.2  # of the camera, share of half the view at the object
    config.model.max_shift_z = 0.5
    config.model.hypotheses = "quadlookat"  # or octlookat, lookat, quaternion, euler_angle
    config.model.hypothesis_side = "softplus"  # or squareplus: see ops/viewpoint.py
    config.model.viewpoint_tokens = "patch_key"  # or patch_out: what viewpoints are read from
    config.model.viewpoint_mirror = False  # whether mirror images have mirrored viewpoints
    config.model.level_horizon = True  # cameras look horizontally; the kinds of lookat only
    config.model.elevation_deg = (0.0, 0.0)  # lowest and highest of the camera; not in the paper
    config.model.max_turn_deg = (180.0, 180.0, 180.0)  # about x, y, z; euler_angle only
    config.model.eikonal_points = 10_000
    config.model.silhouette_hidden = 0  # width of the head that finds the animal; 0 = none
    config.model.refine_steps = 0  # of gradient descent on pose and appearance, in use; needs it
    config.model.refine_pose_rate = 0.02  # of their Adam, radians and world units a step
    config.model.refine_appearance_rate = 0.2
    config.model.refine_mask = 10.0  # weights of what the pose is refined by: see model/refine.py
    config.model.refine_mask_pyramid = 0.0
    config.model.refine_articulation = 0.1

    config.log = ConfigDict()
    config.log.every_steps = 50  # 0 = none
    config.log.panel_every_steps = 500  # 0 = none
    config.log.panel_images = 4  # or data.batch_size, if that is less
    config.log.hide_photographs = False  # panels show outlines of masks instead of photographs
    config.log.eval_every_steps = 0  # 0 = none but those below and the one at the end
    config.log.eval_minutes = ()  # of training, evaluation itself left out; e.g. (5.0, 10.0)

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000  # 0 = at the end alone
    config.checkpoint.keep = 2  # the newest ones; at least 1
    return config.lock()


def apply_variant(
    config: ConfigDict, variants: Mapping[str, Callable[[ConfigDict], None]], variant: str
) -> ConfigDict:
    """Changes `config` by the named variant. Raises `ValueError` that lists near names."""
    if variant not in variants:
        known = [repr(name) for name in variants]
        near = difflib.get_close_matches(variant, variants)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"variant: expected one of {', '.join(known)}, got {variant!r}{hint}")
    variants[variant](config)
    return config
