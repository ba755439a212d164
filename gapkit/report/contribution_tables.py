"""Tables of a report that decompose the predictions: baselines, fitted terms, and what each of them explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa

from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.potential.decomposition import Contribution, Contributions
from gapkit.quantities import COMPARED
from gapkit.report.tables import Cell, Table, number, percent

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP


def part_tables(gap: GAP, evaluation: Evaluation, frames: Sequence[Atoms]) -> tuple[list[Table], list[str]]:
    """What e0 and baselines predict alone, what the fit adds, and the size of every part; with notes.

    Nothing for a potential of one term without baselines.
    """
    if len(gap.terms_) + len(gap.baseline_) < 2:
        return [], []
    numbers = np.unique(np.concatenate([c.structure for c in evaluation.comparisons.values()]))
    parts = gap.decompose([frames[k] for k in numbers])
    own = {
        kind: (comparison, np.searchsorted(numbers, np.unique(comparison.structure)))
        for kind, comparison in evaluation.comparisons.items()
    }
    tables = [_sizes(own, parts)]
    if not gap.baseline_:
        return tables, []
    explained, notes = _explained(own, parts)
    return [explained, *tables], notes


Own = dict[str, tuple[Comparison, np.ndarray]]


def rows_of(part: Contribution, kind: str, which: np.ndarray) -> np.ndarray:
    """A part's values as the rows of a `Comparison`: eV/atom, eV/Å or GPa."""
    if kind == "energy":
        return np.array([part.energy[k] / len(part.forces[k]) for k in which])
    if kind == "forces":
        return np.concatenate([part.forces[k].ravel() for k in which])
    return np.concatenate([np.ravel(full_3x3_to_voigt_6_stress(part.stress[k])) / GPa for k in which])


def _explained(own: Own, parts: Contributions) -> tuple[Table, list[str]]:
    """One row per kind: spread of the labels, error of the baselines alone, spread of the fit, error of the model."""
    known, e0, fitted = parts.total("e0", "baseline"), parts.total("e0"), parts.total("term")
    rows: list[tuple[Cell, ...]] = []
    notes = []
    for kind, (comparison, which) in own.items():
        quantity = COMPARED[kind]
        s, name, unit = quantity.quoted, quantity.title, quantity.quoted_unit
        labels = s * (comparison.reference - rows_of(e0, kind, which))
        alone = s * (rows_of(known, kind, which) - comparison.reference)
        model, fit = s * comparison.error, s * rows_of(fitted, kind, which)
        left = float(np.std(alone))
        numbers = (float(np.std(labels)), _rms(alone), left, float(np.std(fit)), _rms(model))
        share = None if not labels.any() else 1.0 - (left / numbers[0]) ** 2 if numbers[0] > 0 else None
        rows.append((f"{name} ({unit})", *map(number, numbers), percent(share)))
        if share is not None and share <= 0 and rows_of(parts.total("baseline"), kind, which).any():
            notes.append(
                f"{name}: the baselines explain nothing. Their error spreads over {left:.3g} {unit}, the "
                f"labels over {numbers[0]:.3g}; a fit without them may be better."
            )
    if not any(rows_of(parts.total("baseline"), kind, which).any() for kind, (_, which) in own.items()):
        notes.append("The baselines are zero in all these structures, as a repulsion between closer atoms is.")
    headings = ("quantity", "spread of labels", "RMSE of e0 + baselines", "its spread", "spread of the fitted part",
                "RMSE of the model", "variance explained by baselines")  # fmt: skip
    note = (
        "The fit learns what e0 and baselines leave, and predictions are the sum. Spread: standard deviation, of "
        "energies less e0. A constant shift of the baselines' energies is easily learned: their spread is what counts."
    )
    return Table("baseline", "Baselines alone and with the fit", headings, tuple(rows), note, sortable=False), notes


def _sizes(own: Own, parts: Contributions) -> Table:
    """One row per part, and their sum."""
    rows: list[tuple[Cell, ...]] = []
    for part in (*parts.parts, parts.total()):
        cells: list[Cell] = []
        for kind, (_, which) in own.items():
            values = COMPARED[kind].quoted * rows_of(part, kind, which)
            cells += [number(float(values.mean()) / 1000.0), number(float(values.std()))] if kind == "energy" else [
                number(_rms(values))
            ]  # fmt: skip
        rows.append((part.name, part.role, *cells))
    heads = {"energy": ["mean energy (eV/atom)", "spread (meV/atom)"], "forces": ["forces (eV/Å)"],
             "stress": ["stress (GPa)"]}  # fmt: skip
    headings = ("part", "role", *(head for kind in own for head in heads[kind]))
    note = (
        "Mean and standard deviation of the energies, root mean square of forces and stress. Terms are fitted together "
        "and may cancel in part: a term's share is not what a fit without it would lose."
    )
    return Table("parts", "What each part contributes", headings, tuple(rows), note, sortable=False)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
