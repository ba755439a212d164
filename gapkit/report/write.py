"""A report about a potential: what it is, how wrong it is, and whether it knows; as one HTML file, Markdown or JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from gapkit.errors import InputError
from gapkit.evaluation.comparison import Evaluation
from gapkit.report import figures
from gapkit.report.content import Content, Extras, gather
from gapkit.report.html import as_html, template_engine
from gapkit.report.markdown import as_json, as_markdown
from gapkit.runtime.files import check_output, complete_file
from gapkit.runtime.text import printable
from gapkit.uncertainty.extrapolation import extrapolation, has_environments

if TYPE_CHECKING:
    from gapkit.active_learning.data_value import WhichData
    from gapkit.evaluation.leave_one_out import LeaveOneOut
    from gapkit.model_selection.learning_curve import LearningCurve
    from gapkit.potential.gap import GAP

TEXT = {".md": as_markdown, ".markdown": as_markdown, ".json": as_json}


def write_report(
    path: str | os.PathLike[str],
    gap: GAP,
    evaluation: Evaluation,
    *,
    frames: Sequence[Atoms] | None = None,
    train_evaluation: Evaluation | None = None,
    title: str = "Gaussian-process potential",
    data_description: str = "",
    model_card: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
    learning_curve: LearningCurve | None = None,
    leave_one_out: LeaveOneOut | None = None,
    which_data: WhichData | None = None,
    command: str = "",
) -> None:
    """Write a report; the file appears complete or not at all.

    Parameters
    ----------
    path : path
        File to write; an older one is replaced. A name that ends in .md or .json gets Markdown or JSON with all the
        tables, any other a self-contained HTML file with the figures inside, which needs no network.
    gap : GAP
        The fitted potential.
    evaluation : Evaluation
        Its errors on test structures; ``evaluate(gap, test, return_std="all")`` has error bars of every kind.
    frames : sequence of Atoms, optional
        The list that was evaluated: for views of the worst structures, to compare them with the training
        environments, and to take predictions apart into baselines and terms.
    train_evaluation : Evaluation, optional
        Its errors on the training structures, shown beside them.
    title, data_description : str
        Heading, and a sentence about the data.
    model_card : mapping, optional
        Further rows of the model table, name -> value; they replace rows of the same name.
    md : mapping, optional
        Molecular dynamics: "time_ps" (n,) ps, "total_energy_per_atom" (n,) eV, and if known "temperature" (n,) K and
        "drift_mev_per_atom" (meV/atom); any other item becomes a row of the table.
    learning_curve : LearningCurve, optional
        Errors against the number of sparse points.
    leave_one_out : LeaveOneOut, optional
        Training frames predicted without themselves: the most surprising ones are listed.
    which_data : WhichData, optional
        Redundant training frames, outliers, most wanted calculations.
    command : str
        Command line that made the report, to be repeated.

    Raises
    ------
    InputError
        If matplotlib or jinja2 is missing (for HTML), no file can be written at `path`, `frames` are not those that
        were evaluated, or the arrays of `md` do not fit together.
    """
    check_output(path)
    render = TEXT.get(Path(path).suffix.lower())
    engine = None
    if render is None:
        figures.require_matplotlib()
        engine = template_engine()
    if md is not None:
        _check_md(md)
    if frames is not None:
        frames = [frames] if isinstance(frames, Atoms) else list(frames)
        _check_frames(frames, evaluation)
    environments = extrapolation(gap, frames) if frames and has_environments(gap) else None
    extras = Extras(frames, train_evaluation, model_card or {}, md, learning_curve, leave_one_out, which_data, command)
    content = gather(gap, evaluation, environments, extras, title, data_description)
    text = as_html(engine, content, evaluation, extras) if render is None else render(content)
    with complete_file(path) as file:
        file.write(printable(text))


def _check_frames(frames: Sequence[Atoms], evaluation: Evaluation) -> None:
    """Refuse frames that are not those of the evaluation, as far as numbers and symbols of atoms tell."""
    for comparison in evaluation.comparisons.values():
        if len(comparison) and comparison.structure.max() >= len(frames):
            raise InputError(
                f"the evaluation has a structure {comparison.structure.max()}, but there are {len(frames)} frames: "
                "pass the very list that was evaluated."
            )
    forces = evaluation.forces
    if forces is None or forces.species is None:
        return
    for frame in np.unique(forces.structure).tolist():
        own = forces.species[forces.structure == frame][::3].tolist()
        if own != frames[frame].get_chemical_symbols():
            raise InputError(
                f"frame {frame} is {frames[frame].get_chemical_formula()}, not the structure that was evaluated: "
                "pass the very list that was evaluated."
            )


def _check_md(md: Mapping[str, Any]) -> None:
    missing = [name for name in ("time_ps", "total_energy_per_atom") if name not in md]
    if missing:
        raise InputError(f"md lacks {' and '.join(missing)} (it has {', '.join(md) or 'nothing'}): add the arrays.")
    names = [n for n in ("time_ps", "total_energy_per_atom", "temperature") if md.get(n) is not None]
    arrays = {name: np.asarray(md[name], dtype=float) for name in names}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 or shape[0] < 2 for shape in shapes.values()):
        raise InputError(
            f"the arrays of md must have one common length of at least 2, got {shapes}: record them together."
        )
    bad = [name for name, array in arrays.items() if not np.all(np.isfinite(array))]
    if bad:
        raise InputError(f"md holds values that are not finite in {', '.join(bad)}: the run failed, look at its end.")


__all__ = ["Content", "write_report"]
