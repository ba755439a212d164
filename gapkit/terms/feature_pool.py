"""Candidates for the sparse points of a `FeatureTerm`, gathered from a stream of frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gapkit.terms.feature_term import Candidates, FeatureTerm


class FeatureReport(NamedTuple):
    """What was chosen from what.

    Attributes
    ----------
    n_selected, n_candidates : int
        Features; candidates, of all species together.
    unmet : str
        From `FeatureTerm.unmet`.
    """

    n_selected: int
    n_candidates: int
    unmet: str = ""

    def __str__(self) -> str:
        source = f" from {self.n_candidates} candidate{'s'[: self.n_candidates != 1]}" if self.n_candidates else ""
        return f"{self.n_selected} features{source}" + (f"; {self.unmet}" if self.unmet else "")


class FeaturePool:
    """Like `SparsePool`: gather, merge what others have gathered from later frames, choose.

    Parameters
    ----------
    term : FeatureTerm
    random_state : int
    """

    def __init__(self, term: FeatureTerm, random_state: int) -> None:
        self.term, self.random_state = term, random_state
        self.found: Candidates = {}

    def add(self, found: Candidates) -> None:
        """Take in what one frame offers."""
        self.found = self.term.merge(self.found, found)

    def merge(self, other: FeaturePool) -> None:
        """Take in all that `other` holds, as if its stream followed on this one."""
        self.add(other.found)

    def thin(self) -> None:
        """Do nothing: candidates are merged in bounded memory."""

    def choose(self) -> tuple[np.ndarray, FeatureReport]:
        """What defines the columns, and what it was chosen from."""
        X = self.term.select(self.found, self.random_state)
        n_candidates = sum(len(x) for x in self.found.values())
        return X, FeatureReport(self.term.n_columns(X), n_candidates, self.term.unmet(self.found))
