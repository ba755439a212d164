"""Posterior of the coefficients of a linear term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gapkit.errors import InputError

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP


class Coefficients(NamedTuple):
    """Coefficients c_k of E_t = Σ_k c_k φ_k.

    Attributes
    ----------
    names : list of str
        The function's names of its features, else their numbers from 0.
    values : ndarray, shape (n_features,)
        Posterior mean, eV per unit of the feature.
    covariance : ndarray, shape (n_features, n_features)
        Of the posterior, with the noises as they were fitted.
    """

    names: Sequence[str]
    values: np.ndarray
    covariance: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """Standard deviations, shape (n_features,)."""
        return np.sqrt(np.clip(np.diag(self.covariance), 0.0, None))


def linear_coefficients(gap: GAP, term: int) -> Coefficients:
    """Coefficients of the linear term ``gap.terms[term]`` with their posterior.

    A coefficient is a functional of the potential with the row K_tm = δ² s_k on its own column and the prior variance
    (δ s_k)². That of `LongRange` with charges is e²/(4πε₀) s², s the charge of one unit: the fit does not constrain
    it to be positive, so check.

    Raises
    ------
    InputError
        If the potential is not fitted or that term is not a `Linear`.
    """
    if not hasattr(gap, "posterior_"):
        raise InputError("the potential has no coefficients before a fit: call gap.fit(structures) first.")
    known = {b.term: (b, found) for b in gap.blocks_ if (found := gap.terms_[b.term].coefficients(b)) is not None}
    if not -len(gap.terms_) <= term < len(gap.terms_) or term % len(gap.terms_) not in known:
        cure = f"give one of {sorted(known)}" if known else "add a Linear to the potential"
        raise InputError(f"term {term} is not a Linear: {cure}.")
    block, (names, scales) = known[term % len(gap.terms_)]
    delta = gap.terms_[term].delta
    rows = np.zeros((len(scales), len(gap.alpha_)))
    rows[:, block.columns] = np.diag(delta**2 * scales)
    covariance = gap.posterior_.covariance(rows, np.diag((delta * scales) ** 2))
    return Coefficients(names, rows @ gap.alpha_, covariance)
