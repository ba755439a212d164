"""Rows as Markdown: engines side by side with ratios, or whatever columns a part has."""

from __future__ import annotations

from collections.abc import Sequence

from comparison.results import Row


def engines_table(rows: Sequence[Row]) -> str:
    """Median ms/atom of every engine, and how many times gapkit's time the others take."""
    names = list(dict.fromkeys(name for row in rows for name in row["engines"]))
    peers = [name for name in names if name != "gapkit"]
    head = ["case", *(f"{name}, ms/atom" for name in names), *(f"{name} / gapkit" for name in peers)]
    lines = [
        [row["label"], *(_time(row, name) for name in names), *(_times_slower(row, name) for name in peers)]
        for row in rows
    ]
    return markdown(head, lines)


def ratio(row: Row, peer: str) -> float | None:
    """The peer's median over gapkit's, if both were timed."""
    both = [row["engines"].get(name, {}).get("seconds") for name in (peer, "gapkit")]
    return both[0] / both[1] if all(both) else None


def _time(row: Row, name: str) -> str:
    engine = row["engines"].get(name)
    if engine is None:
        return "–"
    return f"{1e3 * engine['seconds'] / row['atoms']:.4g}" if "seconds" in engine else f"– ({engine['skipped']})"


def _times_slower(row: Row, name: str) -> str:
    value = ratio(row, name)
    return "–" if value is None else f"{value:.1f}"


def values_table(rows: Sequence[Row]) -> str:
    """One column for every name that occurs in the rows' values."""
    names = list(dict.fromkeys(name for row in rows for name in row["values"]))
    lines = [[row["label"], *(_number(row["values"].get(name)) for name in names)] for row in rows]
    return markdown(["case", *names], lines)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
