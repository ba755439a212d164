"""Interface of a term, one additive part of a potential: the methods that the rest of the package calls.

    E_t = Σ_m α_m k_t(·, m)

over the functions m of the term's blocks. A block belongs to one term, and its functions may touch atoms of several
species; what a block holds (`SparseBlock.X`, `SparseBlock.key`) only its own term reads. The rest of the package asks a
term for candidates, covariances and sums, and never what kind it is: a new kind is one class in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from gapkit.checks import build
from gapkit.descriptors.protocol import Descriptor
from gapkit.errors import InputError
from gapkit.gaussian_process.kernels import Kernel
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.structures.properties import Properties
from gapkit.structures.statistics import DataFacts
from gapkit.terms.records import Functionals, Part, PriorSum, SparseBlock, StructureRows

LAST = 1000  # place in a sum
Folds = Mapping[tuple[int, int], Any]  # by (term, key) of a block


class Pool(Protocol):
    """Candidates for the functions of one block, gathered from a stream of structures."""

    def add(self, found: Any) -> None:
        """Add the candidates of one structure."""
        ...

    def merge(self, other: Any) -> None:
        """Add the candidates of another pool, gathered from later structures."""
        ...

    def thin(self) -> None:
        """Hold fewer, if candidates had to be dropped."""
        ...

    def choose(self) -> tuple[np.ndarray, Any]:
        """The block's X, and a report: a NamedTuple with `n_selected` that reads as a sentence."""
        ...


class DerivativePart(Protocol):
    """Contribution of some functions of a term to the variances of all forces and strains of one structure."""

    @property
    def columns(self) -> tuple[slice, ...]:
        """Columns of the functions."""
        ...

    def memory(self) -> np.ndarray:
        """Bytes that the atoms of rank below 0, 1, … n_atoms need together, shape (n_atoms + 1,)."""
        ...

    def add_atoms(self, low: int, high: int, rows: np.ndarray, prior: np.ndarray) -> float:
        """∂E/∂r of the atoms of ranks low to high: K_tm into `rows` (n, 3, n_columns), K_tt onto `prior` (n, 3).

        Returns a variance that sets the scale of round-off.
        """
        ...

    def add_strains(self, rows: np.ndarray, prior: np.ndarray) -> None:
        """∂E/∂ε: K_tm into `rows` (6, n_columns), K_tt onto `prior` (6,); called after all atoms are done."""
        ...


