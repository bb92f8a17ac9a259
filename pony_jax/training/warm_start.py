"""A run that starts with what another run has learned."""

import os
from pathlib import Path

import jax.numpy as jnp
from ml_collections import ConfigDict

from pony_jax.training.checkpoints import Checkpoints, differing_keys, load_config
from pony_jax.training.errors import RunError
from pony_jax.training.step import TrainState

# What parameters of the same shapes mean. Other keys of the model may change from run to run.
_MEANING = (
    "grid_scale",
    "sdf_start",
    "sdf_constant",
    "ellipsoid",
    "sdf_mirror",
    "feature_mirror",
    "texture_mirror",
    "deformation_mirror",
    "articulation_features",
    "num_body_bones",
    "num_legs",
    "num_leg_bones",
    "body_bones_from",
    "hypotheses",
    "hypothesis_side",
    "viewpoint_tokens",
    "viewpoint_mirror",
    "elevation_deg",
)


def warm_start(fresh: TrainState, config: ConfigDict) -> TrainState:
    """The state in which a run begins that starts from another run's newest checkpoint.

    It counts as `config.start.share` of the way through.

    Args:
      fresh: the state of this run if it started from nothing.
      config: the whole configuration of this run; `start.from_run` names the other.

    Raises:
      RunError: if there is no such run, or its model is unlike this one.
    """
    start = config.start
    path = Path(os.path.expanduser(start.from_run))
    try:
        other = load_config(path)
    except RunError as error:
        raise RunError(
            f"start.from_run: expected the folder of a trained run or of a converted checkpoint, "
            f"got {path} ({error}); name another with --config.start.from_run=DIR"
        ) from error
    meaning = {f"model.{key}" for key in _MEANING}
    unlike = [text for key, text in differing_keys(other, config).items() if key in meaning]
    if unlike:
        raise RunError(
            f"start.from_run: expected a run of a model like this one, found {path} with "
            f"{'; '.join(unlike)}; start from another run or change these keys"
        )
    try:
        learned, _ = Checkpoints(path, keep=1).restore(lambda progress: fresh)
    except RunError as error:
        raise RunError(
            f"start.from_run: expected the checkpoint of a model like this one ({error})"
        ) from error
    return TrainState(
        params=learned.params,
        moments=learned.moments if start.moments else fresh.moments,
        step=jnp.int32(round(start.share * config.num_steps)),
    )
