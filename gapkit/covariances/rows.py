"""K_nm and K_tt of energies over all terms, one structure at a time.

Each label is a linear functional of the local energies, so each row of K_nm is the same functional of k(·, m):

    energy row       Σ_i k(x_i, m)
    force row (j,a)  -∂/∂r_ja Σ_i k(x_i, m)
    virial row (ab)  -∂/∂ε_ab Σ_i k(x_i, m)
"""

from __future__ import annotations

import numpy as np

from gapkit.terms.basis import Environments
from gapkit.terms.records import StructureRows


def structure_rows(environments: Environments, derivatives: bool = True) -> StructureRows:
    """Energy, force and virial rows of one structure (no force rows, and virial rows zero, unless `derivatives`)."""
    M, n = environments.basis.n_columns, 3 * len(environments.numbers) if derivatives else 0
    rows = StructureRows(np.zeros(M), np.zeros((n, M)), np.zeros((6, M)))
    for term, blocks, nb in environments.of_terms:
        term.add_rows(blocks, nb, environments.numbers, rows)
    return rows


def local_rows(environments: Environments) -> np.ndarray:
    """Rows of the local energies, k(x_i, m), shape (n_atoms, n_columns), eV²."""
    rows = np.zeros((len(environments.numbers), environments.basis.n_columns))
    for term, blocks, nb in environments.of_terms:
        term.add_local_rows(blocks, nb, environments.numbers, rows)
    return rows


def local_prior(environments: Environments) -> np.ndarray:
    """K_tt of the local energies, k(x_i, x_i), shape (n_atoms,), eV²."""
    parts = (term.local_prior(blocks, nb, environments.numbers) for term, blocks, nb in environments.of_terms)
    return sum(parts, np.zeros(len(environments.numbers)))


def prior_energy_variance(environments: Environments) -> float:
    """K_tt of the total energy, Σ_ii' k(x_i, x_i') with all cross terms between atoms, eV²."""
    numbers = environments.numbers
    parts: list[tuple[int, float]] = []
    for term, blocks, nb in environments.of_terms:
        parts += term.energy_prior(blocks, nb, numbers)
    return sum((value for _, value in sorted(parts, key=lambda part: part[0])), 0.0)
