"""What a PCA has to know of tokens that do not all fit into memory."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pony_jax.features.errors import ExtractionError

_COPIES = 5
"""Times that the decomposition of a part of the tokens holds it in memory, in float64."""


class Components(NamedTuple):
    """Principal components of tokens of c channels, the d leading ones."""

    mean: Float[np.ndarray, " c"]
    basis: Float[np.ndarray, "c d"]
    variance: Float[np.ndarray, " d"]
    variance_share: Float[np.ndarray, " d"]  # of the variance of all c channels


class TokenStatistics:
    """Principal components of tokens that come part by part, in bounded memory.

    All components are kept until the end, so the result is that of all tokens at once, up to
    rounding.
    """

    def __init__(self, max_bytes: int):
        """Holds at most about `max_bytes`, or what c tokens take where that is more."""
        from sklearn.decomposition import IncrementalPCA  # needed where projections are fitted

        self._pca = IncrementalPCA()
        self._max_bytes = max_bytes
        self._waiting: list[np.ndarray] = []
        self._sample: list[np.ndarray] = []
        self._sample_step = 1  # one token of so many is in the sample
        self._count = 0
        self._sum_of_squares = 0.0

    def add(self, tokens: Float[np.ndarray, "n c"]) -> None:
        """Takes note of tokens. Raises `ExtractionError` for any that is not finite."""
        if not np.isfinite(tokens).all():
            raise ExtractionError("expected finite features, the backbone made NaN or infinity")
        self._sample.append(tokens[-self._count % self._sample_step :: self._sample_step])
        self._thin_sample()
        self._count += len(tokens)
        self._sum_of_squares += np.square(tokens, dtype=np.float64).sum()
        self._waiting.append(tokens)
        self._num_channels = tokens.shape[1]
        # Two thirds of the memory are for the decomposition, one for the sample.
        max_rows = self._max_bytes * 2 // 3 // (8 * _COPIES * self._num_channels)
        # The first part fixes how many components there are, so it must have enough tokens for all.
        while sum(map(len, self._waiting)) >= (rows := max(max_rows, self._num_channels)):
            together = np.concatenate(self._waiting)
            self._decompose(together[:rows])
            self._waiting = [together[rows:]]

    def sample(self) -> Float[np.ndarray, "n c"]:
        """All tokens or, where they are too many, every second, fourth or eighth and so on."""
        return np.concatenate(self._sample)

    @property
    def mean_square(self) -> float:
        """Of all numbers in all tokens."""
        return self._sum_of_squares / (self._count * self._num_channels)

    def leading_components(self, num_components: int) -> Components:
        """The components of all tokens so far, none of which may follow.

        Raises `ExtractionError` if there are fewer tokens or channels than components.
        """
        if not self._count:
            raise ExtractionError("expected tokens to fit the PCA to, got none")
        if min(self._count, self._num_channels) < num_components:
            raise ExtractionError(
                f"expected at least {num_components} tokens of at least {num_components} channels "
                f"for as many principal components, got {self._count} of {self._num_channels}; "
                "give more photographs or ask for fewer channels"
            )
        if any(map(len, self._waiting)):
            self._decompose(np.concatenate(self._waiting))
            self._waiting = []
        pca, leading = self._pca, slice(num_components)
        return Components(
            pca.mean_,
            pca.components_[leading].T,
            pca.explained_variance_[leading],
            np.nan_to_num(pca.explained_variance_ratio_[leading]),  # of equal tokens: 0 of nothing
        )

    def _decompose(self, tokens: Float[np.ndarray, "n c"]) -> None:
        with np.errstate(all="ignore"):  # tokens that are all the same have no variance to share
            self._pca.partial_fit(tokens.astype(np.float64))

    def _thin_sample(self) -> None:
        while sum(part.nbytes for part in self._sample) > self._max_bytes // 3 and (
            sum(map(len, self._sample)) > 1
        ):
            self._sample = [np.concatenate(self._sample)[::2].copy()]
            self._sample_step *= 2
