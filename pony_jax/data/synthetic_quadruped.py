"""The data set `synthetic_quadruped`: photographs of animals that do not exist, with the truth.

    SyntheticQuadruped(config="horse", data_dir="data").download_and_prepare()

downloads nothing: it renders 2,000 training and 200 test images, each a function of its split and
index alone, in about a minute and a half on two cores. An interrupted build leaves a directory that
TFDS calls incomplete and never reads. The config `horse_sequences` holds as many images, but four
at a time are a horse that moves, with the true optical flow from each frame to the next.

`truth/` of every example, object frame and camera as in `pony_jax.ops.cameras`; v, k and n are
those of `template.npz` beside the shards, which holds what all individuals share (`load_anatomy`):

| key                 | type and shape    | meaning |
|---------------------|-------------------|---|
| `rotation`          | float32 [3,3]     | rows: x, y, z axes of the object, in camera space |
| `translation_cam`   | float32 [3]       | its origin against (0, 0, -10), camera space |
| `azimuth_deg`       | float32           | 0 = faces the camera, 90 = walks to the image's right |
| `elevation_deg`     | float32           | of the camera above the animal's horizon |
| `verts_rest`        | float16 [v,3]     | the individual at rest |
| `verts_posed`       | float16 [v,3]     | in its pose |
| `bones_rest`        | float32 [k,2,3]   | head and tail of every bone, at rest |
| `bones_posed`       | float32 [k,2,3]   | in the pose |
| `angles_rad`        | float32 [k,3]     | Euler XYZ of every bone against its parent, from rest |
| `gait`              | int64             | index into `gaits` |
| `keypoints_px`      | float32 [n,2]     | x right, y down, from the top left corner of the image |
| `keypoints_visible` | uint8 [n]         | 1 = seen, not hidden by the animal itself |
| `light`             | float32 [5]       | direction in camera space, ambient, diffuse |
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from pony_jax.data import schema
from pony_jax.data.synthetic.anatomy import BONE_NAMES, PARENTS, SPECIES
from pony_jax.data.synthetic.gait import GAITS
from pony_jax.data.synthetic.scene import Shot, take_shots
from pony_jax.data.synthetic.template import KEYPOINT_NAMES, Template, load_template

ANATOMY_FILE = "template.npz"
_SPLITS = ("train", "test")
_SEED = 0
_BATCH = 20  # images rendered together; part of what an image is, down to the last bit
_SEQUENCE_FRAMES = 4


@dataclasses.dataclass(kw_only=True)
class SyntheticQuadrupedConfig(tfds.core.BuilderConfig):
    """Sizes as in `pony_jax.data.schema`; `species` out of `pony_jax.data.synthetic.anatomy`.

    With `sequence_frames` above 1 so many examples in a row are a sequence (1: single images).
    """

    species: str
    image_size: int = 128
    feature_size: int = 64
    token_grid: int = 16
    token_dim: int = 32
    num_train: int = 2000
    num_test: int = 200
    sequence_frames: int = 1

    def __post_init__(self) -> None:
        for name in ("feature_size", "token_grid"):
            if self.image_size % getattr(self, name):
                raise ValueError(
                    f"expected {name} to divide image_size = {self.image_size}, got "
                    f"{getattr(self, name)}; choose a divisor"
                )
        if _BATCH % self.sequence_frames:
            raise ValueError(
                f"expected sequence_frames to divide the {_BATCH} images that are rendered "
                f"together, got {self.sequence_frames}; choose a divisor"
            )

    def sizes(self) -> dict[str, int]:
        """The arguments of `schema.example_features` that are sizes."""
        names = ("image_size", "feature_size", "token_grid", "token_dim")
        return {name: getattr(self, name) for name in names}


class SyntheticQuadruped(tfds.core.GeneratorBasedBuilder):
    """Builder of the synthetic animals, one config for each species."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        *(
            SyntheticQuadrupedConfig(name=name, species=name, description=f"Synthetic {name}.")
            for name in SPECIES
        ),
        SyntheticQuadrupedConfig(
            name="horse_tiny",
            species="horse",
            image_size=32,
            feature_size=16,
            token_grid=8,
            token_dim=8,
            num_train=20,
            num_test=20,
            description="Twenty small pictures, for tests of what reads them.",
        ),
        SyntheticQuadrupedConfig(
            name="horse_sequences",
            species="horse",
            sequence_frames=_SEQUENCE_FRAMES,
            description="Synthetic horses that move, with optical flow.",
        ),
        SyntheticQuadrupedConfig(
            name="horse_sequences_tiny",
            species="horse",
            image_size=32,
            feature_size=16,
            token_grid=8,
            token_dim=8,
            num_train=20,
            num_test=20,
            sequence_frames=_SEQUENCE_FRAMES,
            description="Five small sequences, for tests of what reads them.",
        ),
    )

    def __init__(self, *, data_dir: str | os.PathLike[str], **options: Any):
        super().__init__(data_dir=data_dir, file_format="array_record", **options)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        truth = truth_features(load_template(config.species))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Rendered quadrupeds with masks, features and the truth about them.",
            features=schema.example_features(
                **config.sizes(), truth=truth, has_sequences=config.sequence_frames > 1
            ),
            disable_shuffling=True,  # the order is that of the index that seeds an example
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        save_anatomy(self.data_path / ANATOMY_FILE, load_template(self.builder_config.species))
        counts = (self.builder_config.num_train, self.builder_config.num_test)
        return {
            split: self._generate_examples(split, count)
            for split, count in zip(_SPLITS, counts, strict=True)
        }

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        return make_examples(self.builder_config, split, count)


