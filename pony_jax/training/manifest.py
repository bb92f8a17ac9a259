"""What a checkpoint consists of, kept beside it, so that damage is seen before it is read.

The storage library finds a file that is cut, but not a changed byte among the numbers, and it
reports what it finds in many ways. Disks that were full, copies that broke off and power failures
leave all of these behind.
"""

import hashlib
import json
from pathlib import Path

_FILE = "files.json"
_PARTS = ("state", "progress")
# The library marks what is complete with such files; nothing is lost with them.
_UNIMPORTANT = ("commit_success.txt",)


def write_manifest(folder: Path) -> None:
    """Lists all files of a checkpoint with their sizes and hashes."""
    files = {
        file.relative_to(folder).as_posix(): [file.stat().st_size, _hash_of(file)]
        for part in _PARTS
        for file in sorted((folder / part).rglob("*"))
        if file.is_file() and file.name not in _UNIMPORTANT
    }
    partial = folder / (_FILE + ".partial")
    partial.write_text(json.dumps(files, indent=1))
    partial.replace(folder / _FILE)


def has_manifest(folder: Path) -> bool:
    """Whether a checkpoint has a list, so that `find_damage` compares every byte."""
    return (folder / _FILE).exists()


def find_damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None if nothing is.

    A checkpoint without a list, of an earlier version or of a process that was killed before it
    wrote one, is only asked for its parts.
    """
    try:
        for part in _PARTS:
            if not (folder / part).is_dir():
                return f"{part} is missing"
        if not has_manifest(folder):
            return None
        files = json.loads((folder / _FILE).read_text())
        if not files:
            return f"{_FILE} lists nothing"
        for name, (size, digest) in files.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size:,} bytes instead of {size:,}"
            if _hash_of(file) != digest:
                return f"{name} has changed"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, TypeError, AttributeError):
        return f"{_FILE} cannot be read"
    return None


def _hash_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
