"""Files of what a real model predicts, untrained: the whole way from parameters to a `.glb`."""

import jax
import numpy as np
import pytest

from configs import horse
from pony_jax.evaluation.predictor import Predictor
from pony_jax.model import NO_CAPACITIES, build_model
from pony_jax.reconstruction.atlas import bake_animal
from pony_jax.reconstruction.from_prediction import albedo_function, animal_from_prediction
from pony_jax.reconstruction.gltf import encode_glb
from pony_jax.reconstruction.render import Renderer
from tests.reconstruction.glb_reader import Glb

pytestmark = pytest.mark.slow

_NUM_UPDATES = 100  # late enough for all bones to turn and the shape to deform


@pytest.fixture(scope="module")
def reconstructed():
    """An animal and the prediction that it comes from."""
    config = horse.get_config("test")
    config.model.refine_steps = 0  # nothing here depends on it, and it is most of the compilation
    model = build_model(config, (8, 6))
    rng = np.random.default_rng(0)
    # Noise of the parameters' shapes: as good as a fresh model, without compiling its start.
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    params = jax.tree.map(lambda x: np.float32(0.1 * rng.normal(size=x.shape)), shapes)
    tokens = rng.normal(size=(2, 1, 8, 8, 6)).astype(np.float32)
    image = rng.uniform(size=(1, 32, 32, 3)).astype(np.float32)
    batch = {"image": image, "patch_key": tokens[0], "patch_out": tokens[1]}
    prediction = Predictor(model, NO_CAPACITIES).predict(params, batch, _NUM_UPDATES)
    albedo = albedo_function(model)(params, prediction.appearance[0])
    animal = animal_from_prediction(prediction, model, albedo, name="a", category="horse")
    return animal, prediction


@pytest.fixture(scope="module")
def textured(reconstructed):
    return bake_animal(reconstructed[0], 512)


def test_files_pose_as_the_model_does(reconstructed, textured, assert_valid_gltf, tmp_path):
    animal, _ = reconstructed
    assert np.abs(animal.angles_rad).max() > 0.01
    expected = animal.posed_mesh.verts[textured.atlas.vert_rows]
    # The promises of the four largest, fitted weights, and of all of them.
    for influences, promised in (("4", 0.005), ("8", 0.005), ("all", 1e-5)):
        path = tmp_path / f"{influences}.glb"
        path.write_bytes(encode_glb(animal, texture_size=512, influences=influences))
        error = np.linalg.norm(Glb(path).skinned() - expected, axis=1).max()
        assert error / animal.body_length < promised
    assert_valid_gltf(*tmp_path.glob("*.glb"))


def test_the_baked_animal_looks_as_the_model_renders_it(reconstructed):
    animal, prediction = reconstructed
    camera = animal.camera
    drawn = Renderer(animal, camera.image_size, 512).draw(
        animal.posed_mesh, camera.cam_from_world, "lit"
    )
    inside = prediction.mask[0, ..., 0] > 0.99  # where no background shines through
    assert inside.sum() > 50
    difference = np.asarray(drawn) / 255 - np.clip(prediction.image[0], 0, 1)
    psnr_db = -10 * np.log10(np.mean(difference[inside] ** 2))
    assert psnr_db >= 27


def test_the_mesh_is_wound_outwards(reconstructed):
    mesh = reconstructed[0].rest_mesh
    a, b, c = (mesh.verts[corner].astype(np.float64) for corner in mesh.faces.T)
    assert np.einsum("fi,fi->", a, np.cross(b, c)) > 0  # six times the volume
