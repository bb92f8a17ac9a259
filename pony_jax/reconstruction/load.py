"""Finds a trained model by what people call it: a folder, a file, a name, or a place on the hub."""

import difflib
import os
from pathlib import Path

from pony_jax.reconstruction.learned import ModelError
from pony_jax.reconstruction.model import Model
from pony_jax.reconstruction.pony_file import SUFFIX, read_pony
from pony_jax.reconstruction.run_folder import read_run

HUB = "hf://"


def load(source: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> Model:
    """Loads a trained model.

    Args:
      source: the folder of a training run; a packed model file (`python -m pony_jax.pack`); the
        name of a model that ships with the project (`shipped_models`); or `hf://OWNER/NAME`, a
        model on the Hugging Face Hub (needs the extra `hub`).
      weights: file of the backbone's weights, if not those it publishes.

    Raises:
      ModelError: a `ValueError` of one line, if there is no such model or it cannot be used.
    """
    text = os.fspath(source)
    path = Path(os.path.expanduser(text))
    if text.startswith(HUB):
        from pony_jax.reconstruction.hub import download  # needs the extra `hub`

        learned = read_pony(download(text.removeprefix(HUB)))
    elif path.is_dir():
        learned = read_run(path)
    elif path.is_file():
        learned = read_pony(path)
    else:
        learned = read_pony(_shipped_model(text))
    return Model(learned, None if weights is None else Path(os.path.expanduser(weights)))


def shipped_models() -> tuple[str, ...]:
    """Names of the models that ship with the project."""
    folder = _shipped_folder()
    return tuple(sorted(path.stem for path in folder.glob(f"*{SUFFIX}")))


def _shipped_folder() -> Path:
    return Path(__file__).parents[1] / "models"


def _shipped_model(name: str) -> Path:
    names = shipped_models()
    if name in names:
        return _shipped_folder() / f"{name}{SUFFIX}"
    near = difflib.get_close_matches(name, names, n=1)
    raise ModelError(
        f"model: expected a run's folder, a {SUFFIX} file, {HUB}OWNER/NAME or one of the shipped "
        f"models ({', '.join(names) or 'none here'}), got {name!r}"
        + (f"; did you mean {near[0]!r}?" if near else "; check the path")
    )
