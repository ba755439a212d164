"""Tables of a report, the same for HTML, Markdown and JSON: what is shown, and the unrounded value behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gapkit.evaluation.calibration import Calibration, calibration, calibration_by
from gapkit.evaluation.comparison import ErrorRow, Evaluation
from gapkit.evaluation.ranking import per_atom
from gapkit.quantities import COMPARED
from gapkit.report.verdict import has_std, rows_by_config_type, zero_by_symmetry

if TYPE_CHECKING:
    from gapkit.evaluation.comparison import Comparison
    from gapkit.model_selection.learning_curve import LearningCurve
    from gapkit.potential.gap import GAP
    from gapkit.uncertainty.extrapolation import Extrapolation

N_WORST = 10
_SMALL = 1e-4  # below, numbers are written with an exponent


class Number(NamedTuple):
    """A number to show, and the same unrounded, for sorting and tests."""

    text: str
    value: str


Cell = Number | str


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name : str
        Its identifier in the page and in JSON.
    caption, note : str
        What stands above it, in bold and small.
    headings : tuple of str
    rows : tuple of tuple of Number or str
    sortable : bool
    """

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    sortable: bool = True

    @property
    def words(self) -> tuple[bool, ...]:
        """Columns that hold words."""
        if not self.rows:
            return (False,) * len(self.headings)
        return tuple(all(isinstance(cell, str) for cell in column) for column in zip(*self.rows))

    def as_dicts(self) -> list[dict[str, str | float | None]]:
        """Rows as JSON data, unrounded."""
        return [dict(zip(self.headings, map(_plain, row))) for row in self.rows]


def _plain(cell: Cell) -> str | float | None:
    if isinstance(cell, str):
        return cell
    return float(cell.value) if cell.value else None


# ---- numbers


def number(value: float | None) -> Number:
    """Three digits; a dash for a missing value."""
    if value is None or not np.isfinite(value):
        return Number("–", "")
    text = f"{value:.0f}" if abs(value) >= 999.5 or isinstance(value, int | np.integer) else f"{value:#.3g}"
    return Number(_typeset(text), repr(float(value)))


def score(value: float | None) -> Number:
    """Two decimals, for what is of order one."""
    if value is None or not np.isfinite(value):
        return Number("–", "")
    return Number(_typeset(f"{value:z.2f}"), repr(float(value)))


def percent(share: float | None) -> Number:
    """A share between 0 and 1 in per cent; sorted by the share."""
    if share is None or not np.isfinite(share):
        return Number("–", "")
    return Number(f"{100.0 * share:.1f} %", repr(float(share)))


def _typeset(text: str) -> str:
    """-3.96e-06 -> −3.96e−6."""
    mantissa, e, exponent = text.rstrip(".").partition("e")
    return (mantissa + (f"e{int(exponent)}" if e else "")).replace("-", "−")


def with_error(value: float, error: float | None) -> tuple[Number, str]:
    """3.214, 0.183 -> 3.21 and 0.18: as many decimals as two digits of the error have, if these are few."""
    if not error:
        return number(value), ""
    if abs(value) < _SMALL:
        return number(value), _typeset(f"{error:.1e}")
    decimals = int(np.clip(1 - np.floor(np.log10(error)), 0, 8))
    return Number(f"{value:.{decimals}f}", repr(float(value))), f"{error:.{decimals}f}"


# ---- errors


class ErrorTable(NamedTuple):
    """Errors of one kind: all structures, then each config type, as rows of name -> cell."""

    kind: str
    name: str
    unit: str
    total: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def table(self) -> Table:
        """The same for Markdown."""
        headings = ("config type", f"RMSE ({self.unit})", "±", "MAE", "max", "n", "train RMSE")
        rows = []
        for row in (self.total, *self.rows):
            name = "all" if row["config_type"] is None else row["config_type"]
            n = Number(str(row["n"]), str(row["n"]))
            rows.append((name, row["rmse"], row["rmse_se"] or "–", row["mae"], row["max"], n, row["train"]))
        return Table(f"errors-{self.kind}", self.name, headings, tuple(rows))


def error_tables(rows: Sequence[ErrorRow], train: Evaluation | None) -> list[ErrorTable]:
    """One table per kind, with the RMSE on the training structures beside it."""
    train_rmse = {} if train is None else {(row.kind, row.config_type): row.rmse for row in train.rows()}
    tables = []
    for kind in dict.fromkeys(row.kind for row in rows):
        shown = [_shown(row, train_rmse) for row in rows if row.kind == kind]
        unit = next(row.unit for row in rows if row.kind == kind)
        tables.append(ErrorTable(kind, COMPARED[kind].title, unit, shown[0], shown[1:]))
    return tables


