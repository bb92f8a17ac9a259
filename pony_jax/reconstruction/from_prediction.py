"""A prediction of the model, in padded arrays, as an `Animal`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pony_jax.model import Pony, Prediction
from pony_jax.model.pony import Params
from pony_jax.reconstruction.animal import Animal, Camera, Hypotheses, Light, TriangleMesh
from pony_jax.reconstruction.learned import ModelError
from pony_jax.reconstruction.skeleton import Skeleton

_CHUNK = 1 << 14
"""Points whose colours are looked up at once: one program serves any number of them."""

Albedo = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]]


def animal_from_prediction(
    prediction: Prediction,
    model: Pony,
    albedo: Albedo,
    *,
    name: str,
    category: str,
    **shown: object,
) -> Animal:
    """The animal in a prediction of one image.

    The model winds faces inwards; here they are turned.

    Args:
      shown: `photograph`, `mask` and `box_px` of `Animal`.

    Raises:
      ModelError: if the mesh is empty.
    """
    rig = prediction.rig
    num_verts, num_faces = int(rig.prior.vert_count), int(rig.prior.face_count)
    if not num_faces:
        raise ModelError("expected a shape, found an empty mesh; the model has not learned one yet")
    faces = np.ascontiguousarray(np.asarray(rig.prior.faces[:num_faces])[:, ::-1])

    def mesh(verts: np.ndarray) -> TriangleMesh:
        return TriangleMesh(np.asarray(verts[0, :num_verts]), faces)

    skeleton = Skeleton.from_model(
        model.instance.skeleton, np.asarray(rig.bones_rest[0]), np.asarray(rig.parents[0])
    )
    weights = np.asarray(rig.weights[0, :num_verts], np.float32)
    light = prediction.light
    return Animal(
        name=name,
        category=category,
        rest_mesh=mesh(rig.verts_rest),
        posed_mesh=mesh(prediction.posed_verts),
        prior_verts=np.asarray(rig.prior.verts[:num_verts]),
        skeleton=skeleton,
        skin_weights=weights / weights.sum(axis=1, keepdims=True),
        angles_rad=np.asarray(prediction.angles_rad[0]),
        camera=Camera(
            np.asarray(prediction.camera.cam_from_world[0]),
            model.camera.fov_y_deg,
            model.rendering.image_size,
        ),
        light=Light(
            np.asarray(light.direction_cam[0]),
            float(np.ravel(light.ambient[0])[0]),
            float(np.ravel(light.diffuse[0])[0]),
        ),
        hypotheses=Hypotheses(
            np.asarray(prediction.probabilities[0]),
            np.asarray(prediction.hypothesis_rotations[0]),
        ),
        albedo=albedo,
        **shown,
    )


def albedo_function(model: Pony) -> Callable[[Params, Float[np.ndarray, " d"]], Albedo]:
    """A maker of `Animal.albedo`, from parameters and the appearance vector of an image."""

    @jax.jit
    def look_up(params: Params, points: jax.Array, appearance: jax.Array) -> jax.Array:
        return model.apply({"params": params}, points, appearance, method=Pony.albedo)

    def make(params: Params, appearance: Float[np.ndarray, " d"]) -> Albedo:
        def albedo(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
            """Colours at points of the prior space; any number of them."""
            points = np.asarray(points, np.float32)
            colours = np.empty((len(points), 3), np.float32)
            for start in range(0, len(points), _CHUNK):
                part = points[start : start + _CHUNK]
                padded = np.zeros((_CHUNK, 3), np.float32)
                padded[: len(part)] = part
                looked_up = look_up(params, jnp.asarray(padded), appearance)
                colours[start : start + len(part)] = np.asarray(looked_up)[: len(part)]
            return colours

        return albedo

    return make
