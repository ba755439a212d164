"""Result of a search for species weights: the weights, their uncertainty, and a table. Imports no structures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gapkit.errors import InputError
from gapkit.gaussian_process.optimum import factor_in_words
from gapkit.runtime.tables import aligned

PRIOR_WIDTH = 1.5  # standard deviation of the logarithms: a factor of 4.5 either way
UNDETERMINED = 0.7  # std of a logarithm relative to that of the prior, above which the data determine little
CLOSE = 2.0  # in log p: other signs within it are not excluded


class Visit(NamedTuple):
    """One evaluation: weights of all terms that are learned, and log p(labels) at the best noises and δ."""

    weights: tuple[dict[str, float], ...]
    log_evidence: float


class Ratio(NamedTuple):
    """Ratio of two weights, and the standard deviation of its logarithm: 0.05 is ±5 %."""

    value: float
    std_log: float


class TermWeights(NamedTuple):
    """Weights of one term.

    Attributes
    ----------
    term : int
        Its number in the list of terms.
    compression : str
    weights : dict of str to float
        With a geometric mean of |w| of one, positive for the lightest species.
    covariance : ndarray, shape (n_species, n_species)
        Posterior covariance of log|w|, species in the order of `weights`.
    at_bound : tuple of str
        Species whose ratio to the lightest one is at its bound.
    """

    term: int
    compression: str
    weights: dict[str, float]
    covariance: np.ndarray
    at_bound: tuple[str, ...]

    @property
    def std_log(self) -> dict[str, float]:
        """Standard deviation of log|w| by species; that of species at a bound is not known."""
        return dict(zip(self.weights, np.sqrt(np.diag(self.covariance)).tolist()))

    def ratio(self, a: str, b: str) -> Ratio:
        """w_a/w_b and its uncertainty.

        Raises
        ------
        InputError
            For a species that has no weight.
        """
        for symbol in (a, b):
            if symbol not in self.weights:
                raise InputError(f"there is no weight of {symbol!r}, only of {', '.join(self.weights)}.")
        i, j = (list(self.weights).index(symbol) for symbol in (a, b))
        C = self.covariance
        variance = max(C[i, i] + C[j, j] - 2.0 * C[i, j], 0.0)
        return Ratio(self.weights[a] / self.weights[b], float(np.sqrt(variance)))

    def note(self, symbol: str) -> str:
        """A remark on a weight, or an empty string."""
        if symbol in self.at_bound:
            return "at its bound"
        alone = PRIOR_WIDTH * np.sqrt(1.0 - 1.0 / len(self.weights))
        return "not determined by the data" if self.std_log[symbol] > UNDETERMINED * alone else ""

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table."""
        std = self.std_log
        uncertain = {s: "" if s in self.at_bound else factor_in_words(std[s]) for s in self.weights}
        return [
            (str(self.term), self.compression, s, f"{w:.3f}", uncertain[s], self.note(s))
            for s, w in self.weights.items()
        ]


@dataclass(frozen=True)
class SpeciesWeights:
    """Species weights of largest posterior probability; from `learn_species_weights`.

    Attributes
    ----------
    terms : tuple of TermWeights
    log_evidence_before, log_evidence : float
        log p(labels) of the frames that were used, at the best noises and δ, with the given weights (ones if there
        were none) and with those found.
    climbs : tuple of float
        log p plus log prior reached from each start, the best first.
    other_signs : float or None
        By how much log p plus log prior is lower with the next best pattern of signs that was tried; None if signs
        have no meaning.
    confirmed : float or None
        By how much log p(labels) of about as many other frames grows with the weights found; None if all were used.
    n_frames, n_atoms, n_sparse : int
        Frames that were used, their atoms, and sparse points of all terms.
    history : tuple of Visit
        All evaluations in their order.
    """

    terms: tuple[TermWeights, ...]
    log_evidence_before: float
    log_evidence: float
    climbs: tuple[float, ...]
    other_signs: float | None
    confirmed: float | None
    n_frames: int
    n_atoms: int
    n_sparse: int
    history: tuple[Visit, ...] = field(repr=False)

    @property
    def params(self) -> dict[str, dict[str, float]]:
        """For `GAP.set_params`, which puts the weights into its terms."""
        return {f"terms__{own.term}__descriptor__species_weights": dict(own.weights) for own in self.terms}

    @property
    def gain(self) -> float:
        """By how much log p(labels) grew."""
        return self.log_evidence - self.log_evidence_before

    def notes(self) -> tuple[str, ...]:
        """Sentences on weights at a bound, undetermined or not confirmed, and on uncertain signs."""
        found = []
        for own in self.terms:
            for symbol in own.weights:
                if note := own.note(symbol):
                    found.append(f"the weight of {symbol} in term {own.term} is {note}.")
        if self.gain < CLOSE:
            found.append(f"log p grew by {self.gain:.2g} only: the given weights are as good.")
        if self.confirmed is not None and self.confirmed < CLOSE:
            found.append("other frames do not confirm these weights: use more atoms, or keep the given ones.")
        if self.other_signs is not None and self.other_signs < CLOSE:
            found.append(f"other signs cost {self.other_signs:.2g} in log p only: the signs are not certain.")
        return tuple(found)

    def table(self) -> str:
        """Weights with their uncertainty, the gain in evidence, and `notes`, as text."""
        rows = [("term", "compression", "species", "weight", "uncertain by", "")]
        rows += [row for own in self.terms for row in own.rows()]  # type: ignore[misc]
        gain = f"{self.log_evidence_before:.2f} → {self.log_evidence:.2f} ({self.gain:+.2f})"
        used = f"{self.n_frames} frames with {self.n_atoms} atoms, {self.n_sparse} sparse points"
        lines = [aligned(rows, "rllrll"), f"log evidence {gain} of {used}; {len(self.history)} evaluations"]
        if self.other_signs is not None:
            lines.append(f"the next best signs: {-self.other_signs:+.2f} in log p")
        if self.confirmed is not None:
            lines.append(f"the same weights on other frames: {self.confirmed:+.2f} in log p")
        return "\n".join([*lines, *self.notes()])

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data."""
        terms = [
            {"term": t.term, "compression": t.compression, "weights": t.weights, "std_log": t.std_log}
            | {"notes": {s: note for s in t.weights if (note := t.note(s))}}
            for t in self.terms
        ]
        names = ("log_evidence_before", "log_evidence", "other_signs", "confirmed", "n_frames", "n_atoms", "n_sparse")
        return {"terms": terms, "n_evaluations": len(self.history)} | {name: getattr(self, name) for name in names}
