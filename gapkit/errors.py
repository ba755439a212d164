"""The one exception that bad input raises, and the "did you mean" that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence with the condition, the values and the cure."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cutoff'?)"`` if `word` is close to a known one, else the list of known words."""
    known = list(known)
    plain = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), plain, n=1)
    return f" (did you mean '{plain[close[0]]}'?)" if close else f" (known: {', '.join(sorted(known))})"