def truth_features(template: Template) -> dict[str, tfds.features.FeatureConnector]:
    """The TFDS features of `truth/`."""
    (num_verts, num_bones), num_keypoints = template.weights.shape, len(template.keypoints)

    def array(shape: tuple[int, ...], dtype: type = np.float32) -> tfds.features.Tensor:
        return tfds.features.Tensor(
            shape=shape, dtype=dtype, encoding=tfds.features.Encoding.BYTES if shape else "none"
        )

    return {
        "rotation": array((3, 3)),
        "translation_cam": array((3,)),
        "azimuth_deg": array(()),
        "elevation_deg": array(()),
        "verts_rest": array((num_verts, 3), np.float16),
        "verts_posed": array((num_verts, 3), np.float16),
        "bones_rest": array((num_bones, 2, 3)),
        "bones_posed": array((num_bones, 2, 3)),
        "angles_rad": array((num_bones, 3)),
        "gait": array((), np.int64),
        "keypoints_px": array((num_keypoints, 2)),
        "keypoints_visible": array((num_keypoints,), np.uint8),
        "light": array((5,)),
    }


def anatomy_arrays(template: Template) -> dict[str, np.ndarray]:
    """What all individuals of a species share, as it is stored."""
    return {
        **template._asdict(),
        "bone_names": np.array(BONE_NAMES),
        "bone_parents": np.array(PARENTS),
        "keypoint_names": np.array(KEYPOINT_NAMES),
        "gaits": np.array(GAITS),
    }


def save_anatomy(path: os.PathLike[str], template: Template) -> None:
    """Writes what all individuals of a species share."""
    with Path(path).open("wb") as file:
        np.savez(file, **anatomy_arrays(template))


def load_anatomy(directory: os.PathLike[str]) -> dict[str, np.ndarray]:
    """What all individuals in a data set share: the fields of `Template` (`faces [f,3]`, `weights`,
    `keypoints`, ...), `bone_names`, `bone_parents`, `keypoint_names`, `gaits`. Data sets made of
    rendered glTF have what `pony_jax.data.rigged.examples.shared_arrays` lists instead.

    `directory` is that of the shards. Raises `FileNotFoundError` where it holds no such file.
    """
    path = Path(directory) / ANATOMY_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"expected {ANATOMY_FILE} in {directory}, found none; give the directory of a data set "
            "of rendered animals, or build it again"
        )
    with np.load(path) as arrays:
        return dict(arrays)


def load_truth(directory: str | os.PathLike[str], split: str) -> dict[str, np.ndarray]:
    """`truth/` of all examples of a split, stacked: the keys above, and `id` and `box`.

    `directory` is that of the shards. For evaluation; training never calls this.
    """
    source = tfds.builder_from_directory(directory).as_data_source(split)
    rows = [{"id": row["id"], "box": row["box"], **row["truth"]} for row in source]
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


