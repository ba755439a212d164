"""The basis functions of a potential (terms and their blocks), alone and together with one structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from scipy.linalg import block_diag

from gapkit.errors import InputError
from gapkit.gaussian_process.kernels import Kernel
from gapkit.geometry.neighbourhoods import Neighbourhoods, NeighbourList, find_neighbourhoods, whole_structure
from gapkit.terms.protocol import AdditiveTerm, Folds
from gapkit.terms.records import SparseBlock


class EnvironmentBlock(NamedTuple):
    """A block whose sparse points are environments of atoms, and the kernel that compares them."""

    block: SparseBlock
    kernel: Kernel
    symbol: str

    @property
    def name(self) -> tuple[int, str]:
        """Number of the term and chemical symbol."""
        return self.block.term, self.symbol


@dataclass(frozen=True)
class Basis:
    """The basis functions k_t(·, m) of a potential Σ_t Σ_m α_m k_t(·, m).

    Attributes
    ----------
    terms : tuple of AdditiveTerm
    blocks : tuple of SparseBlock
        In the order of their columns; those of one term stand together.
    """

    terms: tuple[AdditiveTerm, ...]
    blocks: tuple[SparseBlock, ...]

    @classmethod
    def of_points(cls, terms: Iterable[AdditiveTerm], points: Mapping[tuple[int, int], np.ndarray]) -> Basis:
        """Blocks from their X by (term, key), sorted by these."""
        terms, blocks, start = tuple(terms), [], 0
        for t, key in sorted(points):
            stop = start + terms[t].n_columns(points[t, key])
            blocks.append(SparseBlock(t, key, points[t, key], slice(start, stop)))
            start = stop
        return cls(terms, tuple(blocks))

    @property
    def points(self) -> dict[tuple[int, int], np.ndarray]:
        """The inverse of `of_points`."""
        return {block[:2]: block.X for block in self.blocks}

    @property
    def n_columns(self) -> int:
        """Number of functions."""
        return max((block.columns.stop for block in self.blocks), default=0)

    @property
    def term_blocks(self) -> list[tuple[AdditiveTerm, list[SparseBlock]]]:
        """Every term with its blocks, in the order of sums over terms."""
        order = sorted(range(len(self.terms)), key=lambda t: self.terms[t].summation_order)
        return [(self.terms[t], self.own(t)) for t in order]

    def own(self, t: int) -> list[SparseBlock]:
        """Blocks of term `t`."""
        return [block for block in self.blocks if block.term == t]

    def only(self, t: int) -> Basis:
        """The basis with the blocks of term `t` alone, each at its own columns."""
        return replace(self, blocks=tuple(self.own(t)))

    def columns_of(self, t: int) -> np.ndarray:
        """Columns of term `t`."""
        return np.concatenate([*(np.arange(b.columns.start, b.columns.stop) for b in self.own(t)), np.empty(0, int)])

    def block_name(self, block: SparseBlock) -> tuple[int, str]:
        """Number of the term and name of the block within it: the chemical symbol, or "all species"."""
        return block.term, self.terms[block.term].block_name(block.key)

    @property
    def column_names(self) -> dict[str, slice]:
        """Columns by "term 1, Si"."""
        names = ((self.block_name(block), block.columns) for block in self.blocks)
        return {f"term {t + 1}, {name}": columns for (t, name), columns in names}

    @property
    def environment_blocks(self) -> list[EnvironmentBlock]:
        """Blocks whose sparse points are environments of atoms; those of pairs, triplets, … are not."""
        kernels = [term.environment_kernel for term in self.terms]
        found = ((block, kernels[block.term]) for block in self.blocks)
        return [EnvironmentBlock(b, kernel, self.block_name(b)[1]) for b, kernel in found if kernel is not None]

    @property
    def longest(self) -> int:
        """Number of the term with the largest cutoff."""
        return max(range(len(self.terms)), key=lambda t: self.terms[t].reach or 0.0)

    def known_numbers(self, e0: Iterable[str]) -> list[int]:
        """Atomic numbers that the blocks were made for; if they name none, those of `e0` that all terms know."""
        numbers = frozenset[int]().union(*(self.terms[b.term].block_numbers(b.key) for b in self.blocks))
        return sorted(numbers or {z for z in (atomic_numbers[s] for s in e0) if self._knows(z)})

    def _knows(self, number: int) -> bool:
        try:
            self.check_species(np.array([number]))
        except InputError:
            return False
        return True

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that a term does not know."""
        for term in self.terms:
            term.check_species(numbers)

    def K_mm(self) -> np.ndarray:
        """Covariance of all functions, shape (n_columns, n_columns), eV²; terms are independent of each other."""
        return np.asarray(block_diag(*(term.K_mm(self.own(t)) for t, term in enumerate(self.terms) if self.own(t))))

    def fold(self, alpha: np.ndarray) -> Folds:
        """Folded sums, by (term, key), of the blocks for which folding makes evaluation cheaper."""
        folds = {block[:2]: self.terms[block.term].fold(block.X, alpha[block.columns]) for block in self.blocks}
        return {key: fold for key, fold in folds.items() if fold is not None}

    def environments(self, atoms: Atoms, lists: Mapping[float, NeighbourList] | None = None) -> Environments:
        """The basis together with one structure; one neighbour search for all terms.

        Pairs within the largest cutoff come from `lists` if there is one with it; those within a shorter one are among
        them. A term that depends on the whole structure gets the structure instead of pairs.
        """
        return Environments(self, tuple(find_all_neighbourhoods(self.terms, atoms, lists)), atoms.numbers)


