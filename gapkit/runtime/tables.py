"""Rows of words and numbers as aligned plain text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Lines of cells two spaces apart; `sides` has "l" or "r" for each column."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = zip(row, widths, sides, strict=True)
        lines.append("  ".join(c.ljust(w) if side == "l" else c.rjust(w) for c, w, side in cells).rstrip())
    return "\n".join(lines)
