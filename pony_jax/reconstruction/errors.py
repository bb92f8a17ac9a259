"""What can be wrong with a request to write files."""

from pony_jax.errors import UserError


class ExportError(UserError, ValueError):
    """An animal that a format cannot hold as it is called; the message is one line."""
