"""A picture becomes an animal: the same one every time, whole, and turned the right way."""

import dataclasses

import numpy as np
import pytest
from absl import logging
from PIL import Image

from pony_jax.data.picture_files import BadPhotographError
from pony_jax.features.backbones import load_backbone
from pony_jax.reconstruction import learned as learned_module
from pony_jax.reconstruction.learned import ModelError
from pony_jax.reconstruction.model import Model
from tests.reconstruction.colour_error import colour_error
from tests.reconstruction.red_animals import TOKEN_SHAPE, Colours, learned, mask, picture

_SIZE, _BOX = (200, 150), (50, 30, 160, 110)


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_module, "load_backbone", lambda name, weights: Colours())
        yield Model(learned())


@pytest.fixture(scope="module")
def animal(model):
    return model.reconstruct(picture(_SIZE, _BOX), mask(_SIZE, _BOX))


def _numbers(animal):
    return (
        animal.posed_mesh.verts,
        animal.angles_rad,
        animal.skin_weights,
        animal.camera.cam_from_world,
        animal.albedo(animal.prior_verts),
        animal.light.direction_cam,
        animal.photograph,
    )


def _assert_equal(first, second):
    for one, other in zip(_numbers(first), _numbers(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_mesh_is_whole_and_wound_outwards(animal):
    for mesh in (animal.rest_mesh, animal.posed_mesh):
        corners = mesh.verts[mesh.faces].astype(np.float64)
        volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        assert volume > 0.1
    # Closed: each edge belongs to two faces, in opposite directions; and no vertex is padding.
    edges = np.concatenate([animal.rest_mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    forward, backward = (np.unique(e, axis=0) for e in (edges, edges[:, ::-1]))
    np.testing.assert_array_equal(forward, backward)
    assert len(np.unique(edges)) == len(animal.rest_mesh.verts)


def test_the_animal_poses_itself_as_the_model_did(animal):
    # Both multiply the same matrices, the model in float32.
    posed = animal.pose(animal.angles_rad).verts
    np.testing.assert_allclose(posed, animal.posed_mesh.verts, atol=2e-5)
    assert np.abs(animal.angles_rad).max() > 0


def test_the_crop_is_that_of_the_mask(animal):
    side = int(np.ceil(1.2 * 111))
    assert animal.box_px == (round(50 + (111 - side) / 2), round(30 + (81 - side) / 2), side, side)
    assert animal.photograph.shape == (side, side, 3)
    assert animal.mask.shape == (32, 32) and 0 <= animal.mask.min() and animal.mask.max() <= 1
    assert animal.name == "picture" and animal.category == "horse"
    assert animal.hypotheses.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_path_picture_and_array_are_the_same(model, animal, tmp_path):
    image, outline = picture(_SIZE, _BOX), mask(_SIZE, _BOX)
    image.save(tmp_path / "red.png")
    outline.save(tmp_path / "outline.png")
    by_path = model.reconstruct(tmp_path / "red.png", str(tmp_path / "outline.png"))
    assert by_path.name == "red"
    _assert_equal(by_path, animal)
    _assert_equal(model.reconstruct(np.asarray(image), np.asarray(outline) > 127), animal)


def test_other_pictures_do_not_matter(model, animal):
    others = [picture(_SIZE, (10, 60, 90, 140)), picture(_SIZE, _BOX)]
    masks = [None, mask(_SIZE, _BOX)]
    _, again = model.reconstruct_all(others, masks)
    _assert_equal(again, animal)


def test_without_mask_the_animal_is_found(model):
    found = model.reconstruct(picture(_SIZE, _BOX))
    x0, y0, side, _ = found.box_px
    assert abs(x0 + side / 2 - 105) < 10 and abs(y0 + side / 2 - 70) < 10
    assert side == pytest.approx(133, rel=0.2)


def test_of_several_animals_the_largest_is_taken_with_a_warning(model, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    two = picture((300, 150), (20, 20, 130, 120), (200, 40, 280, 110))
    assert model.reconstruct(two).box_px[0] < 100
    assert said == ["picture: found 2 animals, took the largest"]
    each = model.reconstruct_each(two, name="herd")
    assert [animal.name for animal in each] == ["herd_1", "herd_2"]
    assert each[1].box_px[0] > 100


def test_refinement_is_optional(model, animal):
    plain = model.reconstruct(picture(_SIZE, _BOX), mask(_SIZE, _BOX), refine=False)
    assert np.abs(plain.angles_rad - animal.angles_rad).max() > 1e-4


def test_a_tuned_texture_is_nearer_to_the_picture_and_changes_nothing_else(model, animal):
    tuned, again = (
        model.reconstruct(picture(_SIZE, _BOX), mask(_SIZE, _BOX), finetune_texture=True)
        for _ in range(2)
    )
    _assert_equal(tuned, again)
    without_albedo = [i for i in range(len(_numbers(animal))) if i != 4]
    for i in without_albedo:
        np.testing.assert_array_equal(_numbers(tuned)[i], _numbers(animal)[i])
    # The network is untrained: 50 steps take it a twentieth of the way from grey to red.
    assert colour_error(tuned, 0.5) < 0.97 * colour_error(animal, 0.5)


@pytest.mark.parametrize(
    "image, outline, message",
    [
        (picture((90, 60)), None, "picture: expected a picture of a horse, found none in it"),
        (picture(_SIZE, _BOX), Image.new("L", _SIZE), "expected a mask with foreground"),
        (picture(_SIZE, _BOX), Image.new("L", (90, 90), 255), "expected a mask of the photograph"),
        (np.zeros((5, 5, 2)), None, r"expected shape \[h, w\]"),
        ("/no/such/picture.png", None, "expected a readable image"),
    ],
)
def test_bad_pictures_are_refused_in_a_line(model, image, outline, message):
    with pytest.raises(BadPhotographError, match=message) as error:
        model.reconstruct(image, outline)
    assert "\n" not in str(error.value)


def test_a_model_without_a_classifier_wants_a_mask(monkeypatch):
    monkeypatch.setattr(learned_module, "load_backbone", lambda name, weights: Colours())
    features = {k: v for k, v in learned().features.items() if not k.startswith("foreground/")}
    model = Model(learned(features=features))
    with pytest.raises(ModelError, match="give a mask, or extract the data set again"):
        model.reconstruct(picture(_SIZE, _BOX))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"backbone_sha256": "d" * 64}, "the weights of colours that the model was trained with"),
        ({"features": {"patch_key/mean": np.zeros(3)}}, r"patch_key: expected arrays .* no \["),
        ({"token_shape": (8, 7)}, r"parameter .*: expected the shape"),
    ],
)
def test_what_does_not_belong_together_is_refused(monkeypatch, changes, message):
    monkeypatch.setattr(learned_module, "load_backbone", lambda name, weights: Colours())
    with pytest.raises(ModelError, match=message):
        Model(learned(**changes)).reconstruct(picture(_SIZE, _BOX), mask(_SIZE, _BOX))


def test_an_unknown_backbone_is_refused(monkeypatch):
    monkeypatch.setattr(learned_module, "load_backbone", load_backbone)
    model = Model(dataclasses.replace(learned(), backbone="resnet"))
    with pytest.raises(ModelError, match="expected a backbone of efficientnet_lite0, dino_vits8"):
        model.reconstruct(picture(_SIZE, _BOX), mask(_SIZE, _BOX))
    assert TOKEN_SHAPE == model.learned.token_shape


def test_masks_of_all_animals_lie_where_they_are(model, monkeypatch):
    """With a head for silhouettes that sees red."""
    if not model._pony.instance.silhouette_hidden:
        with pytest.raises(ModelError, match="expected a model that predicts silhouettes"):
            model.find_masks(picture(_SIZE, _BOX))
        instance = dataclasses.replace(model._pony.instance, silhouette_hidden=8)
        monkeypatch.setattr(model, "_pony", model._pony.clone(instance=instance))

    def redness(inputs):
        return (inputs["image"][0, ..., 0] > 0.5).astype(np.float32)

    monkeypatch.setattr(model, "_silhouette", redness)
    other_box = (5, 5, 45, 35)
    masks = model.find_masks(picture(_SIZE, _BOX, other_box))
    assert len(masks) == 2
    for found, box in zip(masks, (_BOX, other_box), strict=True):
        expected = np.asarray(mask(_SIZE, box)) > 127
        is_animal = np.asarray(found) > 127
        assert found.size == _SIZE
        # The silhouette has a pixel for two of the picture's, so edges are a pixel off.
        assert (is_animal & expected).sum() / (is_animal | expected).sum() > 0.85
    assert model.find_masks(picture(_SIZE)) == []