def _shown(row: ErrorRow, train_rmse: Mapping[tuple[str, str | None], float]) -> dict[str, Any]:
    rmse, rmse_se = with_error(row.rmse, row.rmse_se)
    return row._asdict() | {
        "rmse": rmse,
        "rmse_se": rmse_se,
        "mae": number(row.mae),
        "max": number(row.max),
        "train": number(train_rmse.get((row.kind, row.config_type))),
    }


# ---- calibration


def calibrated(comparison: Comparison | None) -> Calibration | None:
    """Calibration in the unit of display, or None without usable standard deviations."""
    if comparison is None or not has_std(comparison):
        return None
    return calibration(comparison.displayed())


def score_table(kind: str, scored: Calibration) -> Table:
    """Every score of one kind, and what it is ideally."""
    unit = scored.unit
    scores: list[tuple[str, float | None, str]] = [
        ("mean of z", scored.mean_z, "0"),
        ("standard deviation of z", scored.std_z, "1"),
        ("factor on the std that fits best", scored.scale, "1"),
        ("miscalibration area", scored.miscalibration_area, "0"),
        ("rank correlation of std and error", scored.rank_correlation, "high"),
        ("the same, atom by atom", scored.atom_rank_correlation, "high"),
        (f"negative log likelihood (values in {unit})", scored.nll, "low"),
        (f"CRPS ({unit})", scored.crps, "low"),
        (f"sharpness, root mean square std ({unit})", scored.sharpness, "low"),
    ]
    rows = [(name, number(value), ideal) for name, value, ideal in scores if value is not None or "atom" not in name]
    return Table(f"calibration-{kind}", "", ("calibration", "value", "ideal"), tuple(rows), sortable=False)


def coverage_table(kind: str, scored: Calibration) -> Table:
    """Observed coverage of central intervals."""
    rows = [
        (f"{100.0 * p:g} %", Number(f"{100.0 * x:.1f} %", repr(x)), f"{100.0 * scored.coverage_se[p]:.1f} %")
        for p, x in scored.coverage.items()
    ]
    return Table(f"coverage-{kind}", "", ("interval", "values inside", "± if calibrated"), tuple(rows), sortable=False)


def calibration_by_config_type(kind: str, comparison: Comparison) -> Table:
    """One row per config type."""
    idle = zero_by_symmetry(comparison)
    rows = []
    for name, scored in calibration_by(comparison.displayed(), "config_type").items():
        if np.any(idle[comparison.config_type == name]):
            rows.append((name, *(number(None),) * 5, number(scored.n_structures)))
            continue
        rho = scored.atom_rank_correlation if scored.atom_rank_correlation is not None else scored.rank_correlation
        numbers = (score(scored.scale), score(scored.mean_z), percent(scored.coverage[0.9]), score(rho))
        rows.append((name, *numbers, number(scored.sharpness), number(scored.n_structures)))
    headings = (
        "config type",
        "√mean z²",
        "mean z",
        "in 90 %",
        "rank corr.",
        f"std ({comparison.displayed().unit})",
        "frames",
    )
    note = "√mean z² above 1: error bars too small by that factor. Rank correlation of error and std" + (
        ", atom by atom." if comparison.atom is not None else "."
    )
    if np.any(idle):
        note += " A dash: values that vanish by symmetry."
    return Table(f"calibration-types-{kind}", f"{COMPARED[kind].title} by config type", headings, tuple(rows), note)


# ---- worst


def worst_frames(evaluation: Evaluation) -> Table:
    """Frames ranked by max over kinds of (RMSE of the frame / RMSE of the set)."""
    ratio: dict[int, float] = {}
    columns: dict[str, dict[int, float]] = {}
    names: dict[int, str] = {}
    for kind, comparison in evaluation.comparisons.items():
        frames, values, ratios, own = _by_frame(kind, comparison)
        heading = f"{kind} {'error' if kind == 'energy' else 'RMSE'} ({comparison.displayed().unit})"
        columns[heading] = dict(zip(frames, values))
        names |= dict(zip(frames, own))
        for frame, x in zip(frames, ratios):
            ratio[frame] = max(ratio.get(frame, 0.0), x)
    worst = sorted(ratio, key=lambda frame: (-ratio[frame], frame))[:N_WORST]
    rows: list[tuple[Cell, ...]] = []
    for frame in worst:
        errors = (number(column.get(frame)) for column in columns.values())
        rows.append((_index(frame), names[frame], *errors, score(ratio[frame])))
    note = (
        "Ranked by the largest ratio of a frame's own RMSE to the RMSE of the whole set, over energy, forces and "
        "stress. Frames are counted from 0 in the evaluated list."
    )
    return Table("worst-frames", "", ("frame", "config type", *columns, "ratio"), tuple(rows), note)


