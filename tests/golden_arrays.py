"""Where the arrays are that the original computed."""

from pathlib import Path

_HERE = Path(__file__).parent
# The full set where there is one, else the subset that `tests/golden/make_subset.py` took from it.
GOLDEN_FOLDERS = (_HERE.parent.parent / "shared" / "golden", _HERE / "golden")


def golden_file(name: str) -> Path | None:
    """The file `<name>.npz`, of the full set if possible; None where neither set has it."""
    paths = (folder / f"{name}.npz" for folder in GOLDEN_FOLDERS)
    return next((path for path in paths if path.exists()), None)
