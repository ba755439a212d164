"""Term = descriptor + kernel: local energies that are a Gaussian process of atomic environments.

Atoms are compared only with sparse points of their own species, so that a fitted term has one block for each species.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from ase.data import chemical_symbols
from scipy.linalg import block_diag
from typing_extensions import TypedDict

from gapkit.checks import build, check_fields, check_keys, checked, is_count
from gapkit.descriptors.acsf import ACSF
from gapkit.descriptors.protocol import Descriptor
from gapkit.descriptors.soap import SOAP
from gapkit.descriptors.soap_rows import cheapest_route
from gapkit.errors import InputError
from gapkit.gaussian_process.kernels import DotProduct, Kernel, SquaredExponential, normalise
from gapkit.gaussian_process.sparse_pool import SparsePool, default_capacity
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.structures.properties import Properties
from gapkit.structures.statistics import DataFacts
from gapkit.terms import environment_sums as sums
from gapkit.terms.environment_derivatives import MovedCentres
from gapkit.terms.environment_prior import add_environment_prior, prior_bytes
from gapkit.terms.protocol import CentreTerm, DerivativePart, Folds, as_dict, term_type
from gapkit.terms.records import Functionals, Part, PriorSum, SparseBlock, StructureRows

DESCRIPTORS: dict[str, type] = {"SOAP": SOAP, "ACSF": ACSF}
KERNELS: dict[str, type] = {"DotProduct": DotProduct, "SquaredExponential": SquaredExponential}
KEYS = ("type", "descriptor", "kernel", "n_sparse", "sparsification")


class Counts(TypedDict, total=False):
    """The plain parameters of a term."""

    n_sparse: int | dict[str, int]
    sparsification: Literal["fps", "cur", "kmeans", "random"]


@term_type
@dataclass(frozen=True)
class Term(CentreTerm):
    """One additive part of a potential: Σ_i f(x_i) with f a Gaussian process.

    Parameters
    ----------
    descriptor : SOAP or ACSF
        Describes the environment of an atom.
    kernel : DotProduct or SquaredExponential
        Compares two environments.
    n_sparse : int or mapping of str to int
        Number of sparse points (inducing points) for each species, or one number per symbol.
    sparsification : {"fps", "cur", "kmeans", "random"}
        How they are chosen among the training environments.
    """

    descriptor: Descriptor
    kernel: Kernel = field(default_factory=DotProduct)
    n_sparse: int | Mapping[str, int] = 1000
    sparsification: str = "fps"

    delta_parameter: ClassVar[str] = "kernel__delta"
    species_part: ClassVar[str | None] = "descriptor"
    summation_order: ClassVar[int] = 0

    # -- parameters -----------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        for name, part, example in (
            ("descriptor", self.descriptor, "SOAP(['Si'])"),
            ("kernel", self.kernel, "DotProduct()"),
        ):
            if isinstance(part, type) or not hasattr(part, "validate"):
                raise InputError(f"Term: {name} = {part!r} is not a {name}: give for example {example}.")
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
    def delta(self) -> float:  # type: ignore[override]
        """Amplitude δ of the kernel, eV."""
        return self.kernel.delta

    def with_delta(self, delta: float) -> Self:
        """The term with another amplitude δ of its kernel, eV."""
        return replace(self, kernel=replace(self.kernel, delta=delta))  # type: ignore[type-var]

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the descriptor, or `n_sparse`, does not know."""
        self.descriptor.check_species(numbers)
        if isinstance(self.n_sparse, Mapping):
            missing = [symbol for z in numbers if (symbol := chemical_symbols[z]) not in self.n_sparse]
            if missing:
                raise InputError(f"n_sparse = {dict(self.n_sparse)} has no entry for {', '.join(missing)}: add one.")

    @property
    def label(self) -> str:
        """Class of the descriptor."""
        return type(self.descriptor).__name__

    @property
    def parts(self) -> dict[str, Any]:
        """Descriptor, kernel and number of sparse points."""
        return {"descriptor": self.descriptor, "kernel": self.kernel, "sparse points asked for": self.n_sparse}

    def to_dict(self) -> dict[str, Any]:
        """Parameters as JSON-serialisable data; without ``type``, which a term need not name."""
        n_sparse = dict(self.n_sparse) if isinstance(self.n_sparse, Mapping) else self.n_sparse
        parts = {"descriptor": as_dict(self.descriptor), "kernel": as_dict(self.kernel)}
        return {**parts, "n_sparse": n_sparse, "sparsification": self.sparsification}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> Self:
        """The inverse of `to_dict`; missing keys take the defaults, unknown ones are refused at the place `where`."""
        check_keys(data, KEYS, where)
        if "descriptor" not in data:
            raise InputError(f"{where} has no descriptor: add for example 'descriptor: {{type: SOAP, species: [Si]}}'.")
        descriptor = build(DESCRIPTORS, data["descriptor"], f"{where}.descriptor", "SOAP")
        kernel = build(KERNELS, data.get("kernel", {}), f"{where}.kernel", "DotProduct")
        rest = {key: data[key] for key in ("n_sparse", "sparsification") if key in data}
        return cls(descriptor, kernel, **checked(Counts, rest, where))

    # -- environments ---------------------------------------------------------------------------------------------

    @property
    def environment_descriptor(self) -> Descriptor:
        """The descriptor."""
        return self.descriptor

    @property
    def environment_kernel(self) -> Kernel:
        """The kernel."""
        return self.kernel

    def environments(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray
    ) -> Iterator[tuple[SparseBlock, np.ndarray, np.ndarray]]:
        """Those of a structure in groups: block, centres (n,), normalised features (n, n_features)."""
        for block, own, values, _ in sums.centre_features(self.descriptor, blocks, nb, numbers):
            yield block, own.centres, normalise(values)[0]

    @property
    def n_sparse_by_species(self) -> int | Mapping[str, int]:
        """`n_sparse`."""
        return self.n_sparse

    def with_n_sparse(self, n: int | Mapping[str, int]) -> Self:
        """The term with `n` sparse points for each species."""
        return replace(self, n_sparse=n)

    def with_descriptor(self, descriptor: Descriptor) -> Self:
        """The term with another descriptor."""
        return replace(self, descriptor=descriptor)

    @property
    def sparsification_by_species(self) -> str:
        """`sparsification`."""
        return self.sparsification

    @property
    def nested(self) -> bool:
        """Whether a smaller set of sparse points is the beginning of a larger one: so for all but k-means."""
        return self.sparsification != "kmeans"

    def _points_of(self, symbol: str) -> int:
        return int(self.n_sparse.get(symbol, 0) if isinstance(self.n_sparse, Mapping) else self.n_sparse)

    def estimated_columns(self, facts: DataFacts) -> int:
        """Sparse points, no more of a species than it has environments."""
        return sum(min(self._points_of(symbol), n) for symbol, n in facts.species.items())

    def estimated_operations(self, facts: DataFacts) -> float:
        """Estimate for the rows of such data; 0 for descriptors other than SOAP."""
        if not isinstance(self.descriptor, SOAP):
            return 0.0
        neighbours = facts.n_neighbours(self.descriptor.cutoff)
        counts = [(n, min(self._points_of(symbol), n)) for symbol, n in facts.species.items()]
        return sum(n * cheapest_route(self.descriptor.basis, neighbours, n_sparse) for n, n_sparse in counts)

    # -- sparse points --------------------------------------------------------------------------------------------

    def candidates(self, nb: Neighbourhoods, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Normalised features (n, n_features) of all environments in groups, by atomic number."""
        empty = [SparseBlock(0, int(z), np.empty((0, 0)), slice(0, 0)) for z in np.unique(numbers)]
        for block, _, Q in self.environments(empty, nb, numbers):
            yield block.key, Q

    def pool(self, key: int, random_state: int, n_bytes: int) -> SparsePool:
        """A pool for the environments of the atomic number `key`."""
        n_sparse = self._points_of(chemical_symbols[key])
        capacity = default_capacity(self.descriptor.n_features, n_sparse, n_bytes)
        return SparsePool(n_sparse, self.sparsification, random_state, capacity)

    @property
    def n_pools(self) -> int:
        """One for each species."""
        return len(self.descriptor.numbers)

    def block_name(self, key: int) -> str:
        """Chemical symbol."""
        return chemical_symbols[key]

    def block_numbers(self, key: int) -> frozenset[int]:
        """The atomic number of the central atoms."""
        return frozenset({key})

    def is_block(self, key: int, X: np.ndarray) -> bool:
        """Whether X has the descriptor's features, for one of its species."""
        return X.shape[1:] == (self.descriptor.n_features,) and key in self.descriptor.numbers

    def first_points(self, X: np.ndarray, n: int) -> np.ndarray:
        """The first `n` rows."""
        return X[:n]

    # -- covariances ----------------------------------------------------------------------------------------------

    def K_mm(self, blocks: Sequence[SparseBlock]) -> np.ndarray:
        """Block-diagonal over the species of the central atoms."""
        return np.asarray(block_diag(*(self.kernel.value(block.X @ block.X.T) for block in blocks)))

    def add_rows(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, rows: StructureRows
    ) -> None:
        """Rows of energy, forces and virial, by the chain rule for a few centres at a time."""
        sums.add_rows(self.descriptor, self.kernel, blocks, nb, numbers, rows)

    def add_local_rows(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, rows: np.ndarray
    ) -> None:
        """k(x_i, x_m)."""
        for block, centres, Q in self.environments(blocks, nb, numbers):
            rows[centres, block.columns] = self.kernel.value(Q @ block.X.T)

    def local_prior(self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray) -> np.ndarray:
        """k(x_i, x_i) = φ(1): features are normalised."""
        known = np.isin(numbers, [block.key for block in blocks])
        return np.where(known, self.kernel.value(np.ones((1, 1))).item(), 0.0)

    def energy_prior(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray
    ) -> Iterator[tuple[int, float]]:
        """Σ_ii' k(x_i, x_i'), species by species."""
        features: dict[int, list[np.ndarray]] = {}
        for block, _, Q in self.environments(blocks, nb, numbers):
            features.setdefault(block.key, []).append(Q)
        for number, parts in features.items():
            everything = np.concatenate(parts)
            for part in parts:
                yield number, float(self.kernel.value(part @ everything.T).sum())

    def derivative_parts(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, order: np.ndarray
    ) -> list[DerivativePart]:
        """One for each species."""
        return [MovedCentres.of(self.descriptor, self.kernel, block, nb, numbers, order) for block in blocks]

    def add_prior(self, blocks: Sequence[SparseBlock], functionals: Sequence[Functionals], total: PriorSum) -> None:
        """Mixed second derivatives of the kernel, summed over pairs of centres of one species."""
        for block in blocks:
            add_environment_prior(self.descriptor, self.kernel, block, functionals, total)

    def prior_memory(self, blocks: Sequence[SparseBlock], functionals: Sequence[Functionals]) -> int:
        """Tangents of all centres of one species."""
        return max((prior_bytes(block, functionals) for block in blocks), default=0)

    # -- sums -----------------------------------------------------------------------------------------------------

    def fold(self, X: np.ndarray, alpha: np.ndarray) -> Any:
        """A vector for ζ = 1, a quadratic form for ζ = 2 where that is cheaper; else None."""
        return self.kernel.fold(X, alpha)

    def evaluate(
        self, blocks: Sequence[SparseBlock], alpha: np.ndarray, folds: Folds, nb: Neighbourhoods, numbers: np.ndarray
    ) -> Properties:
        """Σ_i Σ_m α_m k(x_i, x_m) of one structure."""
        return sums.evaluate(self, blocks, alpha, folds, nb, numbers)

    def contribution(
        self,
        blocks: Sequence[SparseBlock],
        alpha: np.ndarray,
        folds: Folds,
        nb: Neighbourhoods,
        numbers: np.ndarray,
        with_covariances: bool,
    ) -> Part | None:
        """Σ_m α_m k(x_i, x_m) at the centres of `nb`; None for a species without sparse points."""
        block = sums.block_of(blocks, nb, numbers)
        if block is None:
            return None
        fold, own = folds.get(block[:2]), alpha[block.columns]
        return sums.contribution(self.descriptor, self.kernel, block, own, fold, nb, numbers, with_covariances)

    def contributions(
        self,
        blocks: Sequence[SparseBlock],
        weights: np.ndarray,
        folds: Sequence[Folds],
        nb: Neighbourhoods,
        numbers: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Local energies and pair gradients of all sets of weights from one set of features."""
        block = sums.block_of(blocks, nb, numbers)
        if block is None:
            return None
        return sums.contributions(self.descriptor, self.kernel, block, weights, folds, nb, numbers)

    def operations(self, blocks: Sequence[SparseBlock], neighbours: float, n_members: int) -> tuple[float, float]:
        """Of products with the sparse points and of pull-backs, block by block."""
        return sums.operations(blocks, neighbours, n_members)
