"""What can be wrong with an extraction outside the code."""

from pony_jax.errors import UserError


class ExtractionError(UserError, ValueError):
    """Weights, sizes or photographs that features cannot be made with."""


class NonFiniteFeaturesError(ExtractionError):
    """A picture of which the backbone makes NaN or infinity."""


class MissingWeightsError(UserError, FileNotFoundError):
    """Weights that are not where they were said to be, or cannot be fetched."""


class MissingPackageError(UserError, ImportError):
    """A package of the extra `extract` that is not installed."""


class LostProcessError(UserError, RuntimeError):
    """A process that ended before its work did."""
