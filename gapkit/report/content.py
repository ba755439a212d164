"""Content of a report, before it becomes HTML, Markdown or JSON."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms

from gapkit.evaluation.calibration import Calibration
from gapkit.evaluation.comparison import ErrorRow, Evaluation
from gapkit.quantities import COMPARED
from gapkit.report import tables
from gapkit.report.contribution_tables import part_tables
from gapkit.report.model_card import as_text, describe_model, recipe, versions
from gapkit.report.tables import ErrorTable, Table
from gapkit.report.training_tables import data_notes, data_tables
from gapkit.report.verdict import Verdict, judge
from gapkit.uncertainty.extrapolation import Extrapolation

if TYPE_CHECKING:
    from gapkit.active_learning.data_value import WhichData
    from gapkit.evaluation.leave_one_out import LeaveOneOut
    from gapkit.model_selection.learning_curve import LearningCurve
    from gapkit.potential.gap import GAP

Rows = list[tuple[str, str]]
CONVENTIONS = (
    ("Energy", "total energy divided by the number of atoms, eV/atom; errors in meV/atom"),
    ("Forces", "per Cartesian component, eV/Å"),
    ("Stress", "(1/V) dE/dε per independent component xx yy zz yz xz xy, GPa, tension positive"),
    ("Error", "predicted − reference"),
    ("Standard deviation", "of a new label: the model's own and the noise of the labels together"),
    ("z", "(reference − predicted)/standard deviation"),
    ("±", "one standard error, by bootstrap over structures"),
)


class Extras(NamedTuple):
    """Optional parts of a report; see `gapkit.report.write.write_report`."""

    frames: Sequence[Atoms] | None
    train: Evaluation | None
    model_card: Mapping[str, Any]
    md: Mapping[str, Any] | None
    learning_curve: LearningCurve | None
    leave_one_out: LeaveOneOut | None
    which_data: WhichData | None
    command: str


class Calibrated(NamedTuple):
    """One kind of label with standard deviations."""

    kind: str
    name: str
    scored: Calibration
    scores: Table
    coverage: Table
    by_config_type: Table


@dataclass(frozen=True, eq=False)
class Content:
    """A report without its figures.

    Attributes
    ----------
    title, description, date : str
    verdict : Verdict
    tiles : list of dict
        The numbers on top: name, value, unit, note.
    model, conventions, provenance, md : list of (name, text)
    n_structures : int
    rows : list of ErrorRow
        All errors, unrounded.
    errors : list of ErrorTable
    has_train : bool
    calibrations : list of Calibrated
    hyperparameters, extrapolation : Table or None
    parts : list of Table
        What baselines and terms contribute.
    parts_notes : list of str
    worst_frames : Table
    worst_atoms : Table or None
    data : list of Table
        Which training frames matter.
    data_notes : list of str
    learning : Table or None
    advice : str
        About the number of sparse points.
    recipe, command, versions : str
    """

    title: str
    description: str
    date: str
    verdict: Verdict
    tiles: list[dict[str, str]]
    model: Rows
    conventions: Sequence[tuple[str, str]]
    provenance: Rows
    md: Rows
    n_structures: int
    rows: list[ErrorRow]
    errors: list[ErrorTable]
    has_train: bool
    calibrations: list[Calibrated]
    hyperparameters: Table | None
    extrapolation: Table | None
    parts: list[Table]
    parts_notes: list[str]
    worst_frames: Table
    worst_atoms: Table | None
    data: list[Table]
    data_notes: list[str]
    learning: Table | None
    advice: str
    recipe: str
    command: str
    versions: str


def gather(
    gap: GAP,
    evaluation: Evaluation,
    environments: Extrapolation | None,
    extras: Extras,
    title: str,
    description: str,
) -> Content:
    """Collect the content of a report about `gap`."""
    rows, calibrations, atoms = evaluation.rows(), _calibrations(evaluation), tables.atom_errors(evaluation)
    parts, parts_notes = ([], []) if extras.frames is None else part_tables(gap, evaluation, extras.frames)
    return Content(
        title=title,
        description=description,
        date=_today(),
        verdict=judge(gap, evaluation, environments),
        tiles=[_tile(row) for row in rows if row.config_type is None] + _coverage_tiles(calibrations),
        model=_model_rows(gap, extras),
        conventions=CONVENTIONS,
        provenance=_provenance(gap, evaluation),
        md=[] if extras.md is None else _md_rows(extras.md),
        n_structures=evaluation.n_structures,
        rows=rows,
        errors=tables.error_tables(rows, extras.train),
        has_train=extras.train is not None,
        calibrations=calibrations,
        hyperparameters=tables.hyperparameter_table(gap),
        extrapolation=None if environments is None else tables.extrapolation_table(evaluation, environments),
        parts=parts,
        parts_notes=parts_notes,
        worst_frames=tables.worst_frames(evaluation),
        worst_atoms=None if atoms is None else tables.worst_atoms(atoms),
        data=data_tables(extras.leave_one_out, extras.which_data),
        data_notes=data_notes(extras.which_data),
        learning=None if extras.learning_curve is None else tables.learning_table(extras.learning_curve),
        advice="" if extras.learning_curve is None else extras.learning_curve.advice(),
        recipe=recipe(gap),
        command=extras.command,
        versions=versions(),
    )


# ---- model and provenance


def _model_rows(gap: GAP, extras: Extras) -> Rows:
    card = describe_model(gap)
    if gap.hyperparameters_:
        card.pop("Learned from the data", None)  # has a table of its own
    card |= {name: as_text(value) for name, value in extras.model_card.items()}
    return list(card.items())


def _provenance(gap: GAP, evaluation: Evaluation) -> Rows:
    found = {
        "Training data SHA-256": gap.training_.get("sha256"),
        "Test labels SHA-256": _fingerprint(evaluation),
        "Random seed": gap.random_state,
        "Versions": versions(),
    }
    return [(name, as_text(value)) for name, value in found.items() if value is not None]


def _fingerprint(evaluation: Evaluation) -> str:
    """SHA-256 of the reference values of every kind, in their order."""
    digest = hashlib.sha256()
    for kind, comparison in evaluation.comparisons.items():
        digest.update(kind.encode())
        digest.update(np.ascontiguousarray(comparison.reference, dtype="<f8").tobytes())
    return digest.hexdigest()


def _today() -> str:
    """Date of today, or of SOURCE_DATE_EPOCH for reproducible builds."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    return moment.strftime("%Y-%m-%d")