def _by_frame(kind: str, comparison: Comparison) -> tuple[list[int], list[float], list[float], list[str]]:
    """Frames, their errors to show, their RMSE over that of the set, and their config types."""
    shown = comparison.displayed()
    frames, first, index = np.unique(shown.structure, return_index=True, return_inverse=True)
    rmse = np.sqrt(np.bincount(index, weights=shown.error**2) / np.bincount(index))
    overall = float(np.sqrt(np.mean(shown.error**2))) or 1.0
    # one energy per frame: its sign is worth showing
    values = shown.error[first] if kind == "energy" else rmse
    return frames.tolist(), values.tolist(), (rmse / overall).tolist(), shown.config_type[first].tolist()


def _index(value: Any) -> Number:
    return Number(str(int(value)), str(int(value)))


def atom_errors(evaluation: Evaluation) -> dict[str, np.ndarray] | None:
    """Length of each atom's error vector and of its std (NaN without), (n_atoms,), and whose they are."""
    forces = evaluation.forces
    if forces is None or forces.atom is None or forces.species is None:
        return None
    if has_std(forces):
        return dict(zip(("error", "std", "structure", "atom", "species", "config_type"), per_atom(forces)))
    first = slice(None, None, 3)
    error = np.sqrt((forces.error.reshape(-1, 3) ** 2).sum(axis=1))
    own = {name: getattr(forces, name)[first] for name in ("structure", "atom", "species", "config_type")}
    return {"error": error, "std": np.full(len(error), np.nan), **own}


def worst_atoms(atoms: Mapping[str, np.ndarray]) -> Table:
    """Atoms with the largest error vectors of the force."""
    order = np.argsort(-atoms["error"], kind="stable")[:N_WORST]
    rows = []
    for k in order:
        error, std = float(atoms["error"][k]), float(atoms["std"][k])
        whose = (_index(atoms["structure"][k]), _index(atoms["atom"][k]))
        names = (str(atoms["species"][k]), str(atoms["config_type"][k]))
        rows.append((*whose, *names, number(error), number(std), score(error / std)))
    headings = ("frame", "atom", "species", "config type", "force error (eV/Å)", "std (eV/Å)", "error/std")
    note = (
        "Length of the error vector of the force, and the root of its expected square. Atoms are counted from 0; a "
        "ratio far above 1.7 is an error that the model did not expect."
    )
    return Table("worst-atoms", "", headings, tuple(rows), note)


# ---- model


def hyperparameter_table(gap: GAP) -> Table | None:
    """Noises and amplitudes that the fit has learned."""
    found = gap.hyperparameters_
    if not found:
        return None
    rows: list[tuple[Cell, ...]] = []
    for row in found:
        spread = "fixed" if row.get("note") == "fixed" else f"× {np.exp(row['std_log']):.2f}"
        numbers = (number(row["start"]), number(row["value"]), row.get("unit", ""), spread)
        rows.append(
            (str(row["name"]), *numbers, number(int(row["n_labels"]) or None), number(row["effective"]), row["note"])
        )
    headings = ("hyperparameter", "start", "found", "unit", "uncertain by", "labels", "effective", "note")
    note = (
        "Learned from the training data, by their evidence log p(labels) or the errors of left-out frames. Uncertain "
        "by: one standard deviation of the logarithm, as a factor either way. Effective: parameters that the labels "
        "determine."
    )
    return Table("hyperparameters", "", headings, tuple(rows), note)


def extrapolation_table(evaluation: Evaluation, environments: Extrapolation) -> Table:
    """Share of environments beyond the training range, by config type."""
    groups = {"all": np.ones(len(environments.reach), dtype=bool)}
    rows = []
    for name, own in (groups | rows_by_config_type(evaluation, environments)).items():
        found = environments.summary(own)
        shares = (percent(found.far), score(found.largest_reach), percent(found.uncertain), score(found.largest_spread))
        rows.append((name, *shares, number(found.n_atoms)))
    headings = ("config type", "too far", "farthest", "too uncertain", "most uncertain", "atoms")
    limits = ", ".join(f"{distance:.3g}" for distance in environments.distance_limit.values())
    note = (
        "The model file holds no training environments but its sparse points, which are some of them; so each "
        "environment is compared with these. Too far: it lies farther from the nearest sparse point than 99 % of the "
        f"sparse points lie from the next one (distance of normalised descriptors {limits}). Too uncertain: the std of "
        "its local energy is above that at 99 % of the sparse points. Farthest and most uncertain are the largest "
        "ratios to these limits."
    )
    return Table("extrapolation", "", headings, tuple(rows), note)


# ---- sparse points


def learning_table(curve: LearningCurve) -> Table:
    """One row per number of sparse points."""
    rows = []
    for point in curve.points:
        own = (point.n_sparse, point.n_columns, point.effective, point.log_evidence)
        rows.append(tuple(map(number, (*own, *(row.rmse for row in point.errors)))))
    errors = (f"{row.kind} RMSE ({row.unit})" for row in curve.points[0].errors)
    headings = ("sparse points", "columns", "effective parameters", "log evidence", *errors)
    return Table("learning-curve", "", headings, tuple(rows))
