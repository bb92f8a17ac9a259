"""The rigged `.usdz`, read back by Pixar's library."""

import numpy as np
import pytest

pytest.importorskip("pxr", reason="the extra `usd` is not installed")

from pxr import Gf, Usd, UsdGeom, UsdSkel, UsdValidation, Vt

from pony_jax.reconstruction.atlas import bake_animal
from tests.reconstruction.sample_animal import make_animal, make_clip


@pytest.fixture(scope="module")
def animal():
    return make_animal()


@pytest.fixture(scope="module")
def textured(animal):
    return bake_animal(animal, 128)


def _skinned(stage, time):
    """Points of the mesh as USD's own skinning poses them."""
    cache = UsdSkel.Cache()
    root = UsdSkel.Root(stage.GetPrimAtPath("/Animal"))
    cache.Populate(root, Usd.PrimDefaultPredicate)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Animal/Mesh"))
    query = cache.GetSkinningQuery(mesh.GetPrim())
    skeleton = cache.GetSkelQuery(UsdSkel.Skeleton(stage.GetPrimAtPath("/Animal/Skeleton")))
    transforms = Vt.Matrix4dArray(skeleton.ComputeSkinningTransforms(time))
    points = Vt.Vec3fArray(mesh.GetPointsAttr().Get())
    assert query.ComputeSkinnedPoints(transforms, points, time)
    assert query.GetGeomBindTransform() == Gf.Matrix4d(1)
    return np.array(points)


def test_usd_poses_the_animal(animal, textured, tmp_path):
    (file,) = animal.export(tmp_path / "horse.usdz", texture_size=128)
    stage = Usd.Stage.Open(str(file))
    expected = animal.posed_mesh.verts[textured.atlas.vert_rows]
    error = np.linalg.norm(_skinned(stage, Usd.TimeCode.Default()) - expected, axis=1).max()
    assert error / animal.body_length < 0.005  # four weights a vertex, as in the .glb


def test_usd_plays_the_clip(animal, textured, tmp_path):
    clip = make_clip(animal)
    (file,) = animal.export(tmp_path / "horse.usdz", clips=[clip], texture_size=128)
    stage = Usd.Stage.Open(str(file))
    assert stage.GetEndTimeCode() / stage.GetTimeCodesPerSecond() == clip.times_s[-1]
    for frame in (0, 3):
        time = Usd.TimeCode(clip.times_s[frame] * stage.GetTimeCodesPerSecond())
        mesh = animal.pose(
            clip.angles_rad[frame], clip.root_translation[frame], clip.root_rotation[frame]
        )
        error = np.abs(_skinned(stage, time) - mesh.verts[textured.atlas.vert_rows]).max()
        assert error / animal.body_length < 0.02  # four weights in a pose that is not the photo's


def test_usds_validators_find_nothing(animal, tmp_path):
    (file,) = animal.export(tmp_path / "horse.usdz", clips=[make_clip(animal)], texture_size=128)
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    names = {validator.GetMetadata().name for validator in validators}
    assert "usdUtilsValidators:UsdzPackageValidator" in names
    context = UsdValidation.ValidationContext(validators)
    errors = context.Validate(Usd.Stage.Open(str(file)))
    assert not [error.GetMessage() for error in errors]


def test_same_animal_same_bytes(animal, tmp_path):
    files = [tmp_path / f"{i}.usdz" for i in range(2)]
    for file, each in zip(files, (animal, make_animal()), strict=True):
        each.export(file, texture_size=128)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_usd_cannot_hold_is_refused(animal, tmp_path):
    clips = [make_clip(animal, "walk"), make_clip(animal, "trot")]
    with pytest.raises(ValueError, match="at most one clip"):
        animal.export(tmp_path / "a.usdz", clips=clips, texture_size=128)
    with pytest.raises(ValueError, match="letters, digits"):
        animal.export(tmp_path / "a.usdz", names={"head": "Bip01 Head"}, texture_size=128)
