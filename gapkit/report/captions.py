"""Figures of a report with their captions and alternative texts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.evaluation.ranking import error_retention, per_atom
from gapkit.quantities import COMPARED
from gapkit.report import figures
from gapkit.report.tables import calibrated

if TYPE_CHECKING:
    from gapkit.model_selection.learning_curve import LearningCurve


class Picture(NamedTuple):
    """One figure: its identifier, the PNG in base 64, an alternative text for screen readers, and a caption."""

    name: str
    data: str
    alt: str
    caption: str


def _picture(name: str, data: bytes, alt: str, caption: str) -> Picture:
    return Picture(name, base64.b64encode(data).decode(), alt, caption)


def parity_pictures(evaluation: Evaluation, groups: Sequence[figures.Group]) -> list[Picture]:
    """Predicted against reference values, one figure per kind."""
    found = []
    for kind, comparison in evaluation.comparisons.items():
        name, n, shown = COMPARED[kind].title, len(comparison), comparison.displayed()
        bars = " Bars are ± 2 standard deviations." if comparison.std is not None and n <= figures.BARS else ""
        dense = " Colour shows the density of values." if n > figures.MANY else ""
        caption = (
            f"{name}: predicted against reference, and the error below. The dashed line is agreement.{bars}{dense}"
        )
        rmse = np.sqrt(np.mean(shown.error**2))
        alt = f"Parity plot of {n} {kind} values; root mean square error {rmse:.3g} {shown.unit}"
        found.append(_picture(f"parity-{kind}", figures.parity(comparison, groups), alt, caption))
    return found


def histogram_pictures(evaluation: Evaluation, groups: Sequence[figures.Group]) -> list[Picture]:
    """Distributions of errors, one figure per kind."""
    found = []
    for kind, comparison in evaluation.comparisons.items():
        n, shown = len(comparison), comparison.displayed()
        caption = f"{COMPARED[kind].title}: errors of {n} values; the outermost bins hold all beyond six RMSE."
        alt = f"Histogram of {n} {kind} errors; mean {np.mean(shown.error):.2g} {shown.unit}"
        found.append(_picture(f"histogram-{kind}", figures.error_histogram(comparison, groups), alt, caption))
    return found


def uncertainty_pictures(kind: str, comparison: Comparison, groups: Sequence[figures.Group]) -> list[Picture]:
    """Error against standard deviation, reliability and error retention of one kind with standard deviations."""
    scored = calibrated(comparison)
    assert scored is not None
    against = _picture(
        f"uncertainty-{kind}",
        figures.uncertainty_against_error(comparison, groups),
        f"Absolute {kind} error against predicted std; rank correlation {_words(scored.rank_correlation)}",
        "Absolute error against predicted standard deviation; about 68 % of the values should lie below the solid "
        "line (1 σ), 95 % below the dashed one (2 σ), and diamonds on the solid one.",
    )
    reliability = _picture(
        f"reliability-{kind}",
        figures.reliability(comparison, scored.scale),
        f"Observed against nominal coverage of the {kind} intervals; {100.0 * scored.coverage[0.9]:.0f} % of the "
        "values lie inside their 90 % interval",
        "Reliability: above the diagonal the model is too cautious, below it too sure.",
    )
    return [against, reliability, _retention(kind, comparison)]


def _retention(kind: str, comparison: Comparison) -> Picture:
    shown = comparison.displayed()
    atoms = per_atom(shown) if kind == "forces" and shown.atom is not None else None
    found = error_retention(shown if atoms is None else atoms)
    what = "atoms" if atoms is not None else "values"
    gain = "" if found.gain is None else f" Gain: {found.gain:.2f}."
    return _picture(
        f"retention-{kind}",
        figures.retention(found, shown.unit),
        f"Root mean square {kind} error left when the {what} with the largest standard deviations are removed;{gain}",
        f"Error left when the {what} with the largest standard deviations are removed: the nearer to the best order, "
        f"the better the error bars find the errors.{gain} (1: as the errors themselves would, 0: not at all.)",
    )


def _words(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def trajectory_picture(md: Mapping[str, Any]) -> Picture:
    """Energy, and temperature if known, against time."""
    energy = np.asarray(md["total_energy_per_atom"], dtype=float)
    caption = "Total energy relative to the first frame" + (", and temperature." if _has_temperature(md) else ".")
    span = 1000.0 * np.ptp(energy)
    return _picture("md", figures.trajectory(md), f"Energy against time; it spans {span:.2g} meV/atom", caption)


def _has_temperature(md: Mapping[str, Any]) -> bool:
    return md.get("temperature") is not None


def learning_curve_picture(curve: LearningCurve) -> Picture:
    """Errors and evidence against the number of sparse points."""
    whose = "test structures" if curve.held_out == "test" else "training structures, each left out of the fit"
    caption = f"Errors of {whose}, and the log evidence per label, against the number of sparse points."
    return _picture("learning-curve", figures.learning_curve(curve), f"Learning curve. {curve.advice()}", caption)
