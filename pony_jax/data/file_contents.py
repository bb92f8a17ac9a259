"""What lies in a file that is not what its name promises, in words for an error message."""

import os
from pathlib import Path

_SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer instead of the file"),
    (b"%!PS", "PostScript (EPS)"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"DDS ", "a DDS texture"),
    (b"\x00\x05\x16\x07", "an AppleDouble file, which macOS puts beside the real one"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"<", "a web page or other markup"),
    (b"{", "JSON or other text"),
)
_ISO_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "a camera's raw file (CR3)"}
_ISO_BRANDS |= dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIC")
_ISO_BRANDS |= dict.fromkeys((b"qt  ", b"isom", b"mp42"), "a film")


def describe_contents(path: str | os.PathLike[str]) -> str:
    """What is at `path`, such as "an empty file"; "" if its first bytes tell nothing.

    Never raises: it is what an error message is made of.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return "a folder"
        if not path.exists():
            return "a broken link" if path.is_symlink() else "no such file"
        if not path.is_file():
            return "something that is not a file"
        with path.open("rb") as file:
            head = file.read(512)
    except (OSError, ValueError) as error:
        return f"one that cannot be read ({error})"
    if not head:
        return "an empty file"
    if not any(head):
        return "zero bytes, as an interrupted copy leaves them"
    if head[4:8] == b"ftyp" and head[8:12] in _ISO_BRANDS:
        return _ISO_BRANDS[head[8:12]]
    for signature, name in _SIGNATURES:
        if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(signature):
            return name
    return ""


def printable(name: object) -> str:
    """A file's name or path on one line: what is not text or would break the line is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(name)
    )
