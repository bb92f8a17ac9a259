"""A web app for one person or a few: a photograph in; an animal to turn, light, move and download.

    python -m pony_jax.demo --model=horse
    python -m pony_jax.demo --model=runs/photos --examples=photographs --port=8000

--model is what `python -m pony_jax.reconstruct` takes; it must find animals without masks. The app
prints where to open it in a browser, and listens on this machine only unless --host says otherwise.
Ctrl-C ends it. Uploads and results are forgotten then, or when eight newer ones have come. What it
writes needs the extra `export`: pip install 'pony_jax[export]'.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pony_jax import command_line, path_flags
from pony_jax.data import picture_files
from pony_jax.data.file_contents import printable
from pony_jax.errors import UserError
from pony_jax.reconstruction.load import load
from pony_jax.reconstruction.web_app import Limits, WebApp
from pony_jax.training.environment import prepare_process

_DEFAULTS = Limits()
_MODEL = flags.DEFINE_string(
    "model", None, "Folder of a run, packed file, name, or hf://OWNER/NAME.", required=True
)
_EXAMPLES = path_flags.define_path("examples", None, "Folder of pictures to choose from.")
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets everyone in who reaches this machine."
)
_PORT = flags.DEFINE_integer("port", 7860, "Port to listen at; 0 takes a free one.", 0, 65535)
_MAX_WAITING = flags.DEFINE_integer(
    "max_waiting", _DEFAULTS.max_waiting, "Photographs that may wait; others are refused.", 1, 100
)
_MAX_MEGABYTES = flags.DEFINE_integer(
    "max_megabytes", _DEFAULTS.max_bytes // 10**6, "Size of an uploaded file at most.", 1, 200
)
_MAX_MEGAPIXELS = flags.DEFINE_integer(
    "max_megapixels", _DEFAULTS.max_pixels // 10**6, "Size of a photograph at most.", 1, 150
)
_REFINE = flags.DEFINE_bool("refine", True, "Whether pose and colours are fitted to the picture.")
_WEIGHTS = path_flags.define_path("weights", None, "The backbone's, if not those it publishes.")
_CACHE = path_flags.define_path(
    "compilation_cache_dir", "~/.cache/pony_jax", "Where compiled programs are kept."
)


def find_examples(folder: Path | None) -> list[Path]:
    """The pictures in a folder, by name. Raises `UserError` if there is none."""
    if folder is None:
        return []
    pictures = [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if path.suffix.lower() in picture_files.SUFFIXES and not path.name.startswith(".")
    ]
    if not pictures:
        raise UserError(
            f"--examples: expected a folder of pictures ({', '.join(picture_files.SUFFIXES)}), "
            f"found none at {printable(folder)}"
        )
    return pictures


def main(argv: Sequence[str]) -> None:
    """Serves until Ctrl-C."""
    del argv
    try:
        importlib.import_module("pony_jax.reconstruction.page")
    except ModuleNotFoundError as error:
        raise UserError(
            f"the web app needs {error.name}; install it: pip install 'pony_jax[export]'"
        ) from error
    examples = find_examples(Path(_EXAMPLES.value) if _EXAMPLES.value else None)
    prepare_process(_CACHE.value, keep_small_programs=True)
    model = load(_MODEL.value, _WEIGHTS.value)
    if model.learned.foreground_classifier() is None:
        raise UserError(
            "--model: expected one that finds animals without masks, got one that has no "
            "foreground classifier; extract its data set again and train on it"
        )
    limits = Limits(
        max_bytes=_MAX_MEGABYTES.value * 10**6,
        max_pixels=_MAX_MEGAPIXELS.value * 10**6,
        max_waiting=_MAX_WAITING.value,
    )
    try:
        app = WebApp(
            lambda picture, name: model.reconstruct(picture, refine=_REFINE.value, name=name),
            model.name,
            examples,
            (_HOST.value, _PORT.value),
            limits,
        )
    except OSError as error:
        raise UserError(
            f"cannot listen at {_HOST.value}, port {_PORT.value} ({error}); choose others with "
            "--host and --port"
        ) from error
    with app:
        print(f"open {app.url} in a browser; Ctrl-C ends the app", flush=True)
        app.serve_forever()


if __name__ == "__main__":
    command_line.run(main)
