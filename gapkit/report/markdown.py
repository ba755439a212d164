"""A report as Markdown, to be read, and as JSON, to be computed with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gapkit.report.content import Content, scores
from gapkit.report.tables import Number, Table
from gapkit.runtime.text import printable_json

MARKS = {"good": "✓", "note": "·", "bad": "✗"}


def as_json(content: Content) -> str:
    """All numbers unrounded; None stands for what there is not."""
    data: dict[str, Any] = {
        "title": content.title,
        "description": content.description,
        "date": content.date,
        "verdict": {
            "findings": [finding._asdict() for finding in content.verdict.findings],
            "not_trusted": content.verdict.not_trusted,
        },
        "model": dict(content.model),
        "conventions": dict(content.conventions),
        "n_structures": content.n_structures,
        "errors": [row._asdict() for row in content.rows],
        "calibration": {item.kind: scores(item) for item in content.calibrations},
        **{table.name.replace("-", "_"): table.as_dicts() for table in _tables(content)},
        "molecular_dynamics": dict(content.md),
        "parts_notes": content.parts_notes,
        "advice": content.advice,
        "reproduce": dict(content.provenance) | {"command": content.command, "python": content.recipe},
    }
    return printable_json(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def _tables(content: Content) -> list[Table]:
    found = (
        content.hyperparameters,
        content.extrapolation,
        content.worst_frames,
        content.worst_atoms,
        content.learning,
    )
    return [table for table in (*found, *content.parts, *content.data) if table is not None]


def as_markdown(content: Content) -> str:
    """Verdict and all tables; no figures."""
    return "\n".join(_lines(content)) + "\n"


def _lines(content: Content) -> Iterator[str]:
    yield from (f"# {_escaped(content.title)}", "")
    if content.description:
        yield from (_escaped(content.description), "")
    yield from ("## In short", "")
    yield from (f"- {MARKS[finding.level]} {_escaped(finding.text)}" for finding in content.verdict.findings)
    if content.verdict.not_trusted:
        yield from ("", "Not to be trusted for:", "")
        yield from (f"- {_escaped(text)}" for text in content.verdict.not_trusted)
    yield from ("", "## Model", "", *_card(content.model), "")
    if content.hyperparameters is not None:
        yield from ("## Hyperparameters and evidence", "", *_table(content.hyperparameters))
    yield from (f"## Errors on {content.n_structures} test structures", "")
    for errors in content.errors:
        yield from _table(errors.table)
    if content.parts:
        yield from ("## What the prediction is made of", "", *(f"- {_escaped(x)}" for x in content.parts_notes), "")
    for table in content.parts:
        yield from _table(table)
    if content.calibrations:
        yield from ("## Does the model know what it does not know?", "")
    for item in content.calibrations:
        yield from (f"### {item.name} ({item.scored.unit})", "")
        yield from (*_table(item.scores), *_table(item.coverage), *_table(item.by_config_type))
    if content.extrapolation is not None:
        yield from ("## Beyond the training data?", "", *_table(content.extrapolation))
    yield from ("## Worst frames", "", *_table(content.worst_frames))
    if content.worst_atoms is not None:
        yield from ("## Worst atoms", "", *_table(content.worst_atoms))
    yield from _rest(content)


def _rest(content: Content) -> Iterator[str]:
    if content.data or content.data_notes:
        yield from ("## Which training data matter?", "", *(f"- {_escaped(note)}" for note in content.data_notes), "")
        for table in content.data:
            yield from _table(table)
    if content.learning is not None:
        yield from ("## How many sparse points?", "", _escaped(content.advice), "", *_table(content.learning))
    if content.md:
        yield from ("## Molecular dynamics", "", *_card(content.md), "")
    yield from ("## Units and conventions", "", *_card(content.conventions), "", "## How to reproduce", "")
    if content.command:
        yield from (*_code(content.command), "")
    yield from (*_code(content.recipe, "python"), "", *_card(content.provenance), "")
    yield f"Written by gapkit on {content.date}."


def _code(text: str, language: str = "") -> tuple[str, str, str]:
    """A block of code, in a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}", text, fence


def _card(rows: Iterable[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {_escaped(name)} | {_escaped(value)} |" for name, value in rows)]


def _table(table: Table) -> list[str]:
    lines = [f"**{_escaped(table.caption)}**", ""] if table.caption else []
    lines += [_line(table.headings), "|" + "|".join("---" if words else "---:" for words in table.words) + "|"]
    lines += [_line([cell.text if isinstance(cell, Number) else cell for cell in row]) for row in table.rows]
    return [*lines, "", *([_escaped(table.note), ""] if table.note else [])]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    """Text that Markdown takes as it is."""
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "$"):
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
