"""Atom-centred symmetry functions with dscribe's values and order, and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from gapkit._numba import acsf as loops
from gapkit._numba.kernels import project_rows
from gapkit.checks import check_fields
from gapkit.descriptors.soap import channels
from gapkit.descriptors.tangents import RowProducts, Slots, Tangents, neighbour_slots, row_offsets
from gapkit.errors import InputError
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods
from gapkit.runtime.workspace import Fresh, Workspace
from gapkit.structures.labels import check_structures
from gapkit.structures.species import check_known, check_symbols


class ACSFState(NamedTuple):
    """What the derivatives need: pairs, species of the neighbours, distances with the cutoff function."""

    neighbourhoods: Neighbourhoods
    species: np.ndarray
    R: np.ndarray


class _Functions(NamedTuple):
    """Arrays of `gapkit._numba.acsf`."""

    two: np.ndarray
    three: np.ndarray
    column2: np.ndarray
    column3: np.ndarray


@dataclass(frozen=True)
class ACSF:
    """Atom-centred symmetry functions G1 to G5 (Behler, J. Chem. Phys. 134, 074106 (2011)).

    Parameters
    ----------
    species : sequence of str
        Chemical symbols that may occur, in any order.
    cutoff : float
        Å; atoms beyond it have no influence. The cutoff function (1 + cos(π r/cutoff))/2 has one continuous derivative
        there.
    g2 : sequence of (η, r_s)
        exp(-η (r - r_s)²); η in 1/Å², r_s in Å.
    g3 : sequence of κ
        cos(κ r); 1/Å.
    g4, g5 : sequence of (η, ζ, λ)
        2 [(1 + λ cos θ)/2]^ζ exp(-η (r_ij² + r_ik² (+ r_jk² for g4))), ζ ≥ 1.
    columns : sequence of int, optional
        Columns of dscribe's features that are used; all if not given. `select_acsf` chooses them from data.
    scales : sequence of float, optional
        What each used column is multiplied by before the kernel sees it; 1 if not given.

    Notes
    -----
    `create` gives dscribe's numbers: for each species G1, G2, G3, then for each two species, (1, 1), (2, 1),
    (2, 2), (3, 1) and so on, G4, G5. `evaluate`, which the kernels use, puts a constant 1 before the scaled functions.
    Kernels depend on the direction of that row alone, q = (1, s G)/|(1, s G)|, which distinguishes all G and stays
    smooth where the last neighbour leaves and G vanishes.
    """

    species: Sequence[str]
    cutoff: float = 5.0
    g2: Sequence[tuple[float, float]] = ((0.05, 0.0), (1.0, 2.0), (1.0, 3.0), (1.0, 4.0))
    g3: Sequence[float] = ()
    g4: Sequence[tuple[float, float, float]] = (
        (0.01, 1.0, -1.0),
        (0.01, 1.0, 1.0),
        (0.01, 4.0, -1.0),
        (0.01, 4.0, 1.0),
    )
    g5: Sequence[tuple[float, float, float]] = ()
    columns: Sequence[int] | None = None
    scales: Sequence[float] | None = None

    def validate(self) -> None:
        """Raise `InputError` for invalid parameters."""
        check_symbols(self.species, "ACSF")
        check_fields(self)
        if not self.cutoff > 1.0 or not np.isfinite(self.cutoff):
            raise InputError(f"cutoff = {self.cutoff} Å must be larger than 1 Å; 4 to 7 Å is usual.")
        self._validate_functions()
        self._validate_columns()

    def _validate_functions(self) -> None:
        for name, length in (("g2", 2), ("g4", 3), ("g5", 3)):
            for parameters in getattr(self, name):
                wrong = len(parameters) != length or not np.all(np.isfinite(parameters)) or parameters[0] < 0
                if wrong or (length == 3 and (parameters[1] < 1 or abs(parameters[2]) > 1)):
                    need = "(η ≥ 0, r_s)" if length == 2 else "(η ≥ 0, ζ ≥ 1, λ between -1 and 1)"
                    raise InputError(f"{name} has {tuple(parameters)}: each function needs {need}.")
        if not np.all(np.isfinite(np.asarray(self.g3, dtype=float))):
            raise InputError(f"g3 = {list(self.g3)} must be numbers κ in 1/Å.")

    def _validate_columns(self) -> None:
        n, columns = self.n_all, self.columns
        if columns is not None and (len(set(columns)) < len(columns) or not all(0 <= k < n for k in columns)):
            raise InputError(f"columns of ACSF must be different numbers from 0 to {n - 1}.")
        if columns is not None and not len(columns):
            raise InputError("columns of ACSF are empty: give at least one, or leave columns out for all.")
        if self.scales is not None and (
            len(self.scales) != self.n_features - 1 or not np.all(np.isfinite(self.scales)) or not all(self.scales)
        ):
            raise InputError(f"scales of ACSF must be {self.n_features - 1} numbers other than 0, one for each column.")

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers of `species`, increasing."""
        return np.array(sorted(atomic_numbers[s] for s in self.species))

    @property
    def n_all(self) -> int:
        """Number of dscribe's columns."""
        n = len(self.species)
        return n * (1 + len(self.g2) + len(self.g3)) + n * (n + 1) // 2 * (len(self.g4) + len(self.g5))

    @property
    def n_features(self) -> int:
        """Length of one row of `evaluate`: the used columns and the constant."""
        return 1 + (self.n_all if self.columns is None else len(self.columns))

    @property
    def feature_scale(self) -> np.ndarray:
        """Factors (n_features,) of the rows of `evaluate`, that of the constant included."""
        return np.concatenate([[1.0], np.ones(self.n_features - 1) if self.scales is None else self.scales])

    @cached_property
    def _functions(self) -> _Functions:
        """Parameters, and the column of `evaluate` of each function and species."""
        two = [(1.0, 0.0, 0.0), *((2.0, a, b) for a, b in self.g2), *((3.0, a, 0.0) for a in self.g3)]
        three = [*((4.0, *x) for x in self.g4), *((5.0, *x) for x in self.g5)]
        n, place = len(self.species), np.full(self.n_all, -1)
        used = np.arange(self.n_all) if self.columns is None else np.asarray(self.columns, dtype=np.int64)
        place[used] = 1 + np.arange(len(used))
        column2 = place[: n * len(two)].reshape(n, len(two))
        column3 = np.full((n, n, len(three)), -1)
        rest = place[n * len(two) :].reshape(-1, len(three)) if three else np.zeros((n * (n + 1) // 2, 0), dtype=int)
        for a, b, columns in zip(*np.tril_indices(n), rest):
            column3[a, b] = column3[b, a] = columns
        return _Functions(np.array(two), np.array(three).reshape(-1, 4), np.ascontiguousarray(column2), column3)

    def create(self, atoms: Atoms) -> np.ndarray:
        """The used columns as dscribe gives them, shape (n_atoms, n_features - 1).

        Raises
        ------
        InputError
            If the parameters are not valid, a species is not listed, or the structure is not usable.
        """
        return self.features(atoms)[:, 1:] / self.feature_scale[1:]

    def features(self, atoms: Atoms) -> np.ndarray:
        """The rows that kernels and similarities take, shape (n_atoms, n_features); errors as `create`."""
        self.validate()
        check_structures([atoms])
        self.check_species(atoms.numbers)
        return self.evaluate(find_neighbourhoods(atoms, self.cutoff), atoms.numbers)[0]

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` if `numbers` holds a species that this descriptor does not know."""
        check_known(numbers, self.species, "ACSF")

    # -- interface to the kernels -----------------------------------------------------------------------------------

    def evaluate(
        self, neighbourhoods: Neighbourhoods, numbers: np.ndarray, workspace: Workspace | None = None
    ) -> tuple[np.ndarray, ACSFState]:
        """(1, s G) of the centres and what the derivatives need.

        Parameters
        ----------
        neighbourhoods : Neighbourhoods
            Pairs within `cutoff`.
        numbers : ndarray of int, shape (n_atoms,)
            Atomic numbers of all atoms.
        workspace : Workspace, optional
            Memory for the features; new if not given.

        Returns
        -------
        values : ndarray, shape (n_centres, n_features)
        state : ACSFState
        """
        nb = neighbourhoods
        index, _ = channels(tuple(self.numbers), (1.0,) * len(self.species), False)
        state = ACSFState(nb, index[numbers[nb.j]], loops.radii(nb.D, self.cutoff))
        values = (workspace or Fresh()).empty("features", len(nb.centres), self.n_features)
        values[:] = 0.0
        values[:, 0] = 1.0
        loops.values(*self._arguments(state), values)
        values *= self.feature_scale
        return values, state

    def _arguments(self, state: ACSFState) -> tuple[Any, ...]:
        nb = state.neighbourhoods
        return nb.first, state.species, nb.D, state.R, self.cutoff, *self._functions

    def pullback(self, state: ACSFState, cotangent: np.ndarray, workspace: Workspace | None = None) -> np.ndarray:
        """∂(Σ cotangent · features)/∂D_ij, shape (n_pairs, 3)."""
        g = np.empty((len(state.neighbourhoods.j), 3))
        loops.pullback(*self._arguments(state), cotangent * self.feature_scale, g)
        return g

    def tangents(self, state: ACSFState, workspace: Workspace | None = None, slots: Slots | None = None) -> Tangents:
        """∂features/∂(positions, strain) of the centres, images of one atom already summed."""
        slot, n_slots, atom, slot_first = slots or neighbour_slots(state.neighbourhoods)
        row_first = row_offsets(slot_first)
        J = (workspace or Fresh()).empty("J", row_first[-1], self.n_features)
        loops.tangents(*self._arguments(state), slot, n_slots, row_first, J)
        J *= self.feature_scale
        return Tangents(J, row_first, atom, slot_first)

    def row_products(
        self,
        state: ACSFState,
        Q: np.ndarray,
        norm: np.ndarray,
        X: np.ndarray,
        S: np.ndarray,
        workspace: Workspace | None = None,
    ) -> RowProducts:
        """Derivatives of S = Q Xᵀ through the Jacobian, T = J Xᵀ; parameters as in `SOAP.row_products`."""
        workspace = workspace or Fresh()
        J, *layout = self.tangents(state, workspace)
        project_rows(J, layout[0], Q, norm)
        return RowProducts(np.matmul(J, X.T, out=workspace.empty("T", len(J), len(X))), *layout)
