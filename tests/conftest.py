"""Fixtures of all tests: the golden arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

_HERE = Path(__file__).parent
_GOLDEN_FOLDERS = (_HERE / "golden", _HERE.parent.parent / "shared" / "golden")


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Loads the golden arrays `<name>.npz`, from the committed subset or else from the full set."""

    def load(name: str) -> dict[str, np.ndarray]:
        for folder in _GOLDEN_FOLDERS:
            if (folder / f"{name}.npz").exists():
                return dict(np.load(folder / f"{name}.npz"))
        pytest.skip(f"golden arrays {name}.npz are neither in tests/golden nor in ../shared/golden")

    return load
