"""Reconstructs the animals in photographs: one picture in, rigged and animated 3D files out.

    python -m pony_jax.reconstruct horse.jpg --model=runs/photos --out=reconstructed
    python -m pony_jax.reconstruct photographs/ more/*.jpg --model=horse.pony --out=reconstructed

Pictures are files or folders of files. --model is the folder of a training run, a packed model file
(`python -m pony_jax.pack`), the name of a model that ships with the project, or hf://OWNER/NAME.
Without --masks the animal is found in the picture; the largest, if there are several, or each of
them with --all. Each picture gets NAME.glb and NAME.html, a page that can be mailed; index.html
leads to the pages of this run. A picture that cannot be used is named in a line, the others go on,
and the exit status says that there was one; what lies in the folders and is passed over is named
too.
"""

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from tqdm import tqdm

from pony_jax import command_line, path_flags
from pony_jax.data import picture_files
from pony_jax.data.file_contents import printable
from pony_jax.data.picture_pairs import loose_name
from pony_jax.errors import UserError
from pony_jax.features.errors import MissingPackageError, MissingWeightsError
from pony_jax.reconstruction import files
from pony_jax.reconstruction.animal import Animal, Clip
from pony_jax.reconstruction.joint_names import read_table
from pony_jax.reconstruction.learned import ModelError
from pony_jax.reconstruction.load import load
from pony_jax.reconstruction.model import Model
from pony_jax.reconstruction.motion import GAITS, make_clips
from pony_jax.training.environment import prepare_process
from pony_jax.training.errors import RunError, user_files

_PICTURES = "pictures"
_INDEX = "index"
_NAMED = 5  # of what is passed over; the rest is counted
_FORMATS = (*(suffix[1:] for suffix in files.SUFFIXES), _PICTURES)

_MODEL = path_flags.define_path(
    "model", None, "Folder of a run, packed file, name, or hf://OWNER/NAME.", required=True
)
_OUT = path_flags.define_path("out", None, "Folder for the files.", required=True)
_MASKS = path_flags.define_path(
    "masks", None, "Folder of masks, named like the pictures; else the animals are found."
)
_ALL = flags.DEFINE_bool("all", False, "All animals in a picture, not the largest alone.")
_FORMATS_FLAG = flags.DEFINE_list(
    "formats", ["glb", "html"], f"What is written, of {', '.join(_FORMATS)}."
)
_CLIPS = flags.DEFINE_list(
    "clips", ["walk", "trot"], f"Motions in the files, of {', '.join(GAITS)}; none with --clips=."
)
_NAMES = path_flags.define_path(
    "names", None, "JSON or TSV table of joint names for rigged files, ours and theirs."
)
_INFLUENCES = flags.DEFINE_enum(
    "influences",
    "4",
    ("4", "8", "all"),
    "Bones that a vertex of .glb follows; 8 and all move more exactly where programs read them.",
)
_REFINE = flags.DEFINE_bool("refine", True, "Whether pose and colours are fitted to the picture.")
_FINETUNE_TEXTURE = flags.DEFINE_bool(
    "finetune_texture", False, "Whether the texture network is fitted to the picture's colours too."
)
_WEIGHTS = path_flags.define_path("weights", None, "The backbone's, if not those it publishes.")
_CACHE = path_flags.define_path(
    "compilation_cache_dir", "~/.cache/pony_jax", "Where compiled programs are kept."
)

_NONE_CAN_WORK = (ModelError, ModuleNotFoundError, MissingPackageError, MissingWeightsError)


class Job(NamedTuple):
    """A picture, its mask if one was given, and the name of what is made of it."""

    picture: Path
    mask: Path | None
    name: str


def find_jobs(arguments: Sequence[str], masks: Path | None) -> list[Job]:
    """The pictures that were asked for, in order; those of a folder by name.

    Pictures of one name from several folders get numbers, so that no file overwrites another; so
    does one that is called like the page that leads to all.

    Raises:
      UserError: if there is none, or --masks is no folder.
    """
    pictures = [path for argument in arguments for path in _pictures_at(Path(argument))]
    if not pictures:
        raise UserError(
            f"expected pictures, got {' '.join(map(printable, arguments)) or 'none'}; give files "
            f"({', '.join(picture_files.SUFFIXES)}) or folders of them"
        )
    if masks is not None and not masks.is_dir():
        raise UserError(f"--masks: expected a folder, found none at {printable(masks)}")
    # Some file systems take names that differ in case for one.
    stems = {picture.stem for picture in pictures}
    own_names = {picture.stem.casefold() for picture in pictures}
    taken = {_INDEX}
    jobs = []
    for picture in pictures:
        numbered = (f"{picture.stem}_{number}" for number in itertools.count(2))
        free = (name for name in numbered if name.casefold() not in taken | own_names)
        name = next(free) if picture.stem.casefold() in taken else picture.stem
        taken.add(name.casefold())
        jobs.append(Job(picture, None if masks is None else _mask_of(picture, masks, stems), name))
    return jobs


def passed_over(arguments: Sequence[str], jobs: Sequence[Job], masks: Path | None) -> list[str]:
    """A line for each folder in which something is not used: how much, and what.

    Names that start with a dot do not count.
    """
    lines = []
    for folder in [Path(os.path.expanduser(argument)) for argument in arguments]:
        if folder.is_dir():
            used = set(_pictures_at(folder))
            left = [entry for entry in _entries(folder) if entry not in used]
            lines += _line(folder, left, "which do not end like pictures, or are folders")
    if masks is not None:
        used = {job.mask for job in jobs}
        left = [entry for entry in _entries(masks) if entry not in used]
        lines += _line(masks, left, "which have the name of no picture")
    return lines


