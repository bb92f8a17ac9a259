"""Command lines in the process of the tests: the flags of one module at a time."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
from absl import flags

from pony_jax import command_line

_KEPT = "pony_jax.command_line"


@contextmanager
def command_module(name: str) -> Iterator[ModuleType]:
    """Imports a command line anew, with its flags and no other command line's."""
    others = _take_flags()
    imported = sys.modules.pop(name, None)
    module = importlib.import_module(name)
    try:
        yield module
    finally:
        _take_flags()
        for module_name, flag in others:
            flags.FLAGS[flag.name] = flag
            flags.FLAGS.register_flag_by_module(module_name, flag)
        sys.modules.pop(name)
        if imported is not None:
            sys.modules[name] = imported


def refusal(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *argv: str) -> str:
    """Runs a command line in this process until it refuses; the one line that it ends with."""
    monkeypatch.setattr(sys, "argv", list(argv))
    with pytest.raises(SystemExit) as caught:
        command_line.run(module.main)
    line = caught.value.code
    assert isinstance(line, str), "expected a line, not an exit status"
    assert "\n" not in line
    return line


def forget_values() -> None:
    """Unsets all flags, and forgets the configuration that was read last."""
    for name in list(flags.FLAGS):
        if name.startswith(("config.", "config:")):
            delattr(flags.FLAGS, name)
    sys.modules.pop("config_config", None)
    flags.FLAGS.unparse_flags()


def _take_flags() -> list[tuple[str, flags.Flag]]:
    by_module = flags.FLAGS.flags_by_module_dict()
    taken = [
        (module, flag)
        for module, defined in by_module.items()
        if str(module).startswith("pony_jax.") and module != _KEPT
        for flag in defined
    ]
    for _, flag in taken:
        delattr(flags.FLAGS, flag.name)
    return taken