@functools.cache
def make_renderer(
    species: str,
    image_size: int,
    feature_size: int,
    token_grid: int,
    token_dim: int,
    sequence_frames: int = 1,
    seed: int = _SEED,
) -> Callable[[str, int], Shot]:
    """A function of split ('train' or 'test') and index that renders `_BATCH` images from there on.

    It is compiled once for all splits, which takes about ten seconds.
    """
    render = jax.jit(
        functools.partial(
            take_shots,
            template=load_template(species),
            species=SPECIES[species],
            image_size=image_size,
            feature_size=feature_size,
            token_grid=token_grid,
            token_dim=token_dim,
            sequence_frames=sequence_frames,
        )
    )

    def render_from(split: str, first: int) -> Shot:
        key = jax.random.key(seed, impl="threefry2x32")  # whatever the process's default is
        split_key = jax.random.fold_in(key, _SPLITS.index(split))
        indices = jnp.arange(first, first + _BATCH)
        return render(jax.vmap(lambda index: jax.random.fold_in(split_key, index))(indices))

    return render_from


def make_examples(
    config: SyntheticQuadrupedConfig, split: str, count: int, seed: int = _SEED
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first `count` (index, example) of a split, 'train' or 'test'.

    Batches always have the same size and start at multiples of it, so that an example comes out the
    same whatever `count` is. One batch is rendered while the one before is encoded.
    """
    if not count:
        return
    num_frames = config.sequence_frames
    render_from = make_renderer(
        config.species, **config.sizes(), sequence_frames=num_frames, seed=seed
    )
    ahead = render_from(split, 0)
    for first in range(0, count, _BATCH):
        shot = ahead
        if first + _BATCH < count:
            ahead = render_from(split, first + _BATCH)
        shot = jax.tree.map(np.asarray, shot)
        for row in range(min(_BATCH, count - first)):
            one = jax.tree.map(lambda array, row=row: array[row], shot)
            index = first + row
            example = _encode(one, f"{config.species}_{split}_{index:05d}")
            if num_frames > 1:
                name = f"{config.species}_{split}_{index // num_frames:05d}"
                example["sequence"] = _encode_sequence(one, name, index % num_frames)
            yield index, example


def _encode_sequence(shot: Shot, name: str, frame: int) -> dict[str, Any]:
    return {
        "name": name,
        "frame": frame,
        "flow": shot.flow.astype(np.float16),
        "flow_valid": shot.flow_valid.astype(np.uint8),
    }


def _encode(shot: Shot, name: str) -> dict[str, Any]:
    """One example in the form of `pony_jax.data.schema`, without a sequence."""
    size = shot.image.shape[0]
    # The crop lies in the middle of a photograph twice as wide, so no part of it is outside.
    box = np.array([0, size / 2, size / 2, size, size, 2 * size, 2 * size, 0], np.float32)
    return {
        "id": name,
        "image": schema.encode_png(_bytes(shot.image)),
        "mask": schema.encode_png(np.where(shot.mask, 255, 0).astype(np.uint8)),
        "box": box,
        **_encode_descriptors(shot.descriptors),
        "flip": _encode_descriptors(shot.flip_descriptors),
        "truth": _encode_truth(shot),
    }


def _encode_descriptors(descriptors: Any) -> dict[str, np.ndarray]:
    return {
        "feature": _bytes(descriptors.feature),
        "patch_key": descriptors.patch_key.astype(np.float16),
        "patch_out": descriptors.patch_out.astype(np.float16),
    }


def _encode_truth(shot: Shot) -> dict[str, np.ndarray]:
    animal, viewpoint = shot.animal, shot.viewpoint
    return {
        **viewpoint._asdict(),
        "verts_rest": animal.verts_rest.astype(np.float16),
        "verts_posed": animal.verts_posed.astype(np.float16),
        "bones_rest": animal.bones_rest,
        "bones_posed": animal.bones_posed,
        "angles_rad": animal.angles_rad,
        "gait": animal.gait.astype(np.int64),
        "keypoints_px": shot.keypoints_px,
        "keypoints_visible": shot.keypoints_visible.astype(np.uint8),
        "light": np.concatenate(shot.light),
    }


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.round(255.0 * array).astype(np.uint8)
