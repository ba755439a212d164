"""Progress of a long loop: a bar with the time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import track

Track = Callable[..., Iterable[Any]]
LINE_EVERY = 30.0  # s between lines where there is no terminal


def progress(show: bool) -> Track:
    """``follow(items, what, total)`` iterates over the items and reports its progress, if asked to `show` it."""
    if not show:
        return lambda items, what, total=None: items  # even a hidden bar starts a thread, 0.3 ms per prediction
    if not (console := Console(stderr=True)).is_terminal:
        return _lines
    return lambda items, what, total=None: track(items, what, total, console=console, transient=True)


def _lines(items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
    start = last = time.monotonic()
    for n_done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_EVERY:
            last = now
            print(_line(what, n_done, total, now - start), file=sys.stderr, flush=True)


def _line(what: str, n_done: int, total: int | None, elapsed: float) -> str:
    if total is None:
        return f"{what}: {n_done} in {duration(elapsed)}"
    return f"{what}: {n_done} of {total}, {duration(elapsed * (total - n_done) / n_done)} left"


def duration(seconds: float) -> str:
    """A time in words: ``12 s``, ``3.5 min``, ``2.1 h``."""
    for size, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"
