"""A converted checkpoint of the original reads photographs, with the backbone it brought along."""

import json
import lzma
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import pony_jax
from pony_jax.features import converted_vit
from pony_jax.interop.convert import convert
from pony_jax.model import NO_CAPACITIES, Stage, build_model
from pony_jax.model.older_configs import complete_config
from pony_jax.model.rig import pose
from pony_jax.ops.mesh import Mesh
from pony_jax.reconstruction.learned import ModelError
from pony_jax.training.checkpoints import BACKBONE_FILE
from tests.reconstruction.red_animals import mask, picture

_GOLDEN = Path(__file__).parents[1] / "golden"
_SETTINGS = _GOLDEN / "tiny_checkpoint_config.json"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def narrow_heads():
    """The small checkpoint has fewer channels a head than any published network."""
    sizes = json.loads(_SETTINGS.read_text())["reduced_sizes_not_in_original_config"]["vit"]
    with pytest.MonkeyPatch.context() as patch:
        channels = sizes["embed_dim"] // sizes["num_heads"]
        patch.setattr(converted_vit, "_CHANNELS_PER_HEAD", channels)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    checkpoint = folder / "tiny_checkpoint.pth"
    checkpoint.write_bytes(lzma.decompress((_GOLDEN / "tiny_checkpoint.pth.xz").read_bytes()))
    convert(checkpoint, str(_SETTINGS), folder / "run")
    return folder / "run"


@pytest.mark.optimized
def test_from_the_picture_to_the_posed_vertices_as_the_original(run):
    model = pony_jax.load(run).learned
    original = dict(np.load(_GOLDEN / "tiny_checkpoint.npz"))
    reader = model.token_reader()
    pictures = np.moveaxis(original["in/images_u8"][:, 0], 1, -1)
    tokens = [reader(Image.fromarray(each)) for each in pictures]
    batch = {
        name: jnp.stack([each[i] for each in tokens])
        for i, name in enumerate(("patch_key", "patch_out"))
    }
    verts, faces = jnp.asarray(original["prior/verts"]), jnp.asarray(original["prior/faces"])
    prior = Mesh(verts, faces, jnp.int32(len(verts)), jnp.int32(len(faces)))
    stage = Stage(
        grid_resolution=0,
        articulation=True,
        deformation=True,
        attach_legs=True,
        capacities=NO_CAPACITIES,
    )
    config = complete_config(model.config)
    config.model.batch_statistics = True  # as the original is
    pony = build_model(config, model.token_shape)
    step = float(original["in/total_iter"])

    @jax.jit
    def posed_verts(params, batch):
        found = pony.bind({"params": params}).estimate(prior, batch, step, stage)
        return pose(found.rig, found.angles_rad, pony.instance.skeleton, attach_legs=True).verts

    posed = posed_verts(model.params, batch)
    expected = original["posed_verts"]
    # Both codes round: 4e-5 and 1.1e-4 of the largest, by tests/interop/test_tiny_checkpoint.py.
    assert np.abs(posed - expected).max() <= 2e-4 * np.abs(expected).max()


def test_a_photograph_with_a_mask_becomes_an_animal(run):
    size, box = (300, 220), (60, 40, 240, 180)
    model = pony_jax.load(run)
    animal = model.reconstruct(picture(size, box), mask(size, box))
    assert len(animal.posed_mesh.faces) > 100
    assert animal.skeleton.num_bones == 20
    with pytest.raises(ModelError, match="expected a mask, since this model has no foreground"):
        model.reconstruct(picture(size, box))


def test_a_damaged_backbone_is_refused_in_a_line(run):
    path = run / BACKBONE_FILE
    whole = path.read_bytes()
    arrays = dict(np.load(path))
    try:
        path.write_bytes(whole[:1000])
        with pytest.raises(ModelError, match="expected the backbone of a checkpoint"):
            pony_jax.load(run)
        np.savez(path, **{k: v for k, v in arrays.items() if k != "class_token"})
        with pytest.raises(ModelError, match="found 3 blocks of 0 channels"):
            pony_jax.load(run).learned.token_reader()
        np.savez(path, **(arrays | {"block_0/mlp_in/bias": np.zeros(3, np.float32)}))
        with pytest.raises(ModelError, match="expected the parameters of a vision transformer"):
            pony_jax.load(run).learned.token_reader()
    finally:
        path.write_bytes(whole)
