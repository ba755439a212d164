"""Tables of a report about the training frames: which are redundant or contradicted, and what to calculate next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gapkit.quantities import COMPARED
from gapkit.report.tables import N_WORST, Cell, Number, Table, number, percent, score

if TYPE_CHECKING:
    from gapkit.active_learning.acquisition import MostWanted
    from gapkit.active_learning.data_value import Outlier, Redundant, WhichData
    from gapkit.evaluation.leave_one_out import FrameWithout, LeaveOneOut

FRAME = ("frame", "config type", "formula", "atoms")


def data_tables(left_out: LeaveOneOut | None, which: WhichData | None) -> list[Table]:
    """Tables of the results that are given and not empty."""
    found: list[Table] = []
    if which is not None:
        found += [_redundant(which.redundant)] if which.redundant else []
        found += [_outliers(which.outliers)] if which.outliers else []
        found += [_wanted(which.most_wanted)] if which.most_wanted is not None and which.most_wanted.choices else []
    if left_out is not None and left_out.worst(1):
        found.append(_left_out(left_out))
    return found


def data_notes(which: WhichData | None) -> list[str]:
    """Sentences that stand above the tables."""
    if which is None:
        return []
    nothing = [] if which.outliers else ["No training frame is contradicted by the others."]
    wanted = which.most_wanted
    foreign = [] if wanted is None or not wanted.foreign else [
        f"No sparse point is like the environments in candidates {', '.join(str(k) for k, _ in wanted.foreign)}: "
        "new sparse points come before new labels there."
    ]  # fmt: skip
    return [*nothing, *foreign, *(text[:1].upper() + text[1:] for text in which.messages)]


def _count(value: int) -> Number:
    return Number(str(value), str(value))


def _frame(frame: FrameWithout) -> tuple[Cell, ...]:
    return _count(frame.number), frame.config_type, frame.formula, _count(frame.n_atoms)


def _redundant(rows: Sequence[Redundant]) -> Table:
    cells = [
        (*_frame(row.frame), number(row.frame.information), number(row.per_label),
         "several others" if row.like is None else f"frame {row.like}", score(row.overlap))
        for row in rows[:N_WORST]
    ]  # fmt: skip
    note = "Frames with the least information beyond all others; remove them one at a time, as the rest then has more."
    headings = (*FRAME, "info (nats)", "per label", "repeats", "overlap")
    return Table("data-redundant", "Redundant", headings, tuple(cells), note)


def _outliers(rows: Sequence[Outlier]) -> Table:
    cells = [(*_frame(row.frame), *_z(row.frame), number(row.excess), row.reason) for row in rows[:N_WORST]]
    note = "Frames that all others contradict; z-scores of each kind of label, about 1 if they agree."
    headings = (*FRAME, *(f"z {kind}" for kind in COMPARED), "× usual", "likely cause")
    return Table("data-outliers", "Outliers", headings, tuple(cells), note)


def _z(frame: FrameWithout) -> tuple[Number, ...]:
    return tuple(score(frame.z_by_kind.get(kind)) for kind in COMPARED)


def _wanted(found: MostWanted) -> Table:
    total = found.n_targets * found.std_before**2
    cells = [
        (_count(k), _count(row.number), row.config_type, row.formula, _count(row.n_atoms), number(row.cost),
         percent(row.reduction / total), number(1000.0 * row.std_after), percent(row.uncovered))
        for k, row in enumerate(found.choices[:N_WORST], 1)
    ]  # fmt: skip
    note = (
        f"Candidates to calculate next, by expected fall of the variance per cost; the error bar of {found.n_targets} "
        f"{found.targets} is {1000.0 * found.std_before:.3g} meV now (root mean square). Uncovered: share of the "
        "variance that no label removes, because no sparse point is like these environments."
    )
    headings = ("rank", "candidate", *FRAME[1:], "cost", "variance removed", "std after (meV)", "uncovered")
    return Table("data-wanted", "Most wanted", headings, tuple(cells), note)


def _left_out(found: LeaveOneOut) -> Table:
    cells = [(*_frame(row), *_z(row), number(row.leverage), number(row.information)) for row in found.worst(N_WORST)]
    note = "Training frames that the others predict worst, each left out of the fit; z is about 1 if they agree."
    headings = (*FRAME, *(f"z {kind}" for kind in COMPARED), "leverage", "info (nats)")
    return Table("data-left-out", "Most surprising when left out", headings, tuple(cells), note)