def reconstruct(
    model: Model, job: Job, *, each: bool, refine: bool, finetune_texture: bool = False
) -> list[Animal]:
    """The animals of one picture, named so that their files do not overwrite others.

    Args:
      each: all animals in it, not the largest alone.
      refine, finetune_texture: of `Model.reconstruct`.

    Raises:
      UserError: if the picture or its mask cannot be used, or shows no animal.
    """
    how = dict(refine=refine, name=job.name, finetune_texture=finetune_texture)
    if each:
        return model.reconstruct_each(job.picture, **how)
    return [model.reconstruct(job.picture, job.mask, **how)]


def write_files(
    animal: Animal,
    out: Path,
    formats: Sequence[str],
    clips: Sequence[Clip],
    names: Mapping[str, str] | None = None,
    influences: str = "4",
) -> list[Path]:
    """Writes an animal in all formats and returns the files.

    Args:
      formats: of `files.SUFFIXES` without the dot, and `pictures`.
      clips, names, influences: as `files.export_all` takes them.
    """
    suffixes = [f".{name}" for name in formats if name != _PICTURES]
    written = files.export_all(animal, out, suffixes, clips, names=names, influences=influences)
    if _PICTURES in formats:
        from pony_jax.reconstruction.pictures import draw_all  # needs the extra `export`

        written += draw_all(animal, out, clips)
    return written


def main(argv: Sequence[str]) -> None:
    """Reconstructs what the arguments name. Raises `RunError` if a picture failed."""
    _check_names("--formats", _FORMATS_FLAG.value, _FORMATS)
    _check_names("--clips", _CLIPS.value, tuple(GAITS))
    masks = Path(_MASKS.value) if _MASKS.value else None
    if masks is not None and _ALL.value:
        raise UserError("expected --masks or --all, got both; a mask is of one animal")
    jobs = find_jobs(argv[1:], masks)
    names = read_table(Path(_NAMES.value)) if _NAMES.value else None
    prepare_process(_CACHE.value, keep_small_programs=True)
    model = load(_MODEL.value, _WEIGHTS.value)
    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    num_failed, entries = 0, []
    with tqdm(jobs, desc="reconstruct", unit="photograph", disable=None) as progress:
        for line in passed_over(argv[1:], jobs, masks):
            progress.write(line, file=sys.stderr)
        for job in progress:
            progress.set_postfix_str(printable(job.name))
            try:
                animals = reconstruct(
                    model,
                    job,
                    each=_ALL.value,
                    refine=_REFINE.value,
                    finetune_texture=_FINETUNE_TEXTURE.value,
                )
                for animal in animals:
                    clips, missing = make_clips(animal, _CLIPS.value)
                    for name, reason in missing.items():
                        progress.write(f"{animal.name} without {name}: {reason}", file=sys.stderr)
                    written = write_files(
                        animal, out, _FORMATS_FLAG.value, clips, names, _INFLUENCES.value
                    )
                    progress.write(f"wrote {', '.join(map(str, written))}")
                    if "html" in _FORMATS_FLAG.value:
                        entries.append(_index_entry(animal))
            except _NONE_CAN_WORK as error:
                raise RunError(str(error)) from error
            except (OSError, UserError) as error:  # any other error is a fault of this project
                num_failed += 1
                text = " ".join(str(error).split())
                progress.write(f"failed {printable(job.picture)}: {text}", file=sys.stderr)
    if entries:
        print(f"wrote {_write_index(entries, out)}")
    if num_failed:
        raise RunError(f"{num_failed} of {len(jobs)} photographs failed; the lines above say why")


def _check_names(flag: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{flag}: expected some of {', '.join(known)}, got {name!r}")


def _pictures_at(path: Path) -> Iterator[Path]:
    path = Path(os.path.expanduser(path))
    if not path.is_dir():
        yield path
        return
    for entry in _entries(path):
        if entry.suffix.lower() in picture_files.SUFFIXES and not entry.is_dir():
            yield entry


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]


def _line(folder: Path, left: Sequence[Path], why: str) -> list[str]:
    if not left:
        return []
    named = ", ".join(printable(entry.name) for entry in left[:_NAMED])
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return [f"passed over {len(left)} in {printable(folder)}, {why}: {named}{more}"]


def _index_entry(animal: Animal) -> Mapping[str, str | None]:
    from pony_jax.reconstruction.page import index_entry  # needs the extra `export`

    return index_entry(animal)


def _write_index(entries: Sequence[Mapping[str, str | None]], out: Path) -> Path:
    from pony_jax.reconstruction.page import write_index  # needs the extra `export`

    path = out / f"{_INDEX}.html"
    with user_files("--out: expected a folder that can be written", path):
        write_index(entries, path)
    return path


def _mask_of(picture: Path, masks: Path, stems: set[str]) -> Path:
    """The mask of the same name; where there is none, a path that fails when it is opened.

    Names that are equal come first. Else case, the Unicode form of letters and spaces at the ends
    may differ, unless the mask has the very name of another picture (`stems`).

    Raises `UserError` if there are several.
    """
    candidates = [e.name for e in _entries(masks) if e.suffix.lower() in picture_files.SUFFIXES]
    found = [name for name in candidates if Path(name).stem == picture.stem] or [
        name
        for name in candidates
        if loose_name(Path(name).stem) == loose_name(picture.stem) and Path(name).stem not in stems
    ]
    if len(found) > 1:
        raise UserError(
            f"--masks: expected one mask for {printable(picture)}, found "
            f"{' and '.join(map(printable, found))} in {printable(masks)}; remove all but one"
        )
    return masks / (found[0] if found else f"{picture.stem}.png")


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
