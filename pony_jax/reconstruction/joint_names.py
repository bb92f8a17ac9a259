"""Names of joints in files, for programs with conventions of their own."""

import json
from collections.abc import Mapping
from pathlib import Path

from pony_jax.errors import UserError
from pony_jax.reconstruction.skeleton import Skeleton

ROOT = "root"
"""The joint that all bones hang from."""


class JointNamesError(UserError, ValueError):
    """A table of joint names that cannot be used."""


def joint_names(skeleton: Skeleton, table: Mapping[str, str] | None = None) -> dict[str, str]:
    """The name in a file of `root` and of each bone, by our name; the root first.

    Args:
      table: other names, by ours; what it leaves out keeps our name.

    Raises:
      JointNamesError: if the table names a joint that the skeleton has not, or two joints alike.
    """
    names = {name: name for name in (ROOT, *skeleton.names)}
    table = table or {}
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise JointNamesError(
            f"joint names: the skeleton has no joint {', '.join(map(repr, unknown))}; expected "
            f"some of {', '.join(names)}"
        )
    names |= table
    taken: dict[str, str] = {}
    for ours, theirs in names.items():
        if not isinstance(theirs, str) or not theirs or theirs.isspace():
            raise JointNamesError(f"joint names: expected a name for {ours!r}, got {theirs!r}")
        if theirs in taken:
            raise JointNamesError(
                f"joint names: {taken[theirs]!r} and {ours!r} would both be called {theirs!r}; "
                "give each joint a name of its own"
            )
        taken[theirs] = ours
    return names


def read_table(path: str | Path) -> dict[str, str]:
    """Other names of joints, by ours, from a file.

    Args:
      path: of a `.json` object, or of a `.tsv` with two columns (ours, theirs) and no header.

    Raises:
      JointNamesError: for another suffix, or contents that are not such a table.
      OSError: if the file cannot be read.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        try:
            table = json.loads(text)
        except json.JSONDecodeError as error:
            raise JointNamesError(
                f"{path}: expected a JSON object of names, got {error}"
            ) from error
        if not isinstance(table, dict):
            raise JointNamesError(
                f'{path}: expected a JSON object {{"ours": "theirs"}}, got {table!r}'
            )
        return table
    if path.suffix != ".tsv":
        raise JointNamesError(f"{path}: expected a table of joint names in .json or .tsv")
    table = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2:
            raise JointNamesError(
                f"{path}, line {number}: expected two columns (ours, theirs) with a tab between "
                f"them, got {line!r}"
            )
        if columns[0] in table:
            raise JointNamesError(f"{path}, line {number}: {columns[0]!r} has a name already")
        table[columns[0]] = columns[1]
    return table
