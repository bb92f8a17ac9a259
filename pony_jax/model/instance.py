"""The instance: everything that is read off one image."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from pony_jax.modules.articulation import ArticulationMLP, ArticulationNetwork
from pony_jax.modules.fields import DeformationField, TextureField
from pony_jax.modules.heads import LightHead, SilhouetteHead, TokenEncoder
from pony_jax.ops.bones import Skeleton
from pony_jax.ops.cameras import Camera, transform_points
from pony_jax.ops.kinematics import hold_static_bones
from pony_jax.ops.sampling import bilinear_windows


class Instance(nn.Module):
    """Heads and fields that depend on the image.

    Attributes:
      hidden: width of the fields.
      latent: length of an image's shape and appearance vectors.
      encoder_hidden: width of the token encoders.
      num_viewpoint_outputs: see `CameraModel.num_outputs`.
      num_handicaps: hypotheses that are kept in equal use; 0 keeps none. See `handicaps`.
      camera_distance: distance of the object's origin, world units.
      texture_mirror, deformation_mirror: see `TextureField`, `DeformationField`.
      articulation_kind: 'attention' or 'mlp', see `modules.articulation`.
      articulation_features: what a bone reads: 'global' the image's vector, 'sample' the tokens
        around the bone, 'sample+global' both.
      articulation_blocks: of attention; layers of an 'mlp'.
      articulation_window: tokens along each side of the square that a bone reads around its middle;
        1 reads the middle alone, as the original does.
      articulation_own_layers: see `ArticulationNetwork`.
      silhouette_hidden: width of the silhouette head; 0 leaves it out.
    """

    skeleton: Skeleton
    hidden: int
    latent: int
    encoder_hidden: int
    num_viewpoint_outputs: int
    num_handicaps: int
    grid_scale: float
    camera_distance: float
    texture_layers: int
    texture_frequencies: int
    texture_mirror: bool
    deformation_layers: int
    deformation_frequencies: int
    deformation_mirror: bool
    light_layers: int
    articulation_kind: str
    articulation_features: str
    articulation_blocks: int
    articulation_heads: int
    articulation_frequencies: int
    articulation_window: int
    articulation_own_layers: bool
    articulation_multiplier: float
    max_angle_deg: float
    constrain_legs: bool
    silhouette_hidden: int

    def setup(self) -> None:
        self.key_encoder = TokenEncoder(self.latent, self.encoder_hidden)
        self.out_encoder = TokenEncoder(self.latent, self.encoder_hidden)
        self.viewpoint_head = TokenEncoder(self.num_viewpoint_outputs, self.encoder_hidden)
        if self.num_handicaps:
            zeros = nn.initializers.zeros
            self.hypothesis_handicap = self.param("handicap", zeros, (self.num_handicaps,))
        self.light_head = LightHead(self.hidden, self.light_layers)
        self.texture_field = TextureField(
            self.hidden,
            self.texture_layers,
            self.texture_frequencies,
            self.grid_scale,
            self.texture_mirror,
        )
        self.deformation_field = DeformationField(
            self.hidden,
            self.deformation_layers,
            self.deformation_frequencies,
            self.grid_scale,
            self.deformation_mirror,
        )
        if self.articulation_kind == "mlp":
            self.articulation_network = ArticulationMLP(
                self.hidden, self.articulation_blocks, self.articulation_frequencies
            )
        else:
            self.articulation_network = ArticulationNetwork(
                self.hidden,
                self.articulation_blocks,
                self.articulation_heads,
                self.articulation_frequencies,
                self.articulation_own_layers,
            )
        if self.silhouette_hidden:
            self.silhouette_head = SilhouetteHead(self.silhouette_hidden)

    def touch_all(self, tokens: Float[Array, "b t t c"], camera: Camera, image_size: int) -> None:
        """Uses every head and field once, so that `init` makes all parameters."""
        shape_feature, appearance = self.shape_feature(tokens), self.appearance(tokens)
        self.viewpoint(tokens)
        self.handicaps()
        self.light(appearance)
        self.albedo(jnp.zeros((1, 3)), appearance, jnp.zeros(1, jnp.int32))
        self.deformation(jnp.zeros((1, 3)), shape_feature)
        bones = jnp.zeros((len(tokens), self.skeleton.num_bones, 2, 3))
        self.joint_angles(tokens, shape_feature, bones, camera)
        if self.silhouette_hidden:
            self.silhouette(tokens, jnp.zeros((len(tokens), image_size, image_size, 3)))

    def shape_feature(self, patch_key: Float[Array, "b t t c"]) -> Float[Array, "b d"]:
        """The vector that deformation and articulation read."""
        return self.key_encoder(patch_key)

    def appearance(self, patch_out: Float[Array, "b t t c"]) -> Float[Array, "b d"]:
        """The vector that texture and light read."""
        return self.out_encoder(patch_out)

    def viewpoint(self, tokens: Float[Array, "b t t c"]) -> Float[Array, "b p"]:
        """Raw viewpoint hypotheses, for `ops.viewpoint.decode_hypotheses`."""
        return self.viewpoint_head(tokens)

    def handicaps(self) -> Float[Array, " m"] | float:
        """What is added to the score of each viewpoint hypothesis where one is chosen.

        They are learned (`objective.balance_term`), so that each hypothesis is the best one of
        equally many images: the one that was rendered more shapes the animal in its favour, and so
        would be chosen ever more. Three times their parameter, since Adam moves all parameters
        equally fast, and scores drift apart faster than that.
        """
        return 3.0 * self.hypothesis_handicap if self.num_handicaps else 0.0

    def silhouette(
        self,
        patch_key: Float[Array, "b t t c"],
        image: Float[Array, "b h h 3"],
        dropout_key: Array | None = None,
    ) -> Float[Array, "b h h 1"]:
        """Logit that a pixel shows the animal; with dropout if there is a key."""
        return self.silhouette_head(patch_key, image, dropout_key)

    def light(self, appearance: Float[Array, "b d"]) -> tuple[Array, Array, Array]:
        """Direction, ambient and diffuse strength; camera frame."""
        return self.light_head(appearance)

    def albedo(
        self,
        points: Float[Array, "n 3"],
        appearance: Float[Array, "b d"],
        image: Int[Array, " n"],
        count: Int[Array, ""] | None = None,
    ) -> Float[Array, "n 3"]:
        """Albedo at rest positions; point i belongs to image `image[i]`, those from `count` on to
        none.
        """
        return self.texture_field(points, appearance, image, count)

    def deformation(
        self,
        verts: Float[Array, "v 3"],
        shape_feature: Float[Array, "b d"],
        count: Int[Array, ""] | None = None,
    ) -> Float[Array, "b v 3"]:
        """Offsets of the prior's vertices, world units; 0 from vertex `count` on."""
        return self.deformation_field(verts, shape_feature, count)

    def joint_angles(
        self,
        patch_key: Float[Array, "b t t c"],
        shape_feature: Float[Array, "b d"],
        bones: Float[Array, "b k 2 3"],
        camera: Camera,
    ) -> Float[Array, "b k 3"]:
        """Euler angles of all bones in their rest frames, radians.

        Each bone reads the image's vector and the tokens around the middle of its rest position,
        where a limb that has moved away is still to be seen (or one of them, as
        `articulation_features` says). Bones and camera are inputs only: no gradient reaches them
        (as in the original).
        """
        bones, camera = lax.stop_gradient((bones, camera))
        b, k = bones.shape[:2]
        middle_clip = transform_points(camera.clip_from_world, bones.mean(axis=2))
        middle_ndc = middle_clip[..., :2] / middle_clip[..., 3:]
        ends_cam = transform_points(camera.cam_from_world, bones.reshape(b, 2 * k, 3))[..., :3]
        ends_cam = (ends_cam + jnp.array([0.0, 0.0, self.camera_distance])) / (self.grid_scale / 2)
        index = jnp.broadcast_to((jnp.arange(k) + 0.5) / k * 2 - 1, (b, k))[..., None]
        position = jnp.concatenate([middle_ndc, ends_cam.reshape(b, k, 6), index], axis=-1)
        features = []
        if "global" in self.articulation_features:
            shared = jnp.broadcast_to(shape_feature[:, None], (b, k, shape_feature.shape[-1]))
            features.append(shared)
        if "sample" in self.articulation_features:
            windows = bilinear_windows(patch_key, middle_ndc, self.articulation_window)
            features.append(windows.reshape(b, k, -1))
        raw = self.articulation_network(jnp.concatenate(features, axis=-1), position)
        angles = jnp.tanh(self.articulation_multiplier * raw) * np.deg2rad(self.max_angle_deg)
        if self.constrain_legs:
            is_leg = np.arange(k) >= self.skeleton.num_body_bones
            angles = angles * np.where(is_leg[:, None], [1.0, 0.3, 0.3], 1.0).astype(np.float32)
        return hold_static_bones(angles, self.skeleton)
