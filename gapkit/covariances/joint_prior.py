"""Joint prior covariance K_tt of many functionals of many structures, and their covariances K_tm, over all terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gapkit.covariances.rows import local_rows, structure_rows
from gapkit.terms.basis import Basis, Environments
from gapkit.terms.records import Functionals, PriorSum


class Prior(NamedTuple):
    """Prior of all functionals.

    Attributes
    ----------
    K_tt : ndarray, shape (n_rows, n_rows)
    bound : ndarray, shape (n_rows,)
        Variance if all centres of a functional were fully correlated: never less than the diagonal of K_tt, and
        positive also where that vanishes by symmetry. It is the scale of round-off.
    """

    K_tt: np.ndarray
    bound: np.ndarray


def K_tm(basis: Basis, functionals: Sequence[Functionals], n: int) -> np.ndarray:
    """Covariances of all functionals with the sparse points, shape (n, n_columns)."""
    K = np.zeros((n, basis.n_columns))
    for f in functionals:
        environments = Environments(basis, tuple(f.neighbourhoods), f.numbers)
        if f.energy >= 0 or f.has_derivatives:
            rows = structure_rows(environments, f.has_derivatives)
            for first, of_kind in ((f.energy, rows.energy[None]), (f.forces, rows.forces), (f.virial, rows.virial)):
                if first >= 0:
                    K[first : first + len(of_kind)] = of_kind
        if f.local_energies >= 0:
            K[f.local_energies : f.local_energies + len(f.numbers)] = local_rows(environments)
    return K


def prior(basis: Basis, functionals: Sequence[Functionals], n: int) -> Prior:
    """K_tt of all functionals with all cross terms, and the bound of its diagonal.

    Parameters
    ----------
    basis : Basis
    functionals : sequence of Functionals
    n : int
        Number of rows.

    Notes
    -----
    Memory: see `memory`.
    """
    total = PriorSum(np.zeros((n, n)), np.zeros(n))
    for term, blocks in reversed(basis.term_blocks):
        term.add_prior(blocks, functionals, total)
    return Prior(total.K_tt, total.largest_std**2)


def memory(basis: Basis, functionals: Sequence[Functionals], n: int) -> int:
    """Bytes that `prior`, `K_tm` and the posterior of n rows take."""
    largest = max((term.prior_memory(blocks, functionals) for term, blocks in basis.term_blocks), default=0)
    return largest + 8 * (4 * n * n + 3 * n * basis.n_columns)
