"""The one kind of exception that a command line shows as a line instead of a traceback."""


class UserError(Exception):
    """A mistake in a file, flag or setting that the person at the command line can put right.

    Its message is one line that says what was expected, what was found, and what to do. Raised on
    purpose only: any other exception is a fault of this project and keeps its traceback.
    """
