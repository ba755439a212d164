"""SOAP power spectra: features, pair gradients and tangents from neighbour pairs (i, j, D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from gapkit._numba import soap as loops
from gapkit._numba.tangents import tangents as fill_tangents
from gapkit.checks import check_fields
from gapkit.descriptors import soap_dscribe
from gapkit.descriptors.soap_basis import (
    Density,
    DensityBasis,
    FeatureLayout,
    RadialTable,
    dscribe_soap,
    feature_layout,
    harmonics_norm,
    radial_table,
)
from gapkit.descriptors.soap_rows import density_cotangent, row_products
from gapkit.descriptors.tangents import Points, RowProducts, Slots, Tangents, neighbour_slots, row_offsets
from gapkit.errors import InputError, did_you_mean
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods
from gapkit.runtime.workspace import Fresh, Workspace
from gapkit.structures.labels import check_structures
from gapkit.structures.species import check_known, check_symbols

COMPRESSIONS = ("off", "mu2", "mu1nu1", "crossover")
ENGINES = ("numba", "dscribe")


class SOAPState(NamedTuple):
    """What the pull-back of `SOAP.evaluate` needs: the pairs and the density coefficients c."""

    neighbourhoods: Neighbourhoods
    numbers: np.ndarray
    channel: np.ndarray
    weight: np.ndarray
    c: np.ndarray


@dataclass(frozen=True)
class SOAP:
    """Smooth overlap of atomic positions: the power spectrum of the density around each atom.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols that may occur, in any order.
    cutoff : float
        Å; atoms beyond it have no influence. Features and their derivatives go to zero smoothly there.
    n_max, l_max : int
        Number of radial functions and highest angular momentum.
    atom_sigma : float
        Width of the Gaussian that stands for an atom, Å.
    smoothness : float
        Exponent m of the weighting ``(1 + 2 x³ - 3 x²)^m`` with x = r / cutoff; m = 1 has one continuous
        derivative at the cutoff, m = 2 three.
    compression : {"off", "mu2", "mu1nu1", "crossover"}
        How the species dependence is shortened (dscribe's names; Darby et al., npj Comput. Mater. 8, 166 (2022)).
    species_weights : mapping of str to float, optional
        Weight of each species' density, as dscribe's ``species_weighting``; all 1 if not given. Normalised features
        do not depend on a common factor. `gapkit.learn_species_weights` learns them from data.
    engine : {"numba", "dscribe"}
        "numba" is fast and has every derivative; "dscribe" computes the same numbers with dscribe (values
        exact, derivatives numerical, much slower) and serves as a check.

    Notes
    -----
    p^{ZZ'}_nn'l = π sqrt(8/(2l+1)) Σ_m c^Z_nlm c^Z'_n'lm (Bartók et al., Phys. Rev. B 87, 184115 (2013)), with
    dscribe's Gaussian-type radial basis and feature order. `create` gives dscribe's numbers; `evaluate`, which the
    kernels use, multiplies the stored half of each symmetric block by sqrt(2) so that a plain dot product of two
    rows is the full SOAP kernel.
    """

    species: Sequence[str]
    cutoff: float = 5.0
    n_max: int = 8
    l_max: int = 6
    atom_sigma: float = 0.5
    smoothness: float = 1.0
    compression: str = "off"
    species_weights: Mapping[str, float] | None = None
    engine: str = "numba"

    def validate(self) -> None:
        """Raise `InputError` for invalid parameters."""
        check_symbols(self.species, "SOAP")
        check_fields(self)
        if not self.cutoff > 1.0 or not np.isfinite(self.cutoff):
            raise InputError(f"cutoff = {self.cutoff} Å must be larger than 1 Å; 4 to 6 Å is usual.")
        if self.n_max < 1 or not 0 <= self.l_max <= 20:
            raise InputError(f"n_max = {self.n_max}, l_max = {self.l_max}: need n_max ≥ 1 and 0 ≤ l_max ≤ 20.")
        if not self.atom_sigma > 0 or not self.smoothness >= 1:
            raise InputError(
                f"atom_sigma = {self.atom_sigma} Å, smoothness = {self.smoothness}: "
                "need atom_sigma > 0 and smoothness ≥ 1."
            )
        self._validate_choices()

    def _validate_choices(self) -> None:
        for name, known in (("compression", COMPRESSIONS), ("engine", ENGINES)):
            word = getattr(self, name)
            if word not in known:
                raise InputError(f"{name} = {word!r} is unknown{did_you_mean(str(word), known)}.")
        if self.species_weights is not None and set(self.species_weights) != set(self.species):
            raise InputError(
                f"species_weights are for {sorted(self.species_weights)} but species are {sorted(self.species)}: "
                "give one weight per species."
            )
        for symbol, weight in (self.species_weights or {}).items():
            if not isinstance(weight, Real) or not np.isfinite(weight) or weight == 0:
                raise InputError(
                    f"species_weights[{symbol!r}] = {weight} must be a finite number other than 0, "
                    "which would make the species invisible."
                )

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers of `species`, increasing: the order of density channels and features."""
        return np.array(sorted(atomic_numbers[s] for s in self.species))

    @property
    def n_features(self) -> int:
        """Length of one feature row."""
        return len(self._layout.scale)

    @property
    def feature_scale(self) -> np.ndarray:
        """Factors (n_features,) between dscribe's features (`create`) and the kernel's (`evaluate`)."""
        return self._layout.scale

    @property
    def basis(self) -> DensityBasis:
        """Channels, radial functions and harmonics of the density."""
        return DensityBasis(len(self.species), self.n_max, self.l_max, self.compression)

    @property
    def density(self) -> Density:
        """What training rows through the density need."""
        return Density(self.basis, self._table[0], self._channels[0])

    @property
    def _layout(self) -> FeatureLayout:
        return feature_layout(len(self.species), self.n_max, self.l_max, self.compression)

    @property
    def _table(self) -> tuple[RadialTable, np.ndarray]:
        return radial_table(self.cutoff, self.n_max, self.l_max, self.atom_sigma, self.smoothness)

    @property
    def symbols(self) -> tuple[str, ...]:
        """`species` in the order of `numbers`."""
        return tuple(sorted(self.species, key=atomic_numbers.__getitem__))

    def dscribe(self, periodic: bool) -> Any:
        """The dscribe descriptor with the same basis, order, weighting and compression."""
        weights = None if self.species_weights is None else tuple(self.species_weights[s] for s in self.symbols)
        return dscribe_soap(
            self.symbols, self.cutoff, self.n_max, self.l_max, self.atom_sigma, self.smoothness, self.compression,
            weights, periodic,
        )  # fmt: skip

    def create(self, atoms: Atoms) -> np.ndarray:
        """Power spectra equal to dscribe's, shape (n_atoms, n_features).

        Raises
        ------
        InputError
            If the parameters are not valid, a species is not listed, or the structure is not usable.
        """
        return self.features(atoms) / self.feature_scale

    def features(self, atoms: Atoms) -> np.ndarray:
        """The rows that kernels and similarities take, shape (n_atoms, n_features): `create` times `feature_scale`.

        Raises
        ------
        InputError
            As `create`.
        """
        self.validate()
        check_structures([atoms])
        self.check_species(atoms.numbers)
        return self.evaluate(find_neighbourhoods(atoms, self.cutoff), atoms.numbers)[0]

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` if `numbers` holds a species that this descriptor does not know."""
        check_known(numbers, self.species, "SOAP")

    def evaluate(
        self, neighbourhoods: Neighbourhoods, numbers: np.ndarray, workspace: Workspace | None = None
    ) -> tuple[np.ndarray, SOAPState]:
        """Features of the centres and what the pull-back needs.

        Parameters
        ----------
        neighbourhoods : Neighbourhoods
            Pairs within `cutoff`.
        numbers : ndarray of int, shape (n_atoms,)
            Atomic numbers of all atoms.
        workspace : Workspace, optional
            Memory for the arrays; new if not given.

        Returns
        -------
        values : ndarray, shape (n_centres, n_features)
        state : SOAPState
        """
        workspace = workspace or Fresh()
        state = self._expand(neighbourhoods, numbers, workspace)
        if self.engine == "dscribe":
            return soap_dscribe.values(self, neighbourhoods, numbers) * self.feature_scale, state
        values = workspace.empty("features", len(neighbourhoods.centres), self.n_features)
        loops.power_spectrum(state.c, self.n_max, self._layout.blocks, self._layout.factor, values)
        return values, state

    def _expand(self, neighbourhoods: Neighbourhoods, numbers: np.ndarray, workspace: Workspace) -> SOAPState:
        """Density coefficients c[centre, channel, lm, n], the central atom included."""
        layout, (table, centre) = self._layout, self._table
        centres, j = neighbourhoods.centres, neighbourhoods.j
        channel, weight = np.empty(len(j), dtype=np.int64), np.empty(len(j))
        c = workspace.empty("c", len(centres), layout.n_channels, (self.l_max + 1) ** 2, len(centre))
        loops.prepare(centres, j, numbers, *self._channels, centre / np.sqrt(4.0 * np.pi), channel, weight, c)
        if self.engine == "numba":
            norm = harmonics_norm(self.l_max)
            loops.expand(
                neighbourhoods.first, channel, weight, neighbourhoods.D, table.inverse_step, table.values, norm, c
            )
            if layout.total >= 0:
                c[:, layout.total] = c[:, : layout.total].sum(axis=1)
        return SOAPState(neighbourhoods, numbers, channel, weight, c)

    @cached_property
    def _channels(self) -> tuple[np.ndarray, np.ndarray]:
        """Density channel and weight by atomic number."""
        weights = self.species_weights or {}
        return channels(
            tuple(self.numbers), tuple(weights.get(s, 1.0) for s in self.symbols), self.compression == "mu2"
        )

    def pullback(self, state: SOAPState, cotangent: np.ndarray, workspace: Workspace | None = None) -> np.ndarray:
        """g_ij = ∂(Σ cotangent · features)/∂D_ij, shape (n_pairs, 3): for forces, virial and LAMMPS.

        Parameters
        ----------
        state : SOAPState
            From `evaluate`.
        cotangent : ndarray, shape (n_centres, n_features)
        workspace : Workspace, optional
            Memory for intermediate arrays.
        """
        nb = state.neighbourhoods
        if self.engine == "dscribe":
            return soap_dscribe.pullback(self, nb, state.numbers, cotangent * self.feature_scale)
        c_bar = density_cotangent(self.basis, state.c, np.ascontiguousarray(cotangent), workspace or Fresh())
        table, _ = self._table
        g = np.empty((len(nb.j), 3))
        norm = harmonics_norm(self.l_max)
        loops.pair_gradients(
            nb.first, state.channel, state.weight, nb.D, table.inverse_step, table.values, norm, c_bar, g
        )
        return g

    def tangents(self, state: SOAPState, workspace: Workspace | None = None, slots: Slots | None = None) -> Tangents:
        """∂features/∂(positions, strain) of the centres, images of one atom already summed.

        `slots` are the `neighbour_slots` of the state's neighbourhoods, if already known.
        """
        nb, layout = state.neighbourhoods, self._layout
        slot, n_slots, atom, slot_first = slots or neighbour_slots(nb)
        row_first = row_offsets(slot_first)
        J = (workspace or Fresh()).empty("J", row_first[-1], self.n_features)
        if self.engine == "dscribe":
            soap_dscribe.tangents(self, nb, state.numbers, slot, row_first, J)
            J *= self.feature_scale
        else:
            table, _ = self._table
            fill_tangents(
                nb.first, state.channel, state.weight, nb.D, slot, n_slots, table.inverse_step, table.values,
                harmonics_norm(self.l_max), state.c, self.n_max, layout.total, layout.blocks, layout.factor, row_first,
                J,
            )  # fmt: skip
        return Tangents(J, row_first, atom, slot_first)

    def row_products(
        self,
        state: SOAPState,
        Q: np.ndarray,
        norm: np.ndarray,
        X: np.ndarray,
        S: np.ndarray,
        workspace: Workspace | None = None,
    ) -> RowProducts:
        """Derivatives of the inner products S with the sparse points X, images of one atom already summed.

        Parameters
        ----------
        state : SOAPState
            From `evaluate`.
        Q, norm : ndarray, shapes (n_centres, n_features), (n_centres,)
            Normalised features of the centres, and their norms.
        X : ndarray, shape (n_sparse, n_features)
            Normalised sparse points; made read-only, because what is derived from them is kept.
        S : ndarray, shape (n_centres, n_sparse)
            Q Xᵀ.
        workspace : Workspace, optional
            Memory for the result and intermediate arrays.
        """
        return row_products(self, state, Points(Q, norm, X, S), workspace or Fresh())


@lru_cache(maxsize=64)
def channels(numbers: tuple[int, ...], weights: tuple[float, ...], merged: bool) -> tuple[np.ndarray, np.ndarray]:
    """Density channel (int64) and weight by atomic number; all species in one channel if `merged`."""
    channel, weight = np.zeros(len(atomic_numbers), dtype=np.int64), np.ones(len(atomic_numbers))
    channel[list(numbers)] = 0 if merged else np.arange(len(numbers))
    weight[list(numbers)] = weights
    return channel, weight
