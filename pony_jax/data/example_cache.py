"""Decoded examples by their position, some of them kept in memory."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from pony_jax.data.shards import DataError

Example = dict[str, Any]
"""Of `decoding.decode_example`."""

_Fact = TypeVar("_Fact")

_SURVEYED_TOGETHER = 64
"""Few enough that what is decoded ahead takes little memory, enough to keep all threads busy."""


class ExampleCache:
    """Reads examples with all cores; those that are read first stay, as long as there is room.

    None makes room for another: with shuffling each example is as likely to be the next one.
    """

    def __init__(self, read: Callable[[int], Example], max_bytes: int):
        """`read` makes the example at a position, always the same one, from any thread."""
        self._read = read
        self._room = max_bytes
        self._kept: dict[int, Example] = {}
        self._num_bytes = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")

    @property
    def num_bytes(self) -> int:
        """Memory that the kept examples take."""
        return self._num_bytes

    def take(self, positions: Int[np.ndarray, " b"]) -> list[Example]:
        """The examples at some positions, which nobody may write to.

        Raises `DataError` if one of them cannot be read.
        """
        wanted = [int(position) for position in positions]
        missing = [position for position in dict.fromkeys(wanted) if position not in self._kept]
        read = dict(zip(missing, self._pool.map(self._read_and_keep, missing), strict=True))
        return [read[p] if p in read else self._kept[p] for p in wanted]

    def survey(
        self, count: int, fact_of: Callable[[Example], _Fact]
    ) -> Iterator[_Fact | DataError]:
        """What `fact_of` says of each of the first `count` examples in order, or why it is bad."""

        def survey_one(position: int) -> _Fact | DataError:
            try:
                return fact_of(self._read_and_keep(position))
            except DataError as error:
                return error

        for start in range(0, count, _SURVEYED_TOGETHER):
            yield from self._pool.map(
                survey_one, range(start, min(start + _SURVEYED_TOGETHER, count))
            )

    def _read_and_keep(self, position: int) -> Example:
        example = self._read(position)
        size = _size(example)
        with self._lock:
            if position not in self._kept and self._num_bytes + size <= self._room:
                self._kept[position] = example
                self._num_bytes += size
        return example


def _size(example: Example) -> int:
    """Bytes of the arrays in an example."""
    return sum(
        _size(value) if isinstance(value, dict) else getattr(value, "nbytes", 0)
        for value in example.values()
    )
