"""The splits of a run's data set; a synthetic one that is missing is made first."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from pony_jax.data.photograph_builder import PROJECTION_FILE, PROVENANCE_FILE
from pony_jax.data.pipeline import Split, load_split
from pony_jax.data.shards import DataError, dataset_directory
from pony_jax.training.errors import RunError, user_files


def load_train_and_test(config: ConfigDict, say: Callable[[str], None]) -> tuple[Split, Split]:
    """Both splits of the data set that `config` (the group `data`) names, in memory.

    Raises `RunError` that says what to do if the data set is missing, empty or bad.
    """
    make_if_missing(config, say)
    return (
        load_named_split(config, config.train_split, say),
        load_named_split(config, config.test_split, say),
    )


def load_named_split(config: ConfigDict, name: str, say: Callable[[str], None]) -> Split:
    """One split of the data set that `config` names, in memory. Raises `RunError`."""
    max_examples = {
        config.train_split: config.max_train_examples,
        config.test_split: config.max_test_examples,
    }
    try:
        split = load_split(
            config.name,
            name,
            data_dir=Path(os.path.expanduser(config.data_dir)),
            image_size=config.image_size,
            max_examples=max_examples.get(name) or None,
        )
    except DataError as error:
        raise RunError(f"data: {error}") from error
    say(
        f"data: {config.name}/{name}, {len(split)} images of {split.image_size} px, "
        f"{split.token_grid} x {split.token_grid} tokens of {split.token_dim}, "
        f"{split.num_bytes / 2**20:.0f} MiB" + (f", {split.skipped} skipped" * bool(split.skipped))
    )
    return split


def make_if_missing(config: ConfigDict, say: Callable[[str], None]) -> None:
    """Builds a data set that the project makes itself, if it is not there yet.

    One that was interrupted lies under another name and is made again. Raises `RunError` if the
    project cannot make the one that is named.
    """
    builder_name, _, builder_config = config.name.partition("/")
    data_dir = Path(os.path.expanduser(config.data_dir))
    is_there = any((data_dir / config.name).glob("*/dataset_info.json"))
    if is_there or builder_name != "synthetic_quadruped":
        return
    # Imported here since no other run needs the renderer of synthetic animals.
    from pony_jax.data.synthetic_quadruped import SyntheticQuadruped

    known = [each.name for each in SyntheticQuadruped.BUILDER_CONFIGS]
    if builder_config not in known:
        raise RunError(
            f"data.name: expected synthetic_quadruped/ and one of {', '.join(known)}, got "
            f"{config.name!r}"
        )
    say(f"data: {config.name} is not in {data_dir} yet; making it, once")
    with user_files("data.data_dir: expected a folder that can be written", data_dir):
        SyntheticQuadruped(config=builder_config, data_dir=data_dir).download_and_prepare()


def copy_projections(config: ConfigDict, workdir: Path) -> None:
    """Copies into a run's folder what turns photographs into the tokens of its data set.

    With it the folder holds all that reconstruction needs. Data sets that were not extracted from
    photographs have nothing to copy.
    """
    folder = dataset_directory(config.name, Path(os.path.expanduser(config.data_dir)))
    for name in (PROVENANCE_FILE, PROJECTION_FILE):
        if (folder / name).is_file() and not (workdir / name).exists():
            partial = workdir / f"{name}.partial"
            shutil.copyfile(folder / name, partial)
            partial.replace(workdir / name)
