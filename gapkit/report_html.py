"""A report as one HTML file: figures and script inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from gapkit import figures
from gapkit.errors import InputError
from gapkit.evaluation import Evaluation
from gapkit.report_content import Content, Extras
from gapkit.report_figures import (
    histogram_pictures,
    learning_curve_picture,
    parity_pictures,
    trajectory_picture,
    uncertainty_pictures,
)
from gapkit.report_tables import Table, atom_errors, number
from gapkit.structure_views import View, colours_of, view

N_VIEWS = 6
_N_COLOURS = 24  # steps of the colour scale's key


class Scale(NamedTuple):
    """Key of a colour scale from 0 to `largest`."""

    name: str
    words: str
    largest: str
    colours: list[str]


def template_engine() -> Any:
    """The renderer of the page; raises InputError with the cure if it is missing."""
    try:
        import jinja2
    except ImportError as error:
        raise InputError("a report needs jinja2, which is not installed: pip install gapkit[report].") from error
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)


def as_html(engine: Any, content: Content, evaluation: Evaluation, extras: Extras) -> str:
    """The whole page."""
    groups = figures.colour_groups(evaluation)
    scales, views = structure_views(content, evaluation, extras)
    context = {
        "content": content,
        "groups": groups,
        "parity": parity_pictures(evaluation, groups),
        "histograms": histogram_pictures(evaluation, groups),
        "uncertainties": {
            item.kind: uncertainty_pictures(item.kind, evaluation.comparisons[item.kind], groups)
            for item in content.calibrations
        },
        "scales": scales,
        "views": views,
        "md": None if extras.md is None else trajectory_picture(extras.md),
        "learning_curve": None if extras.learning_curve is None else learning_curve_picture(extras.learning_curve),
        "sections": _sections(content),
    }
    return _render(engine, context)


def _sections(content: Content) -> list[tuple[str, str]]:
    """Identifier and name of each section that there is, for the links on top."""
    found = [
        ("verdict", "In short", True),
        ("model", "Model", True),
        ("hyperparameters-section", "Hyperparameters", content.hyperparameters is not None),
        ("errors", "Errors", True),
        ("parity", "Parity", True),
        ("distributions", "Distributions", True),
        ("uncertainty", "Uncertainty", True),
        ("extrapolation-section", "Extrapolation", content.extrapolation is not None),
        ("worst", "Worst frames and atoms", True),
        ("data", "Training data", bool(content.data)),
        ("learning", "Sparse points", content.learning is not None),
        ("md", "Molecular dynamics", bool(content.md)),
        ("reproduce", "Reproduce", True),
    ]
    return [(name, words) for name, words, there in found if there]


def _render(engine: Any, context: Mapping[str, Any]) -> str:
    from markupsafe import Markup  # comes with jinja2

    folder = resources.files("gapkit") / "templates"
    css, js, html = ((folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html"))
    trusted = {"css": Markup(css), "js": Markup(js), "css_hash": _csp_hash(css), "js_hash": _csp_hash(js)}
    return engine.from_string(html).render(**context, **trusted) + "\n"


def _csp_hash(source: str) -> str:
    """Source expression by which the page's security policy admits this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


# ---- views


def structure_views(content: Content, evaluation: Evaluation, extras: Extras) -> tuple[list[Scale], list[View]]:
    """The worst frames, and those of the worst atoms, with atoms coloured by the error and std of their forces."""
    if extras.frames is None:
        return [], []
    atoms = atom_errors(evaluation) or {}
    worst = _pairs(content.worst_atoms)
    chosen = _alternating([frame for frame, _ in worst], [int(row[0].value) for row in content.worst_frames.rows])  # type: ignore[union-attr]
    keys = [key for key in ("error", "std") if atoms and np.all(np.isfinite(atoms[key]))]
    shown = np.isin(atoms["structure"], chosen) if atoms else np.zeros(0, dtype=bool)
    largest = {key: float(atoms[key][shown].max(initial=0.0)) for key in keys}
    views = []
    for frame in chosen:
        own = {key: atoms[key][atoms["structure"] == frame] for key in keys}
        structure = extras.frames[frame]
        n = len(structure)
        colours = {key: colours_of(own[key] if len(own[key]) == n else [np.nan] * n, largest[key]) for key in keys}
        titles = [_title(structure.symbols[i], i, own) for i in range(n)]
        marked = [i for where, i in worst if where == frame]
        views.append(view(f"view-{frame}", _caption(content, frame, structure), structure, titles, colours, marked))
    words = {"error": "force error", "std": "predicted std"}
    ramp = np.linspace(0.0, 1.0, _N_COLOURS).tolist()
    return [Scale(k, words[k], f"{number(largest[k]).text} eV/Å", colours_of(ramp, 1.0)) for k in keys], views


def _pairs(table: Table | None) -> list[tuple[int, int]]:
    """Frame and atom of each row."""
    return [] if table is None else [(int(row[0].value), int(row[1].value)) for row in table.rows]  # type: ignore[union-attr]


def _alternating(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """From both lists in turn, each frame once."""
    longest = max(len(a), len(b))
    both = [part[k] for k in range(longest) for part in (b, a) if k < len(part)]
    return list(dict.fromkeys(both))[:N_VIEWS]


def _title(symbol: str, i: int, own: Mapping[str, np.ndarray]) -> str:
    words = "".join(f", {key} {number(float(x[i])).text} eV/Å" for key, x in own.items() if i < len(x))
    return f"{symbol} {i}{words}"


def _caption(content: Content, frame: int, atoms: Any) -> str:
    name = next((str(row[1]) for row in content.worst_frames.rows if int(row[0].value) == frame), "")  # type: ignore[union-attr]
    if not name and content.worst_atoms is not None:
        name = next(str(row[3]) for row in content.worst_atoms.rows if int(row[0].value) == frame)  # type: ignore[union-attr]
    return f"Frame {frame}, {name}, {atoms.get_chemical_formula()}"
