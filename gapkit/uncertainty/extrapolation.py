"""Is a structure like those a potential was trained on? Environments beyond the range of the training environments.

A fitted potential holds no training environments but its sparse points, which were chosen among them. Each of these,
compared with the others, shows how far apart training environments lie and how uncertain their local energies are:

    reach    distance from the nearest sparse point / that of a sparse point from the next one,  d² = 2 - 2 q·x
    spread   std of the local energy / that at a sparse point

with the 99 % quantiles over the sparse points of a species as denominators, which a few odd training environments (an
isolated atom) do not move. Above 1 an environment is as far from the data, or as uncertain, as no more than 1 % of the
sparse points are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gapkit.errors import InputError
from gapkit.runtime.threads import one_blas_thread, ordered_map

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

FloatArray = NDArray[np.float64]
QUANTILE = 0.99


class Beyond(NamedTuple):
    """Environments of one group of atoms.

    Attributes
    ----------
    n_atoms : int
    far, uncertain : float
        Share of the atoms whose reach, or spread, is above 1.
    largest_reach, largest_spread : float
    """

    n_atoms: int
    far: float
    uncertain: float
    largest_reach: float
    largest_spread: float


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """Each atom of some structures against the training environments; arrays have shape (n_atoms,).

    Attributes
    ----------
    reach, spread : ndarray of float
        See `gapkit.uncertainty.extrapolation`; NaN for the spread where there is nothing to compare with (potentials of
        several terms, whose sparse points are parts of environments).
    structure, atom : ndarray of int
        Index of the structure in the list, and of the atom in it.
    species : ndarray of str
    distance_limit, std_limit : dict of str to float
        The denominators, by "term symbol" and by symbol (eV).
    """

    reach: FloatArray
    spread: FloatArray
    structure: NDArray[np.intp]
    atom: NDArray[np.intp]
    species: NDArray[np.str_]
    distance_limit: Mapping[str, float]
    std_limit: Mapping[str, float]

    def summary(self, rows: NDArray[np.bool_] | None = None) -> Beyond:
        """Shares and maxima over the atoms where `rows` (n_atoms,) is true, or over all."""
        chosen = np.ones(len(self.reach), dtype=bool) if rows is None else np.asarray(rows, dtype=bool)
        reach, spread = self.reach[chosen], self.spread[chosen]
        known = spread[np.isfinite(spread)]
        return Beyond(
            n_atoms=len(reach),
            far=_share(reach),
            uncertain=_share(known) if len(known) else np.nan,
            largest_reach=float(reach.max(initial=0.0)),
            largest_spread=float(known.max()) if len(known) else np.nan,
        )


def _share(ratios: FloatArray) -> float:
    return float(np.mean(ratios > 1.0)) if len(ratios) else 0.0


@one_blas_thread()
def extrapolation(gap: GAP, frames: Sequence[Atoms]) -> Extrapolation:
    """Compare every environment of `frames` with the sparse points; cost as a prediction with local variances.

    Parameters
    ----------
    gap : GAP
        A fitted potential.
    frames : sequence of Atoms
        Labelled or not.

    Raises
    ------
    InputError
        If there are no frames, or one that the potential cannot describe; if it has no term with a descriptor.
    """
    frames = [frames] if isinstance(frames, Atoms) else list(frames)
    if not frames:
        raise InputError("there are no frames to compare with the training environments: give at least one.")
    blocks = gap.basis_.environment_blocks
    if not blocks:
        raise InputError("the potential has no term with a descriptor: there are no environments to compare with.")
    distances = {f"{own.block.term} {own.symbol}": _distance_limit(own.block.X) for own in blocks}
    stds = _std_limits(gap)
    predictions = gap.predict(frames, return_std="local")
    reach = list(ordered_map(lambda atoms: _reach(gap, atoms, distances), frames))
    assert predictions.local_energies_std is not None
    species = np.concatenate([np.array(atoms.get_chemical_symbols()) for atoms in frames])
    limits = np.array([stds.get(symbol, np.nan) for symbol in species])
    sizes = [len(atoms) for atoms in frames]
    return Extrapolation(
        reach=np.concatenate(reach),
        spread=np.concatenate(predictions.local_energies_std) / limits,
        structure=np.repeat(np.arange(len(frames)), sizes),
        atom=np.concatenate([np.arange(n) for n in sizes]),
        species=species,
        distance_limit=distances,
        std_limit=stds,
    )


def has_environments(gap: GAP) -> bool:
    """Whether `gap` is fitted and has a term whose sparse points are environments."""
    return hasattr(gap, "basis_") and bool(gap.basis_.environment_blocks)


def _distance_limit(X: FloatArray) -> float:
    """Quantile of the distance of a sparse point from the next one; infinite for one alone."""
    S = X @ X.T
    np.fill_diagonal(S, -np.inf)
    return float(np.quantile(_distance(S), QUANTILE)) or np.inf if len(S) > 1 else np.inf


def _distance(S: FloatArray) -> FloatArray:
    """Distance of each row from the nearest column, by the inner products of normalised features."""
    return np.asarray(np.sqrt(np.maximum(2.0 - 2.0 * S.max(axis=1), 0.0)))


def _std_limits(gap: GAP) -> dict[str, float]:
    """Symbol -> quantile of the std at its sparse points, eV, recalibrated as those of `GAP.predict` are.

    Nothing for potentials of several terms.
    """
    if len(gap.terms_) > 1:
        return {}
    recalibration = gap.recalibration_
    factor = 1.0 if recalibration is None else recalibration.factor("energy")
    limits = {}
    for block, kernel, symbol in gap.basis_.environment_blocks:
        K = kernel.value(block.X @ block.X.T)
        variance = gap.posterior_.local_variance(K, np.diag(K).copy(), (block.columns,))
        limits[symbol] = factor * float(np.quantile(np.sqrt(variance), QUANTILE)) or np.nan
    return limits


def _reach(gap: GAP, atoms: Atoms, limits: Mapping[str, float]) -> FloatArray:
    """Largest ratio over the terms, shape (n_atoms,)."""
    reach, environments = np.zeros(len(atoms)), gap.basis_.environments(atoms)
    for block, centres, Q in environments.features():
        t, symbol = gap.basis_.block_name(block)
        reach[centres] = np.maximum(reach[centres], _distance(Q @ block.X.T) / limits[f"{t} {symbol}"])
    return reach