class AdditiveTerm(ABC):
    """One additive part of a potential; a frozen dataclass, so that files can name it and its parameters.

    In the methods below `blocks` are the term's own, `nb` the neighbourhoods of all atoms within its `reach`, `numbers`
    (n_atoms,) the atomic numbers of all atoms; arrays of rows have the columns of all terms, and a method fills in
    those of its blocks.
    """

    delta_parameter: ClassVar[str] = "delta"  # nested name of the amplitude
    species_part: ClassVar[str | None] = None  # parameter whose `species` apply where data name none
    summation_order: ClassVar[int] = 1  # terms with less come first in sums over terms, which decides the last bit

    # -- parameters -----------------------------------------------------------------------------------------------

    delta: float  # amplitude δ, eV

    @property
    @abstractmethod
    def reach(self) -> float | None:
        """Radius of the neighbourhoods that it needs, Å; None for a function of the whole structure."""

    @abstractmethod
    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""

    @abstractmethod
    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the term does not know."""

    def on_pairs(self, longest: float) -> AdditiveTerm | None:
        """A term with the same functions of neighbours alone, for some centres; None if it needs the whole structure.

        `longest` (Å) is a reach for terms that need no neighbours.
        """
        del longest
        return None if self.reach is None else self

    def with_delta(self, delta: float) -> Self:
        """The term with another amplitude δ, eV: its rows and its K_mm change by (δ/δ_old)²."""
        return replace(self, delta=delta)  # type: ignore[type-var]

    @property
    def label(self) -> str:
        """One word for tables."""
        return type(self).__name__

    @property
    def parts(self) -> dict[str, Any]:
        """Its parts, by the names that tables give them."""
        return {"term": self}

    def to_dict(self) -> dict[str, Any]:
        """Parameters as JSON-serialisable data, the class as ``type``."""
        return as_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> Self:
        """The inverse of `to_dict`; missing keys take the defaults, unknown ones are refused at the place `where`."""
        found: Self = build({cls.__name__: cls}, data, where, cls.__name__)
        return found

    # -- environments of atoms, for terms whose sparse points these are -------------------------------------------

    @property
    def environment_descriptor(self) -> Descriptor | None:
        """Their descriptor; None where sparse points are not environments."""
        return None

    @property
    def environment_kernel(self) -> Kernel | None:
        """Their kernel; None where sparse points are not environments."""
        return None

    def environments(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray
    ) -> Iterator[tuple[SparseBlock, np.ndarray, np.ndarray]]:
        """Those of a structure in groups: block, centres (n,), normalised features (n, n_features)."""
        del blocks, nb, numbers
        return iter(())

    @property
    def n_sparse_by_species(self) -> int | Mapping[str, int] | None:
        """Requested sparse points of each species; None where sparse points are not environments."""
        return None

    def with_n_sparse(self, n: int | Mapping[str, int]) -> Self:
        """The term with `n` sparse points for each species; unchanged where sparse points are not environments."""
        del n
        return self

    def with_descriptor(self, descriptor: Descriptor) -> Self:
        """The term with another descriptor; unchanged where sparse points are not environments."""
        del descriptor
        return self

    @property
    def sparsification_by_species(self) -> str:
        """How the sparse points of each species are chosen; empty where sparse points are not environments."""
        return ""

    @property
    def nested(self) -> bool:
        """Whether a smaller set of sparse points is the beginning of a larger one."""
        return True

    # -- estimates before a fit -----------------------------------------------------------------------------------

    def estimated_columns(self, facts: DataFacts) -> int:
        """Estimated number of functions after a fit to such data."""
        del facts
        return 0

    def estimated_operations(self, facts: DataFacts) -> float:
        """Estimated operations for its rows of such data, at the speed of matrix products; 0 where few."""
        del facts
        return 0.0

    # -- choice of functions --------------------------------------------------------------------------------------

    @abstractmethod
    def candidates(self, nb: Neighbourhoods, numbers: np.ndarray) -> Iterable[tuple[int, Any]]:
        """What one structure offers: pairs of the key of a block, and what its `pool` takes."""

    @abstractmethod
    def pool(self, key: int, random_state: int, n_bytes: int) -> Pool:
        """A new pool for the block `key`, which may hold about `n_bytes`."""

    @property
    def n_pools(self) -> int:
        """Largest number of pools that share the memory for candidates."""
        return 0

    def block_name(self, key: int) -> str:
        """Name of a block in tables."""
        del key
        return "all species"

    def block_numbers(self, key: int) -> frozenset[int]:
        """Atomic numbers that a block was made for; empty if it names none."""
        del key
        return frozenset()

    def n_columns(self, X: np.ndarray) -> int:
        """Number of functions of a block."""
        return len(X)

    def is_block(self, key: int, X: np.ndarray) -> bool:
        """Whether finite numbers X (n, …) from a file can define a block `key` of this term."""
        del key
        return X.ndim == 2

    def first_points(self, X: np.ndarray, n: int) -> np.ndarray:
        """X of a block with its first `n` sparse points; all of X where there cannot be fewer."""
        del n
        return X

    def coefficients(self, block: SparseBlock) -> tuple[Sequence[str], np.ndarray] | None:
        """Names and prior scales s_k of coefficients c_k ~ N(0, (δ s_k)²); None where functions are not explicit."""
        del block
        return None

    # -- covariances ----------------------------------------------------------------------------------------------

    @abstractmethod
    def K_mm(self, blocks: Sequence[SparseBlock]) -> np.ndarray:
        """Covariance of its functions in the order of `blocks`, shape (n, n), eV²."""

    @abstractmethod
    def add_rows(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, rows: StructureRows
    ) -> None:
        """Fill in the rows of one structure, zero before."""

    @abstractmethod
    def add_local_rows(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, rows: np.ndarray
    ) -> None:
        """Fill in k(x_i, m) of all atoms, `rows` (n_atoms, n_columns), zero before."""

    @abstractmethod
    def local_prior(self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray) -> np.ndarray:
        """Prior variances of the local energies, shape (n_atoms,), eV²."""

    @abstractmethod
    def energy_prior(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray
    ) -> Iterable[tuple[int, float]]:
        """Summands of the prior variance of the total energy, with all cross terms between atoms, eV².

        Each comes with its place in the sum over all terms, which decides the last bit: an atomic number, or `LAST`.
        """

    @abstractmethod
    def derivative_parts(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, order: np.ndarray
    ) -> Sequence[DerivativePart]:
        """Parts of the variances of all forces and strains; `order` (n_atoms,) are the atoms by rank."""

    @abstractmethod
    def add_prior(self, blocks: Sequence[SparseBlock], functionals: Sequence[Functionals], total: PriorSum) -> None:
        """Add the prior of many functionals of several structures to `total`."""

    def prior_memory(self, blocks: Sequence[SparseBlock], functionals: Sequence[Functionals]) -> int:
        """Bytes that `add_prior` takes besides its result."""
        del blocks, functionals
        return 0

    # -- sums -----------------------------------------------------------------------------------------------------

    def fold(self, X: np.ndarray, alpha: np.ndarray) -> Any:
        """A block's Σ_m α_m k(·, m) in a form that is cheaper to evaluate; None if there is none."""
        del X, alpha

    @abstractmethod
    def evaluate(
        self, blocks: Sequence[SparseBlock], alpha: np.ndarray, folds: Folds, nb: Neighbourhoods, numbers: np.ndarray
    ) -> Properties:
        """Σ_m α_m k(·, m) of one structure; `alpha` are the weights of all terms."""


