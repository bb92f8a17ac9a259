"""The data set of synthetic animals: schema, determinism, truth against picture, interruption."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from scipy import ndimage

from pony_jax.data import synthetic_quadruped
from pony_jax.data.pipeline import load_split
from pony_jax.data.synthetic.anatomy import SPECIES
from pony_jax.data.synthetic.scene import (
    DISTANCE,
    FOV_DEG,
    camera_of,
    project_px,
    sample_light,
    sample_viewpoint,
)
from pony_jax.data.synthetic.template import KEYPOINT_NAMES, load_template
from pony_jax.data.synthetic_quadruped import (
    SyntheticQuadruped,
    SyntheticQuadrupedConfig,
    load_anatomy,
    load_truth,
    make_examples,
    make_renderer,
)
from pony_jax.ops.cameras import camera_from_pose

SIZE = 64
CONFIG = SyntheticQuadrupedConfig(
    name="tiny",
    species="horse",
    image_size=SIZE,
    feature_size=32,
    token_grid=8,
    token_dim=12,
    num_train=4,
    num_test=2,
)
needs_rasterizer = pytest.mark.slow  # compiles the whole scene, some ten seconds, once


@pytest.fixture(scope="module")
def shots() -> Any:
    """Twenty photographs as arrays."""
    return jax.tree.map(np.asarray, make_renderer("horse", **CONFIG.sizes())("train", 0))


@pytest.fixture(scope="module")
def sequences() -> Any:
    """Five sequences of four frames, one after the other."""
    render_from = make_renderer("horse", **CONFIG.sizes(), sequence_frames=4)
    return jax.tree.map(np.asarray, render_from("train", 0))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic")
    SyntheticQuadruped(config=CONFIG, data_dir=path).download_and_prepare()
    return path


def test_viewpoints_go_all_around_and_centre_the_animal():
    verts = load_template("horse").verts
    keys = jax.random.split(jax.random.key(0), 200)
    views = jax.jit(jax.vmap(lambda key: sample_viewpoint(key, verts)))(keys)
    assert np.histogram(views.azimuth_deg, bins=4, range=(0, 360))[0].min() > 25
    assert views.elevation_deg.min() >= -5 and views.elevation_deg.max() <= 25
    posed = np.broadcast_to(verts, (200, *verts.shape))
    places = project_px(camera_of(views).clip_from_world, posed, SIZE)
    low, high = places.min(1), places.max(1)
    assert np.abs(0.5 * (low + high) - SIZE / 2).max() < 0.12 * SIZE
    assert 0.6 < (high - low).max(1).min() / SIZE and (high - low).max() < SIZE


def test_viewpoint_says_what_its_angles_mean():
    verts = load_template("horse").verts
    views = jax.vmap(lambda key: sample_viewpoint(key, verts))(
        jax.random.split(jax.random.key(0), 50)
    )
    azimuth, elevation = np.radians(views.azimuth_deg), np.radians(views.elevation_deg)
    right, up, forward = np.moveaxis(np.asarray(views.rotation), 1, 0)
    np.testing.assert_allclose(np.cross(right, up), forward, atol=1e-5)
    # An azimuth of 0 faces the camera (+z), one of 90 degrees the right of the image (+x).
    np.testing.assert_allclose(forward[:, 0], np.sin(azimuth), atol=1e-5)
    # Seen from above, the animal's up leans towards the camera.
    np.testing.assert_allclose(up[:, 2], np.sin(elevation), atol=1e-5)
    np.testing.assert_allclose(up[:, 0], 0.0, atol=1e-6)


def test_light_comes_from_above():
    light = jax.vmap(sample_light)(jax.random.split(jax.random.key(0), 50))
    np.testing.assert_allclose(np.linalg.norm(light.direction, axis=-1), 1.0, rtol=1e-5)
    assert light.direction[:, 1].min() > 0.3
    assert light.ambient.min() >= 0.35 and light.diffuse.max() <= 0.9


def test_sizes_that_do_not_divide_are_told():
    with pytest.raises(ValueError, match="expected token_grid to divide image_size = 128, got 15"):
        SyntheticQuadrupedConfig(name="odd", species="horse", token_grid=15)


def test_sequences_that_do_not_fill_a_batch_are_told():
    with pytest.raises(ValueError, match=r"expected sequence_frames to divide the 20 .* got 3"):
        SyntheticQuadrupedConfig(name="odd", species="horse", sequence_frames=3)


def test_there_is_a_config_for_each_species():
    assert set(SyntheticQuadruped.builder_configs) >= set(SPECIES)


def test_directories_without_truth_are_told(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"expected template.npz in .*build it again"):
        load_anatomy(tmp_path)


@needs_rasterizer
def test_mask_is_where_the_posed_vertices_are(shots: Any):
    views = shots.viewpoint
    camera = camera_from_pose(
        views.rotation, views.translation_cam, distance=DISTANCE, fov_y_deg=FOV_DEG
    )
    places = np.asarray(project_px(camera.clip_from_world, shots.animal.verts_posed, SIZE))
    for mask, at in zip(shots.mask[..., 0], places, strict=True):
        drawn = np.zeros((SIZE, SIZE), bool)
        column, row = np.clip(at.astype(int), 0, SIZE - 1).T
        drawn[row, column] = True
        assert np.mean(ndimage.binary_dilation(mask)[row, column]) > 0.99
        assert np.mean(ndimage.binary_dilation(drawn, iterations=2)[mask]) > 0.99


@needs_rasterizer
def test_visible_keypoints_lie_on_the_mask_and_hidden_ones_are_hidden(shots: Any):
    column, row = np.clip(shots.keypoints_px.astype(int), 0, SIZE - 1).transpose(2, 0, 1)
    near = np.stack([ndimage.binary_dilation(mask, iterations=2) for mask in shots.mask[..., 0]])
    on_mask = near[np.arange(len(row))[:, None], row, column]
    assert np.mean(on_mask[shots.keypoints_visible]) > 0.99
    names = list(KEYPOINT_NAMES)
    side_on = np.abs(np.sin(np.radians(shots.viewpoint.azimuth_deg))) > 0.9
    left_near = np.sin(np.radians(shots.viewpoint.azimuth_deg)) < 0  # head to the image's left
    for side, seen in (("left", left_near), ("right", ~left_near)):
        eye = shots.keypoints_visible[:, names.index(f"{side}_stifle")]
        assert np.mean(eye[side_on & seen]) > 0.7
        assert not np.any(eye[side_on & ~seen])


@needs_rasterizer
def test_bones_lie_inside_the_animal(shots: Any):
    views = shots.viewpoint
    bones = shots.animal.bones_posed.reshape(len(shots.mask), -1, 3)
    places = project_px(camera_of(views).clip_from_world, bones, SIZE)
    column, row = np.clip(np.asarray(places).astype(int), 0, SIZE - 1).transpose(2, 0, 1)
    near = np.stack([ndimage.binary_dilation(mask, iterations=2) for mask in shots.mask[..., 0]])
    assert np.mean(near[np.arange(len(row))[:, None], row, column]) > 0.98


@needs_rasterizer
def test_features_are_zero_off_the_animal_and_in_range_on_it(shots: Any):
    feature, mask = shots.descriptors.feature, shots.mask
    assert feature.min() >= 0 and feature.max() <= 1
    small = mask.reshape(len(mask), 32, 2, 32, 2).any((2, 4))
    around = np.stack([ndimage.binary_dilation(one) for one in small])
    # Hairs of the tail thinner than half a pixel have features but no mask.
    assert np.mean(feature[~around] != 0) < 0.005
    whole = mask.reshape(len(mask), 32, 2, 32, 2).all((2, 4))
    assert np.mean(feature[whole] > 0) > 0.99


@needs_rasterizer
def test_mirrored_features_are_near_but_not_the_mirrored_features(shots: Any):
    for name, high in (("feature", 0.06), ("patch_key", 0.6), ("patch_out", 0.6)):
        plain = getattr(shots.descriptors, name)[:, :, ::-1]
        flip = getattr(shots.flip_descriptors, name)
        difference = np.abs(plain - flip).mean()
        assert 0 < difference < high * (1 if name != "feature" else np.mean(plain > 0)), name
    keys = shots.descriptors.patch_key[:, :, ::-1].ravel(), shots.flip_descriptors.patch_key.ravel()
    assert 0.5 < np.corrcoef(*keys)[0, 1] < 0.99


@needs_rasterizer
def test_frames_of_a_sequence_show_one_animal_that_moves(sequences: Any):
    animal, view = sequences.animal, sequences.viewpoint

    def clips(array: np.ndarray) -> np.ndarray:
        return array.reshape(5, 4, *array.shape[1:])

    for still in (animal.verts_rest, view.elevation_deg, sequences.light.direction):
        assert np.ptp(clips(still), axis=1).max() < 1e-5
        assert np.ptp(still, axis=0).max() > 0.01
    assert np.ptp(clips(animal.gait), axis=1).max() == 0
    moves = np.linalg.norm(np.diff(clips(animal.verts_posed), axis=1), axis=-1)
    assert np.all(moves.max(-1) > 0.01) and moves.max() < 0.6  # the animal is 3 to 4 long
    turns_deg = np.diff(clips(view.azimuth_deg), axis=1)
    assert np.abs(turns_deg).max() <= 3.001 and np.abs(turns_deg).min() > 0.01
    assert np.ptp(turns_deg, axis=1).max() < 1e-3
    # Each frame has noise of its own; what is far from the animal changes by nothing else.
    corner = clips(sequences.image)[:, :, :4, :4]
    assert 0.003 < np.abs(np.diff(corner, axis=1)).mean() < 0.03


@needs_rasterizer
def test_flow_is_the_way_of_what_a_pixel_shows(sequences: Any):
    """At key points, whose places are projected without a rasteriser."""
    flow, valid = sequences.flow, sequences.flow_valid[..., 0]
    last = np.arange(20) % 4 == 3
    assert not valid[last].any() and not flow[last].any() and not flow[~valid].any()
    np.testing.assert_array_equal(valid[~last], sequences.mask[~last, ..., 0])
    ways, flows = [], []
    for frame in np.flatnonzero(~last):
        place = sequences.keypoints_px[frame]
        column, row = np.clip(place.astype(int), 0, SIZE - 1).T
        kept = sequences.keypoints_visible[frame] & valid[frame, row, column]
        ways.append((sequences.keypoints_px[frame + 1] - place)[kept] / (SIZE / 2))
        flows.append(flow[frame, row, column][kept])
    ways, flows = np.concatenate(ways), np.concatenate(flows)
    assert len(ways) > 100 and np.abs(ways).max() > 0.05
    # A key point is up to half a pixel from the middle of its pixel, and may be hidden by a limb.
    error = np.abs(ways - flows).max(axis=1)
    assert np.median(error) < 0.003 and np.mean(error < 0.02) > 0.95
    assert np.corrcoef(ways.ravel(), flows.ravel())[0, 1] > 0.95


@needs_rasterizer
def test_examples_of_sequences_are_named_and_numbered(tmp_path: Path):
    config = SyntheticQuadruped.builder_configs["horse_sequences_tiny"]
    made = [example["sequence"] for _, example in make_examples(config, "test", 20)]
    places = [(sequence["name"], sequence["frame"]) for sequence in made]
    assert places == [(f"horse_test_{i // 4:05d}", i % 4) for i in range(20)]
    SyntheticQuadruped(config=config, data_dir=tmp_path).download_and_prepare()
    name = f"synthetic_quadruped/{config.name}"
    split = load_split(name, "test", data_dir=tmp_path, image_size=32)
    assert split.clips(4).tolist() == np.arange(20).reshape(5, 4).tolist()
    stored = np.stack([sequence["flow"] for sequence in made])
    read = [example["sequence"]["flow"] for example in split.examples.take(split.index)]
    np.testing.assert_array_equal(read, stored)


@needs_rasterizer
def test_examples_repeat_bit_for_bit():
    runs = [dict(make_examples(CONFIG, "test", 3))]
    make_renderer.cache_clear()  # neither a new compilation nor the length of the split matters
    runs.append(dict(make_examples(CONFIG, "test", 2)))
    assert [*runs[0]] == [0, 1, 2] and [*runs[1]] == [0, 1]
    for index in runs[1]:
        jax.tree.map(np.testing.assert_array_equal, runs[0][index], runs[1][index])
    assert runs[0][0]["image"] != runs[0][1]["image"]
    assert runs[0][0]["image"] != next(make_examples(CONFIG, "train", 1))[1]["image"]


@needs_rasterizer
def test_shards_read_back_as_written(data_dir: Path):
    made = [example for _, example in make_examples(CONFIG, "train", 4)]
    directory = data_dir / "synthetic_quadruped" / "tiny" / "1.0.0"
    source = tfds.builder_from_directory(directory).as_data_source("train")
    assert len(source) == 4
    for row, wanted in zip(source, made, strict=True):
        for key in ("feature", "patch_key", "patch_out"):
            np.testing.assert_array_equal(row[key], wanted[key])
            np.testing.assert_array_equal(row["flip"][key], wanted["flip"][key])
        for key, value in wanted["truth"].items():
            np.testing.assert_array_equal(row["truth"][key], value)
        assert row["image"].shape == (SIZE, SIZE, 3)
        assert set(np.unique(row["mask"])) == {0, 255}


@needs_rasterizer
def test_pipeline_reads_it_and_the_truth_is_apart(data_dir: Path):
    split = load_split("synthetic_quadruped/tiny", "test", data_dir=data_dir, image_size=32)
    assert (len(split), split.token_grid, split.token_dim, split.skipped) == (2, 8, 12, 0)
    for example in split.examples.take(split.index):
        assert example["valid_rows"].all() and example["valid_columns"].all()
    directory = data_dir / "synthetic_quadruped" / "tiny" / "1.0.0"
    truth, anatomy = load_truth(directory, "test"), load_anatomy(directory)
    template = load_template("horse")
    assert truth["verts_posed"].shape == (2, *template.verts.shape)
    assert truth["keypoints_px"].shape == (2, len(KEYPOINT_NAMES), 2)
    np.testing.assert_array_equal(anatomy["faces"], template.faces)
    assert tuple(anatomy["keypoint_names"]) == KEYPOINT_NAMES


def test_an_interrupted_build_is_not_taken_for_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stops(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic_quadruped, "make_examples", stops)
    with pytest.raises(KeyboardInterrupt):
        SyntheticQuadruped(config=CONFIG, data_dir=tmp_path).download_and_prepare()
    assert not (tmp_path / "synthetic_quadruped" / "tiny" / "1.0.0").exists()
    with pytest.raises(FileNotFoundError):
        load_split("synthetic_quadruped/tiny", "train", data_dir=tmp_path, image_size=32)