@dataclass(frozen=True)
class Environments:
    """A basis and one structure: what evaluations and covariances start from.

    Attributes
    ----------
    basis : Basis
    neighbourhoods : tuple of Neighbourhoods
        One per term, of all atoms.
    numbers : ndarray of int, shape (n_atoms,)
        Atomic numbers.
    """

    basis: Basis
    neighbourhoods: tuple[Neighbourhoods, ...]
    numbers: np.ndarray

    @property
    def of_terms(self) -> list[tuple[AdditiveTerm, list[SparseBlock], Neighbourhoods]]:
        """Every term with its blocks and neighbourhoods, in the order of sums over terms."""
        terms = self.basis.terms
        order = sorted(range(len(terms)), key=lambda t: terms[t].summation_order)
        return [(terms[t], self.basis.own(t), self.neighbourhoods[t]) for t in order]

    @property
    def longest(self) -> Neighbourhoods:
        """Neighbourhoods of the term with the largest cutoff."""
        return self.neighbourhoods[self.basis.longest]

    def features(self) -> Iterator[tuple[SparseBlock, np.ndarray, np.ndarray]]:
        """Environments of all terms that have them, in groups: block, centres (n,), normalised features (n, p)."""
        for term, blocks, nb in self.of_terms:
            yield from term.environments(blocks, nb, self.numbers)

    def only(self, t: int) -> Environments:
        """The same for term `t` alone."""
        return replace(self, basis=self.basis.only(t))


def find_all_neighbourhoods(
    terms: Sequence[AdditiveTerm], atoms: Atoms, lists: Mapping[float, NeighbourList] | None = None
) -> list[Neighbourhoods]:
    """One `Neighbourhoods` per term, shared by those with one cutoff; one search for all of them."""
    cutoffs = {term.reach for term in terms if term.reach is not None}
    found = {}
    if cutoffs:
        known = (lists or {}).get(longest := max(cutoffs))
        found[longest] = find_neighbourhoods(atoms, longest) if known is None else known.find(atoms)
        found |= {c: found[longest].within(c) for c in cutoffs - {longest}}
    return [whole_structure(atoms) if term.reach is None else found[term.reach] for term in terms]
