"""A third kind of term, as somebody else would write one: local energies as functions of the coordination number.

    f(c_i),   c_i = Σ_j w(r_ij),   w(r) = (1 - r²/c²)³,   k(c, c') = δ² exp(-(c - c')²/2ℓ²)

One block for all species, so that its K_mm is full over species, and no descriptor: neither a `Term` nor a
`FeatureTerm`. Written with dense matrices over all atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gapkit import InputError
from gapkit.quantities import VOIGT
from gapkit.structures.properties import Properties
from gapkit.terms.protocol import LAST, AdditiveTerm, term_type


class Report(NamedTuple):
    """What was chosen."""

    n_selected: int

    def __str__(self) -> str:
        return f"{self.n_selected} coordination numbers"


class Numbers:
    """Pool of coordination numbers."""

    def __init__(self, n: int) -> None:
        self.n, self.found = n, np.empty((0, 1))

    def add(self, found: np.ndarray) -> None:
        self.found = np.concatenate([self.found, found])

    def merge(self, other: Numbers) -> None:
        self.add(other.found)

    def thin(self) -> None:
        pass

    def choose(self) -> tuple[np.ndarray, Report]:
        X = np.linspace(self.found.min() - 0.5, self.found.max() + 0.5, self.n)[:, None]
        return X, Report(len(X))


class Part(NamedTuple):
    """Derivatives of all local energies: G (n_atoms, 3, n_atoms) by positions, H (6, n_atoms) by strain."""

    columns: tuple[slice, ...]
    G: np.ndarray
    H: np.ndarray
    slope: np.ndarray  # ∂k(c_i, m)/∂c_i, (n_atoms, n)
    mixed: np.ndarray  # ∂²k(c_i, c_i')/∂c_i∂c_i', (n_atoms, n_atoms)

    def memory(self) -> np.ndarray:
        return np.zeros(len(self.G) + 1, dtype=np.int64)

    def add_atoms(self, low, high, rows, prior) -> float:
        rows[..., self.columns[0]] = self.G[low:high] @ self.slope
        prior += np.einsum("rai,ik,rak->ra", self.G[low:high], self.mixed, self.G[low:high])
        return 0.0

    def add_strains(self, rows, prior) -> None:
        rows[:, self.columns[0]] = self.H @ self.slope
        prior += np.einsum("vi,ik,vk->v", self.H, self.mixed, self.H)


@term_type
@dataclass(frozen=True)
class Coordination(AdditiveTerm):
    """Σ_i f(c_i) with f a Gaussian process of the coordination number."""

    species: Sequence[str]
    cutoff: float = 4.0
    delta: float = 1.0
    length_scale: float = 3.0
    n_sparse: int = 8

    @property
    def reach(self) -> float:
        return self.cutoff

    def validate(self) -> None:
        if not self.cutoff > 0:
            raise InputError(f"cutoff = {self.cutoff} Å of Coordination must be positive.")

    def check_species(self, numbers) -> None:
        pass

    # -- functions

    def candidates(self, nb, numbers):
        yield 0, self._coordination(nb)[0][:, None]

    def pool(self, key, random_state, n_bytes) -> Numbers:
        return Numbers(self.n_sparse)

    # -- c_i and its derivatives

    def _coordination(self, nb):
        """c (n_atoms,), ∂c/∂r (n_atoms, 3, n_atoms) and ∂c/∂ε (6, n_atoms)."""
        n, x = nb.n_atoms, (nb.D**2).sum(axis=1) / self.cutoff**2
        w, slope = (1 - x) ** 3, -6 * (1 - x)[:, None] ** 2 * nb.D / self.cutoff**2
        c, G, H = np.zeros(n), np.zeros((n, 3, n)), np.zeros((6, n))
        np.add.at(c, nb.i, w)
        for i, j, D, g in zip(nb.i, nb.j, nb.D, slope):
            G[j, :, i] += g
            G[i, :, i] -= g
            H[:, i] += [0.5 * (D[a] * g[b] + D[b] * g[a]) for a, b in VOIGT]
        return c, G, H

    def _k(self, c, d, order: int = 0):
        """k and, with differences z = (c - d)/ℓ, -z k/ℓ = ∂k/∂c and (1 - z²) k/ℓ² = ∂²k/∂c∂d."""
        z = (c[:, None] - d[None]) / self.length_scale
        factor = (1.0, -z / self.length_scale, (1 - z**2) / self.length_scale**2)[order]
        return self.delta**2 * factor * np.exp(-0.5 * z**2)

    # -- covariances

    def K_mm(self, blocks):
        (block,) = blocks
        return self._k(block.X[:, 0], block.X[:, 0])

    def add_rows(self, blocks, nb, numbers, rows) -> None:
        (block,) = blocks
        c, G, H = self._coordination(nb)
        rows.energy[block.columns] = self._k(c, block.X[:, 0]).sum(axis=0)
        if rows.has_derivatives:
            slope = self._k(c, block.X[:, 0], 1)
            rows.forces[:, block.columns] = -(G @ slope).reshape(3 * len(c), -1)
            rows.virial[:, block.columns] = -H @ slope

    def add_local_rows(self, blocks, nb, numbers, rows) -> None:
        (block,) = blocks
        rows[:, block.columns] = self._k(self._coordination(nb)[0], block.X[:, 0])

    def local_prior(self, blocks, nb, numbers):
        return np.full(len(numbers), self.delta**2)

    def energy_prior(self, blocks, nb, numbers):
        c = self._coordination(nb)[0]
        yield LAST, float(self._k(c, c).sum())

    def derivative_parts(self, blocks, nb, numbers, order):
        (block,) = blocks
        c, G, H = self._coordination(nb)
        return [Part((block.columns,), G[order], H, self._k(c, block.X[:, 0], 1), self._k(c, c, 2))]

    def add_prior(self, blocks, functionals, total) -> None:
        t = blocks[0].term
        known = [self._operator(f, f.neighbourhoods[t], len(total.K_tt)) for f in functionals]
        for c, A, B in known:
            for d, E, F in known:
                first = self._k(c, d, 1)
                total.K_tt[:] += A @ self._k(c, d) @ E.T + B @ first @ E.T - A @ first @ F.T
                total.K_tt[:] += B @ self._k(c, d, 2) @ F.T
            total.largest_std[:] += self.delta * (np.abs(A).sum(axis=1) + np.abs(B).sum(axis=1) / self.length_scale)

    def _operator(self, f, nb, n):
        """c, and functionals of one structure as A f(c) + B f'(c)."""
        c, G, H = self._coordination(nb)
        A, B, N = np.zeros((n, len(c))), np.zeros((n, len(c))), len(c)
        if f.energy >= 0:
            A[f.energy] = 1.0
        if f.local_energies >= 0:
            A[f.local_energies : f.local_energies + N] = np.eye(N)
        if f.forces >= 0:
            B[f.forces : f.forces + 3 * N] = -G.reshape(3 * N, N)
        if f.virial >= 0:
            B[f.virial : f.virial + 6] = -H
        return c, A, B

    # -- sums

    def evaluate(self, blocks, alpha, folds, nb, numbers):
        (block,) = blocks
        c, G, H = self._coordination(nb)
        own, strain = alpha[block.columns], np.zeros((3, 3))
        e, slope = self._k(c, block.X[:, 0]) @ own, self._k(c, block.X[:, 0], 1) @ own
        for (a, b), value in zip(VOIGT, H @ slope):
            strain[a, b] = strain[b, a] = value
        return Properties(float(e.sum()), -(G @ slope), strain, e)
