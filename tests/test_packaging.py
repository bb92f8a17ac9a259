"""pyproject.toml asks for what is used, no less and no more."""

import ast
import re
import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
_OURS = {"pony_jax", "rasterizer_ffi", "configs", "experiments", "tests", "annotation_check"}

# Distribution -> the module that is imported, where the names differ.
_MODULE_OF = {
    "absl-py": "absl",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "orbax-checkpoint": "orbax",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "usd-core": "pxr",
}
# Asked for though no file imports it: what needs it.
_NEEDED_BY = {
    "array-record": "tensorflow-datasets reads and writes shards with it",
    "cmake": "the tests build programs in C++",
    "importlib-resources": "tensorflow-datasets imports it, undeclared",
    "ipykernel": "nbclient runs notebooks in it",
    "pytest-xdist": "`make test` runs on two workers",
    "ruff": "`make lint`",
    "torchvision": "timm imports it, and its version belongs to torch's",
}
# Imported though no extra asks for it: where it comes from.
_COMES_WITH = {
    "IPython": "the notebook that asks for a picture in a cell",
    "deodr": "a benchmark's rival, installed by whoever runs that benchmark",
    "huggingface_hub": "timm",
    "markupsafe": "jinja2",
    "ml_dtypes": "jax",
    "safetensors": "timm",
}


def _declared() -> set[str]:
    extras = _PROJECT["optional-dependencies"].values()
    lines = [*_PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return {re.match(r"[\w.-]+", line).group().lower() for line in lines}


def _sources() -> list[Path]:
    return [
        path
        for folder in ("pony_jax", "rasterizer_ffi", "configs", "experiments", "tests")
        for path in (_ROOT / folder).rglob("*.py")
        if path != Path(__file__)
    ]


def test_what_is_asked_for_is_used():
    text = "\n".join(path.read_text() for path in _sources())
    for name in _declared() - set(_NEEDED_BY):
        module = _MODULE_OF.get(name, name.replace("-", "_"))
        # By a statement, or by name where it is imported only when it is wanted.
        used = rf"^\s*(import|from) {module}\b|\"{module}(\.\w+)*\""
        assert re.search(used, text, re.MULTILINE | re.IGNORECASE), (
            f"{name}: nothing imports {module}; take it out, or say in _NEEDED_BY what needs it"
        )


def test_what_is_imported_is_asked_for():
    known = {_MODULE_OF.get(name, name.replace("-", "_")).lower() for name in _declared()}
    known |= {name.lower() for name in _OURS | set(_COMES_WITH)} | set(sys.stdlib_module_names)
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                assert module.split(".")[0].lower() in known, (
                    f"{path.relative_to(_ROOT)} imports {module}, which pyproject.toml lacks"
                )


def test_reasons_are_of_today():
    assert set(_NEEDED_BY) <= _declared()
    text = "\n".join(path.read_text() for path in _sources())
    assert all(re.search(rf"(import|from) {name}\b", text) for name in _COMES_WITH)
