"""A random subset of a stream in bounded memory: the items with the smallest draws."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class RandomSubset(Generic[Item]):
    """The items of a stream with the smallest draws, as many as there is room for, at least one.

    Parameters
    ----------
    too_many : callable
        Number of items, their total size and the size of the one with the largest draw -> whether to drop that one.
    fair : bool
        Leave out every item with a larger draw than one that was dropped: each is then as likely to stay as any other
        of its size. Otherwise every item that still fits is taken, which prefers small ones.
    """

    def __init__(self, too_many: Callable[[int, float, float], bool], fair: bool = True) -> None:
        self._too_many, self._fair = too_many, fair
        self._heap: list[tuple[float, int, float, Item]] = []  # (-draw, place in the stream, size, item)
        self._limit, self._n_seen, self._size = math.inf, 0, 0.0

    def add(self, item: Item, size: float, draw: float) -> None:
        """Add the next item of the stream."""
        self._n_seen += 1
        if self._fair and draw >= self._limit:
            return
        heapq.heappush(self._heap, (-draw, self._n_seen, size, item))
        self._size += size
        while len(self._heap) > 1 and self._too_many(len(self._heap), self._size, self._heap[0][2]):
            largest, _, gone, _ = heapq.heappop(self._heap)
            self._limit = -largest
            self._size -= gone

    def in_order(self) -> list[Item]:
        """The items in the order of the stream."""
        return [item for _, _, _, item in sorted(self._heap, key=lambda entry: entry[1])]

    def by_draw(self) -> list[tuple[int, Item]]:
        """Place in the stream and item, the smallest draw first."""
        return [(place, item) for _, place, _, item in sorted(self._heap, key=lambda entry: (-entry[0], entry[1]))]
