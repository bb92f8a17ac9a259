"""The Khronos glTF validator, where `make test` has installed it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_VALIDATOR = _HERE.parent.parent / "build" / "npm" / "node_modules" / "gltf-validator"


@pytest.fixture(scope="session")
def assert_valid_gltf() -> Callable[..., None]:
    """Asserts that files have neither errors nor warnings, infos or hints."""
    missing = None
    if shutil.which("node") is None:
        missing = "the Khronos validator needs node, which is not installed"
    elif not _VALIDATOR.is_dir():
        missing = "the Khronos validator is not in build/npm; `make test` installs it"
    if missing and os.environ.get("CI"):
        pytest.fail(f"{missing}: where changes are accepted, files must be validated")
    if missing:
        pytest.skip(missing)

    def check(*files: Path) -> None:
        command = ["node", str(_HERE / "gltf_validator.cjs"), str(_VALIDATOR), *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        reports = json.loads(done.stdout)
        assert set(reports) == set(map(str, files))
        for file, issues in reports.items():
            assert not issues["messages"], f"{file}: {issues['messages'][:5]}"

    return check
