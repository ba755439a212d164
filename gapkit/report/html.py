"""A report as one HTML file: figures and script inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from gapkit.errors import InputError
from gapkit.evaluation.comparison import Evaluation
from gapkit.report import figures
from gapkit.report.captions import (
    histogram_pictures,
    learning_curve_picture,
    parity_pictures,
    trajectory_picture,
    uncertainty_pictures,
)
from gapkit.report.content import Content, Extras
from gapkit.report.structure_views import View, colours_of, view
from gapkit.report.tables import Cell, Number, atom_errors, number

N_VIEWS = 6
_ALIKE = 2  # views of one config type
WORDS = {"error": "force error", "std": "predicted std"}
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
    loader = jinja2.PackageLoader("gapkit.report")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, loader=loader)


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
    return render(engine, "report.html", context)


def _sections(content: Content) -> list[tuple[str, str]]:
    """Identifier and name of each section present, for the links on top."""
    found = [
        ("verdict", "In short", True),
        ("model", "Model", True),
        ("hyperparameters-section", "Hyperparameters", content.hyperparameters is not None),
        ("errors", "Errors", True),
        ("parts-section", "Parts", bool(content.parts)),
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


def render(engine: Any, template: str, context: Mapping[str, Any]) -> str:
    """A page from one of the templates, with the report's style and script inside."""
    from markupsafe import Markup  # comes with jinja2

    folder = resources.files("gapkit.report") / "templates"
    css, js = ((folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    trusted = {"css": Markup(css), "js": Markup(js), "css_hash": _csp_hash(css), "js_hash": _csp_hash(js)}
    return engine.get_template(template).render(**context, **trusted) + "\n"


def _csp_hash(source: str) -> str:
    """Source expression by which the page's security policy admits this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


# ---- views


def structure_views(content: Content, evaluation: Evaluation, extras: Extras) -> tuple[list[Scale], list[View]]:
    """The worst frames, and those of the worst atoms, with atoms coloured by the error and std of their forces."""
    if extras.frames is None:
        return [], []
    atoms = atom_errors(evaluation) or {}
    frames, marks = _chosen(content)
    keys = [key for key in WORDS if atoms and np.all(np.isfinite(atoms[key]))]
    shown = np.isin(atoms["structure"], list(frames)) if atoms else np.zeros(0, dtype=bool)
    largest = {key: float(atoms[key][shown].max(initial=0.0)) for key in keys}
    views = []
    for frame, config_type in frames.items():
        structure = extras.frames[frame]
        own = {key: atoms[key][atoms["structure"] == frame] for key in keys}
        own = {key: x if len(x) else np.full(len(structure), np.nan) for key, x in own.items()}
        colours = {key: colours_of(x.tolist(), largest[key]) for key, x in own.items()}
        titles = [_title(symbol, i, own) for i, symbol in enumerate(structure.symbols)]
        caption = f"Frame {frame}, {config_type}, {structure.get_chemical_formula()}"
        marked = [i for where, i in marks if where == frame]
        views.append(view(f"view-{frame}", caption, structure, titles, colours, marked))
    ramp = colours_of(np.linspace(0.0, 1.0, _N_COLOURS).tolist(), 1.0)
    return [Scale(key, WORDS[key], f"{number(largest[key]).text} eV/Å", ramp) for key in keys], views


def _chosen(content: Content) -> tuple[dict[int, str], list[tuple[int, int]]]:
    """Frames to show, from the worst ones and those of the worst atoms in turn, and (frame, atom) to mark."""
    frames = [(_whole(row[0]), str(row[1])) for row in content.worst_frames.rows]
    rows = [] if content.worst_atoms is None else content.worst_atoms.rows
    atoms = [(_whole(row[0]), str(row[3])) for row in rows]
    chosen: dict[int, str] = {}
    for pair in (x for pairs in zip_longest(frames, atoms) for x in pairs if x is not None):
        if len(chosen) < N_VIEWS and list(chosen.values()).count(pair[1]) < _ALIKE:
            chosen.setdefault(*pair)
    return chosen, [(_whole(row[0]), _whole(row[1])) for row in rows]


def _whole(cell: Cell) -> int:
    assert isinstance(cell, Number)
    return int(cell.value)


def _title(symbol: str, i: int, own: Mapping[str, np.ndarray]) -> str:
    words = (f"{key} {number(float(x[i])).text} eV/Å" for key, x in own.items() if np.isfinite(x[i]))
    return ", ".join((f"{symbol} {i}", *words))
