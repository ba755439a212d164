"""A learning curve as a file: a page with plot and table, the plot alone, or the numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapkit.errors import InputError
from gapkit.report import figures
from gapkit.report.captions import learning_curve_picture
from gapkit.report.html import render, template_engine
from gapkit.report.tables import learning_table
from gapkit.runtime.files import check_output, complete_file

if TYPE_CHECKING:
    from gapkit.model_selection.learning_curve import LearningCurve

SUFFIXES = (".html", ".png", ".json")


def check_learning_curve_file(path: str | os.PathLike[str], inputs: tuple[Path | None, ...] = ()) -> None:
    """Raise `InputError` if no learning curve can be written there: name, folder, or what is not installed.

    `inputs` are files that must not be replaced.
    """
    check_output(path, inputs)
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise InputError(f"'{path}' must be a plot or numbers: use a name that ends in .html, .png or .json.")
    if suffix != ".json":
        figures.require_matplotlib()
    if suffix == ".html":
        template_engine()


def write_learning_curve(path: str | os.PathLike[str], curve: LearningCurve, title: str) -> None:
    """Write a learning curve; the file appears complete or not at all.

    Parameters
    ----------
    path : path
        Name that ends in .html (plot and table, needs no network), .png (the plot) or .json (the numbers).
    curve : LearningCurve
    title : str
        Of the page.

    Raises
    ------
    InputError
        If the name ends otherwise, no file can be written there, or matplotlib or jinja2 is missing.
    """
    check_learning_curve_file(path)
    content = _CONTENT[Path(path).suffix](curve, title)
    with complete_file(path, "wb") as file:
        file.write(content)


def _page(curve: LearningCurve, title: str) -> bytes:
    context: dict[str, Any] = {
        "title": title,
        "advice": curve.advice(),
        "curve": learning_curve_picture(curve),
        "table": learning_table(curve),
    }
    return render(template_engine(), "learning_curve.html", context).encode()


def _numbers(curve: LearningCurve, _: str) -> bytes:
    return json.dumps(curve.to_dict(), indent=2, ensure_ascii=False).encode()


def _plot(curve: LearningCurve, _: str) -> bytes:
    return figures.learning_curve(curve)


_CONTENT = {".html": _page, ".png": _plot, ".json": _numbers}
