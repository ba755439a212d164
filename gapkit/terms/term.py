"""Term = descriptor + kernel + its sparse points; a potential is a sum of terms, and this room evaluates it.

A `FeatureTerm` (pairs, triplets, explicit functions) has features of the structure instead and one block of columns.

Two seams meet here. Forwards, (i, j, D) goes in and (local energies, pair gradients g_ij) comes out; everything with
forces in it (ASE, LAMMPS, tests) is built on that. The fitted form of a term is one `SparseBlock` per species of the
central atom, because atoms compare only with sparse points of their own species.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from ase.data import atomic_numbers

from gapkit.checks import check_fields, is_count
from gapkit.descriptors.protocol import Descriptor
from gapkit.errors import InputError
from gapkit.gaussian_process.kernels import (
    DotProduct,
    Kernel,
)
from gapkit.terms.feature_term import FeatureTerm

ALL_SPECIES = 0  # "atomic number" of the block of a term whose features are not sorted by central atom


@dataclass(frozen=True)
class Term:
    """One additive part of a potential: Σ_i f(x_i) with f a Gaussian process.

    Parameters
    ----------
    descriptor : SOAP or ACSF
        What an atom's surroundings look like.
    kernel : DotProduct or SquaredExponential
        How alike two of them are.
    n_sparse : int or mapping of str to int
        Number of sparse points (inducing points) for each species, or one number per symbol.
    sparsification : {"fps", "cur", "kmeans", "random"}
        How they are chosen among the training environments.
    """

    descriptor: Descriptor
    kernel: Kernel = field(default_factory=DotProduct)
    n_sparse: int | Mapping[str, int] = 1000
    sparsification: str = "fps"

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        for name, part, example in (
            ("descriptor", self.descriptor, "SOAP(['Si'])"),
            ("kernel", self.kernel, "DotProduct()"),
        ):
            if isinstance(part, type) or not hasattr(part, "validate"):
                raise InputError(f"Term: {name} = {part!r} is none, give for example {example}.")
            part.validate()
        counts = self.n_sparse.values() if isinstance(self.n_sparse, Mapping) else [self.n_sparse]
        for n in counts:
            if not is_count(n):
                raise InputError(
                    f"n_sparse = {self.n_sparse!r} must be a positive whole number (500 to 4000 is usual)."
                )
        check_fields(self)

    @property
    def reach(self) -> float:
        """Cutoff of the descriptor, Å."""
        return self.descriptor.cutoff

    @property
    def delta(self) -> float:
        """Amplitude δ of the kernel, eV."""
        return self.kernel.delta

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the descriptor does not know."""
        self.descriptor.check_species(numbers)


AnyTerm: TypeAlias = Term | FeatureTerm


def with_delta(term: AnyTerm, delta: float) -> AnyTerm:
    """The term with another amplitude δ, eV: its K_nm and its block of K_mm change by (δ/δ_old)²."""
    if isinstance(term, Term):
        return replace(term, kernel=replace(term.kernel, delta=delta))  # type: ignore[type-var]
    return replace(term, delta=delta)  # type: ignore[type-var]


class SparseBlock(NamedTuple):
    """Sparse points of one term for one species of central atom.

    Attributes
    ----------
    term : int
        Index into the list of terms.
    number : int
        Atomic number of the central atoms; `ALL_SPECIES` for the one block of a `FeatureTerm`.
    X : ndarray, shape (n_sparse, n_features)
        Normalised features of the sparse points; of a `FeatureTerm` what its `select` gave.
    columns : slice
        Where this block's weights stand among all weights.
    """

    term: int
    number: int
    X: np.ndarray
    columns: slice


def farthest(terms: Sequence[AnyTerm]) -> int:
    """Place of the term with the largest cutoff."""
    return max(range(len(terms)), key=lambda t: terms[t].reach or 0.0)


def kernel_term(terms: Sequence[AnyTerm], block: SparseBlock) -> Term:
    """The term of a block that belongs to one species of central atom."""
    term = terms[block.term]
    assert isinstance(term, Term)
    return term


def known_numbers(terms: Sequence[AnyTerm], blocks: Sequence[SparseBlock], e0: Iterable[str]) -> list[int]:
    """Atomic numbers that the blocks were made for; if none belongs to a species, those of `e0` that all terms know."""
    numbers = {block.number for block in blocks} - {ALL_SPECIES}
    return sorted(numbers or {z for z in (atomic_numbers[s] for s in e0) if _is_known(terms, z)})


def _is_known(terms: Sequence[AnyTerm], number: int) -> bool:
    try:
        for term in terms:
            term.check_species(np.array([number]))
    except InputError:
        return False
    return True


def feature_blocks(
    terms: Sequence[AnyTerm], blocks: Sequence[SparseBlock]
) -> Iterator[tuple[int, FeatureTerm, SparseBlock]]:
    """Number, term and block of every `FeatureTerm`."""
    for block in blocks:
        if isinstance(term := terms[block.term], FeatureTerm):
            yield block.term, term, block
