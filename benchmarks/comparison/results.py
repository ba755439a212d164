"""Measurements are rows in one JSON file, written as soon as they exist, so that a run can be taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Results:
    """Rows of all parts.

    Parameters
    ----------
    path : Path or None
        JSON file; None keeps the rows in memory only.
    resume : bool
        Take the rows that the file holds as done.
    """

    def __init__(self, path: Path | None, resume: bool) -> None:
        self.path = path
        self.machine: dict[str, str] = {}
        self._stored: list[Row] = []
        if path and resume and path.exists():
            self._stored = json.loads(path.read_text())["rows"]

    def measure(self, part: str, label: str, run: Callable[[], Row], **fields: Any) -> Row:
        """The stored row of this part, label and fields, or what `run` returns, stored."""
        key = {"part": part, "label": label, **fields}
        row = next((r for r in self._stored if all(r.get(k) == v for k, v in key.items())), None)
        if row is None:
            row = {**key, "commit": self.machine.get("commit"), **run()}
            self._stored.append(row)
            self._write()
        return row

    def rows(self, part: str, **fields: Any) -> list[Row]:
        """Rows of one part, those whose `fields` have the given values."""
        return [r for r in self._stored if r["part"] == part and all(r.get(k) == v for k, v in fields.items())]

    def _write(self) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps({"machine": self.machine, "rows": self._stored}, indent=1))
            partial.replace(self.path)
