"""The result of a search for noises and amplitudes, with uncertainties and a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.runtime.tables import aligned

UNKNOWN = "not determined by the data"
UNDETERMINED = 0.7  # std of a logarithm relative to that of prior or bounds alone, above which the data say little


@dataclass(frozen=True)
class Hyperparameter:
    """One noise, amplitude or ratio of an outlier's noise to that of its group.

    Attributes
    ----------
    name : str
    what : {"noise", "ratio", "amplitude"}
    key : hashable
        Group of labels or name of an amplitude, as given.
    parent : hashable or None
        Group whose noise this is a multiple of.
    unit : str
    start, value, low, high : float
        Where the search began, what it found, and between which bounds, in `unit`.
    std_log : float
        Posterior standard deviation of the logarithm: 0.05 is ±5 %, 1 a factor of e either way.
    at_bound : {"", "low", "high"}
    fixed : bool
        It was not optimised.
    n_labels : int
        Scalar labels of the group; 0 for amplitudes.
    effective : float
        Effective number of parameters that the group's labels determine, or that the term has.
    prior_width : float
        Standard deviation of the logarithm's prior, infinite if there was none.
    """

    name: str
    what: str
    key: Any
    parent: Any
    unit: str
    start: float
    value: float
    low: float
    high: float
    std_log: float
    at_bound: str
    fixed: bool
    n_labels: int
    effective: float
    prior_width: float

    @property
    def determined(self) -> bool:
        """Whether the data narrowed it down beyond prior and bounds."""
        alone = min(self.prior_width, np.log(self.high / self.low) / np.sqrt(12.0)) if self.high > self.low else 0.0
        return self.fixed or bool(self.at_bound) or self.std_log < UNDETERMINED * alone

    def note(self) -> str:
        """A remark on it, or nothing."""
        if self.fixed:
            return "fixed"
        if self.parent is not None:
            return "" if self.at_bound == "low" else "outlier"
        if self.at_bound:
            return f"at its {'lower' if self.at_bound == 'low' else 'upper'} bound"
        return "" if self.determined else UNKNOWN


class LeftOutError(NamedTuple):
    """Root mean square error of the labels of one kind, predicted without their frame.

    Attributes
    ----------
    kind, unit : str
    before, after : float
        At the start and at the optimum.
    std : float
        Of log(after/before), by the choice of frames: other frames of the same sort may gain that much less or more.
    """

    kind: str
    unit: str
    before: float
    after: float
    std: float

    def __str__(self) -> str:
        change = 100.0 * (self.after / self.before - 1.0)
        return (
            f"{self.kind} {self.before:.4g} → {self.after:.4g} {self.unit} ({change:+.1f} ± {100.0 * self.std:.1f} %)"
        )


@dataclass(frozen=True)
class Optimum:
    """Noises and amplitudes of largest posterior probability, or of the least errors of left-out frames.

    Attributes
    ----------
    hyperparameters : tuple of Hyperparameter
    log_evidence_before, log_evidence : float
        log p(labels) at the start and at the optimum, without prior.
    n_evaluations : int
        Of the evidence with its gradient, those for the curvature included.
    start_values : tuple of float
        log p(labels) plus log prior that was reached from each start, the given one first.
    prior_width : float or None
    difference : float
        log p(labels) of `posterior`, by QR of the unwhitened factors, less `log_evidence`: an independent check.
    accuracy : float
        Bound on the round-off of `log_evidence` up to a factor of order one, eps λ_max(S).
    column_scale : ndarray, shape (n_sparse,)
        What the columns of the row factors are to be multiplied by (`RowFactor.rescale`) for the amplitudes found.
    posterior : SparsePosterior
        At the optimum.
    left_out : tuple of LeftOutError
        Errors that decided about all but the common factor of noises and amplitudes; none if the evidence decided.
    n_left_out : int
        Frames that were left out, one at a time.
    problem : str
        Why the search ended before its minimum, as the solver's message; empty if it did not.
    """

    hyperparameters: tuple[Hyperparameter, ...]
    log_evidence_before: float
    log_evidence: float
    n_evaluations: int
    start_values: tuple[float, ...]
    prior_width: float | None
    difference: float
    accuracy: float
    column_scale: np.ndarray = field(repr=False, compare=False)
    posterior: SparsePosterior = field(repr=False, compare=False)
    left_out: tuple[LeftOutError, ...] = ()
    n_left_out: int = 0
    problem: str = ""

    @property
    def spread(self) -> float:
        """Largest minus smallest of `start_values`: near zero if all starts found the same optimum."""
        return max(self.start_values) - min(self.start_values)

    @property
    def noise(self) -> dict[Any, float]:
        """Noise by group; that of an outlier is its own, not the ratio."""
        values = {h.key: h.value for h in self.hyperparameters}
        groups = (h for h in self.hyperparameters if h.what != "amplitude")
        return {h.key: h.value * (values[h.parent] if h.what == "ratio" else 1.0) for h in groups}

    @property
    def amplitudes(self) -> dict[str, float]:
        """δ of each amplitude by name, eV."""
        return {h.key: h.value for h in self.hyperparameters if h.what == "amplitude"}

    @property
    def outliers(self) -> tuple[Hyperparameter, ...]:
        """Ratios that left one, largest first."""
        found = [h for h in self.hyperparameters if h.note() == "outlier"]
        return tuple(sorted(found, key=lambda h: -h.value))

    def notes(self) -> tuple[str, ...]:
        """Sentences on what to check."""
        found = [f"the search ended before its minimum ({self.problem})."] if self.problem else []
        for h in self.hyperparameters:
            if h.note() == UNKNOWN:
                found.append(f"{h.name} is {UNKNOWN} ({h.n_labels} labels): it stayed near its start, {h.start:.3g}.")
            elif h.note().startswith("at its"):
                found.append(f"{h.name} lies {h.note()}, {h.value:.3g} {h.unit}: the data prefer a value beyond it.")
        if self.spread > 0.5:
            found.append(f"the starts differ by {self.spread:.3g} in log p: there is more than one optimum.")
        if abs(self.difference) > max(0.01, 10.0 * self.accuracy):
            found.append(f"a second way to compute log p differs by {self.difference:.2g}: the optimum is inexact.")
        return tuple(found)

    def table(self) -> str:
        """All hyperparameters, start → value with its uncertainty, and what to check, as text.

        Ratios of labels that turned out to be ordinary are left out.
        """
        shown = [h for h in self.hyperparameters if h.what != "ratio" or h.note()]
        head = ("", "unit", "start", "found", "uncertain by", "labels", "effective", "")
        lines = [aligned([head, *map(_row, shown)], "l" * len(head))]
        gain = self.log_evidence - self.log_evidence_before
        evidence = f"log evidence {self.log_evidence_before:.2f} → {self.log_evidence:.2f} ({gain:+.2f})"
        checked = f"checked to {abs(self.difference):.1g}"
        if self.left_out:
            lines.append(f"ratios by the errors of {self.n_left_out} left-out frames, common factor by the evidence:")
            lines += [f"  {e}" for e in self.left_out]
            lines.append(f"{evidence}; {self.n_evaluations} evaluations; {checked}")
        else:
            n_starts = len(self.start_values)
            starts = f"{n_starts} starts agree within {self.spread:.1g}; " if n_starts > 1 else ""
            lines.append(f"{evidence} in {self.n_evaluations} evaluations; {starts}{checked}")
        return "\n".join([*lines, *self.notes()])


def _row(h: Hyperparameter) -> tuple[str, ...]:
    uncertain = "" if h.fixed or h.at_bound else factor_in_words(h.std_log)
    labels = str(h.n_labels) if h.what != "amplitude" else ""
    unit = "ratio" if h.what == "ratio" else h.unit
    return h.name, unit, f"{h.start:.3g}", f"{h.value:.3g}", uncertain, labels, f"{h.effective:.1f}", h.note()


def factor_in_words(std_log: float) -> str:
    """The standard deviation of a logarithm as that of the value: ``5 %``, ``a factor of 2``."""
    return f"{100.0 * std_log:.2g} %" if std_log < 0.3 else f"a factor of {np.exp(std_log):.2g}"
