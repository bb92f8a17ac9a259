"""The atlas and what is baked into it."""

import numpy as np
import pytest

import rasterizer_ffi
from pony_jax.reconstruction.atlas import bake, bake_animal, unwrap
from tests.reconstruction.sample_animal import make_animal

SIZE = 256


@pytest.fixture(scope="module")
def animal():
    return make_animal()


@pytest.fixture(scope="module")
def atlas(animal):
    return unwrap(animal.prior_verts, animal.rest_mesh.faces, SIZE)


def test_atlas_is_the_mesh_cut_open(animal, atlas):
    np.testing.assert_array_equal(atlas.vert_rows[atlas.faces], animal.rest_mesh.faces)
    assert set(atlas.vert_rows) == set(range(len(animal.rest_mesh.verts)))
    assert 0 <= atlas.uv.min() and atlas.uv.max() <= 1


def test_charts_do_not_overlap(atlas):
    """Where triangles lay on each other, they would cover less than their areas' sum."""
    corners = atlas.uv[atlas.faces].astype(np.float64)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.sum(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])) / 2
    position = np.c_[2 * atlas.uv - 1, np.tile([0, 1], (len(atlas.uv), 1))].astype(np.float32)
    rast, _ = rasterizer_ffi.rasterize(position[None], atlas.faces, (1024, 1024))
    assert area > 0.4
    assert np.mean(np.asarray(rast)[..., 3] > 0) == pytest.approx(area, rel=0.01)


def test_both_sides_are_baked(animal):
    """The sample is 0.8 blue on its left and 0.3 on its right."""
    blue = bake_animal(animal, SIZE).texture[..., 2]
    assert set(np.unique(blue)) == {round(0.3 * 255), round(0.8 * 255)}
    for shade in (0.3, 0.8):
        assert np.mean(blue == round(shade * 255)) > 0.3


def test_texels_hold_the_colour_of_their_point(animal, atlas):
    """At the middle of each face that is large in the texture."""
    texture = bake(atlas, animal.prior_verts, animal.albedo, SIZE)
    corners = atlas.uv[atlas.faces].astype(np.float64)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    large = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2 * SIZE**2 > 12
    assert large.mean() > 0.5
    u, v = (corners[large].mean(axis=1) * SIZE).astype(int).T
    middle = animal.prior_verts[animal.rest_mesh.faces[large]].mean(axis=1)
    # Half a texel is up to 0.02 world units, over which colours change by up to 0.03.
    np.testing.assert_allclose(texture[v, u] / 255, animal.albedo(middle), atol=0.04)


def test_same_mesh_same_atlas(animal, atlas):
    shifted = unwrap(animal.prior_verts + np.float32(1e-3), animal.rest_mesh.faces, SIZE)
    again = unwrap(animal.prior_verts.copy(), animal.rest_mesh.faces.copy(), SIZE)
    np.testing.assert_array_equal(again.uv, atlas.uv)
    assert shifted is not atlas


def test_files_of_one_animal_share_its_texture(animal):
    assert bake_animal(animal, SIZE) is bake_animal(animal, SIZE)
    assert bake_animal(make_animal(), SIZE) is not bake_animal(animal, SIZE)


def test_what_cannot_be_baked_is_refused(animal, atlas):
    with pytest.raises(ValueError, match="an empty mesh"):
        unwrap(animal.prior_verts, np.zeros((0, 3), np.int32), SIZE)
    with pytest.raises(ValueError, match="at least 16 texels"):
        bake_animal(animal, 8)
    with pytest.raises(ValueError, match="finite colours"):
        bake(atlas, animal.prior_verts, lambda points: points * np.nan, SIZE)
    with pytest.raises(ValueError, match="finite colours"):
        bake(atlas, animal.prior_verts, lambda points: points[:5], SIZE)
