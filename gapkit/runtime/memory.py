"""Memory of the process: amounts as text, the peak, and the estimated and actual use of a fit."""

from __future__ import annotations

import logging
import math
import sys
from typing import Annotated, NamedTuple

import psutil

from gapkit.errors import InputError, Parameter

logger = logging.getLogger("gapkit")
TOLERANCE = 0.2  # of the estimate
COMPILER = 2**28  # bytes that compiling loops may take, which no estimate includes


class MemoryUse(NamedTuple):
    """Memory of the process during a fit, bytes; what was in use before is included.

    Attributes
    ----------
    estimated : int
        Estimate from before the rows were made.
    peak : int
        Largest seen, after every frame.
    """

    estimated: int
    peak: int

    def check(self) -> None:
        """Log a warning if a fit took much more than estimated."""
        if self.peak - self.estimated > max(TOLERANCE * self.estimated, COMPILER):
            logger.warning(
                "the fit took %s, more than the %s estimated: allow for that when you set max_memory.",
                in_words(self.peak),
                in_words(self.estimated),
            )


def in_bytes(memory: str | float | None) -> int | None:
    """``"4GB"``, ``"500 MiB"`` or a number of bytes; None is no limit.

    Raises
    ------
    InputError
        For anything else.
    """
    if memory is None:
        return None
    from pydantic import ByteSize, Field, TypeAdapter, ValidationError  # a tenth of a second

    known: TypeAdapter[float] = TypeAdapter(Annotated[float | ByteSize, Field(union_mode="left_to_right")])
    try:
        amount = 0.0 if isinstance(memory, bool) else known.validate_python(memory)
    except ValidationError:
        amount = 0.0
    if not 1.0 <= amount < math.inf:
        asked = Parameter("max_memory", repr(memory), " = ")
        raise InputError(asked, " is not an amount of memory: write for example '4GB'.")
    return int(amount)


def in_words(n_bytes: float) -> str:
    """``"1.2 GB"``, ``"350 MB"``."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


class PeakMemory:
    """Largest memory of this process (resident set) since the object was made.

    The operating system keeps the peak of the process's whole life: if it has grown since, that is the answer.
    Otherwise, and where it is not kept (Windows), it is the largest seen at any `look`.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._seen = int(self._process.memory_info().rss)
        self._before = _largest_ever()

    def look(self) -> int:
        """Memory now, bytes."""
        now = int(self._process.memory_info().rss)
        self._seen = max(self._seen, now)
        return now

    def largest(self) -> int:
        """The peak so far, bytes."""
        self.look()
        ever = _largest_ever()
        return max(self._seen, ever if ever > self._before else 0)


def _largest_ever() -> int:
    """Peak of the process's life, bytes; 0 where it is not known."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