class CentreTerm(AdditiveTerm):
    """A term whose local energies are functions of one environment each, so that centres can be done in groups.

    Terms of this kind are evaluated together, group by group: the variance of a local energy needs them all.
    """

    @abstractmethod
    def contribution(
        self,
        blocks: Sequence[SparseBlock],
        alpha: np.ndarray,
        folds: Folds,
        nb: Neighbourhoods,
        numbers: np.ndarray,
        with_covariances: bool,
    ) -> Part | None:
        """Σ_m α_m k(·, m) at the centres of `nb`, all of one species; None where they touch no function."""

    @abstractmethod
    def contributions(
        self,
        blocks: Sequence[SparseBlock],
        weights: np.ndarray,
        folds: Sequence[Folds],
        nb: Neighbourhoods,
        numbers: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Local energies (n, n_centres) and pair gradients (n, n_pairs, 3) of n sets of weights (n, n_columns)."""

    @abstractmethod
    def operations(self, blocks: Sequence[SparseBlock], neighbours: float, n_members: int) -> tuple[float, float]:
        """Operations of one structure per atom with `n_members` sets of weights: by rows, and by `contributions`."""


# ---- terms by the name of their class

Kind = TypeVar("Kind", bound=type)
TERMS: dict[str, type[AdditiveTerm]] = {}


def term_type(kind: Kind) -> Kind:
    """Class decorator: model files and configurations may name this class of terms.

    Raises
    ------
    InputError
        If another class has the same name.
    """
    if TERMS.setdefault(kind.__name__, kind) is not kind:
        raise InputError(f"there is a term {kind.__name__!r} already: give this one another name.")
    return kind


def as_dict(item: Any) -> dict[str, Any]:
    """Fields of a dataclass and its class as ``type``; sequences as lists."""
    return {"type": type(item).__name__, **{name: _plain(value) for name, value in asdict(item).items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list | np.ndarray) else value