# ---- errors and calibration


def _tile(row: ErrorRow) -> dict[str, str]:
    rmse, rmse_se = tables.with_error(row.rmse, row.rmse_se)
    values = f"{row.n} value" + ("s" if row.n != 1 else "")
    note = f"± {rmse_se}, {values}" if rmse_se else values
    return {"name": f"{COMPARED[row.kind].title} RMSE", "value": rmse.text, "unit": row.unit, "note": note}


def _coverage_tiles(calibrations: Sequence[Calibrated]) -> list[dict[str, str]]:
    found = []
    for kind, _, scored, *_ in calibrations[:2]:
        note = f"90 % if calibrated, ± {100.0 * scored.coverage_se[0.9]:.1f} %"
        name = f"{'Energies' if kind == 'energy' else COMPARED[kind].title} inside their 90 % interval"
        found.append({"name": name, "value": f"{100.0 * scored.coverage[0.9]:.0f} %", "unit": "", "note": note})
    return found


def _calibrations(evaluation: Evaluation) -> list[Calibrated]:
    found = []
    for kind, comparison in evaluation.comparisons.items():
        scored = tables.calibrated(comparison)
        if scored is not None:
            by_type = tables.calibration_by_config_type(kind, comparison)
            own = (tables.score_table(kind, scored), tables.coverage_table(kind, scored), by_type)
            found.append(Calibrated(kind, COMPARED[kind].title, scored, *own))
    return found


# ---- molecular dynamics


def _md_rows(md: Mapping[str, Any]) -> Rows:
    time = np.asarray(md["time_ps"], dtype=float)
    rows = [("Length (ps)", as_text(float(time[-1] - time[0])))]
    if md.get("temperature") is not None:
        rows.append(("Mean temperature (K)", f"{np.mean(md['temperature']):.1f}"))
    if md.get("drift_mev_per_atom") is not None:
        rows.append(("Energy drift (meV/atom)", tables.number(float(md["drift_mev_per_atom"])).text))
    shown = ("time_ps", "total_energy_per_atom", "temperature", "drift_mev_per_atom")
    others = {name: x for name, x in md.items() if name not in shown and x is not None}
    return rows + [
        (_words(name), tables.number(x).text if isinstance(x, float) else as_text(x)) for name, x in others.items()
    ]


def _words(name: str) -> str:
    return (name[:1].upper() + name[1:]).replace("_", " ")


def scores(calibrated: Calibrated) -> dict[str, Any]:
    """Calibration of one kind as JSON data."""
    found = asdict(calibrated.scored)
    levels = {name: {f"{p:g}": x for p, x in found[name].items()} for name in ("coverage", "coverage_se")}
    return found | levels | {"by_config_type": calibrated.by_config_type.as_dicts()}
