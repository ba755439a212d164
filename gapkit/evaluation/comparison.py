"""References and predictions side by side: errors per kind and per config_type, with their own error bars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gapkit.quantities import COMPARED, QUANTITIES
from gapkit.runtime.tables import aligned

FloatArray = NDArray[np.float64]
_N_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Comparison:
    """Reference and predicted values of one kind of label, one row per number; all arrays have shape (n,).

    Attributes
    ----------
    reference, predicted : ndarray of float
        Energies per atom (total/N, eV/atom), force components (eV/Å) or the six independent stress components
        xx yy zz yz xz xy (GPa, tension positive).
    std : ndarray of float or None
        Predictive standard deviation of a new label, model and noise together, in `unit`; None if not predicted.
    structure : ndarray of int
        Index of the structure in the list that was evaluated.
    config_type : ndarray of str
        Config type of that structure.
    species : ndarray of str or None
        Chemical symbol of the atom, for forces.
    unit : str
        "eV/atom", "eV/Å" or "GPa".
    atom : ndarray of int or None
        Index of the atom in its structure, for forces; three rows share one.
    """

    reference: FloatArray
    predicted: FloatArray
    std: FloatArray | None
    structure: NDArray[np.intp]
    config_type: NDArray[np.str_]
    species: NDArray[np.str_] | None
    unit: str
    atom: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.reference)

    @property
    def error(self) -> FloatArray:
        """predicted - reference, shape (n,), in `unit`."""
        return self.predicted - self.reference

    def select(self, mask: ArrayLike) -> Comparison:
        """Only the rows where `mask` (n,) is true."""
        rows = np.asarray(mask, dtype=bool)
        return replace(
            self,
            reference=self.reference[rows],
            predicted=self.predicted[rows],
            std=None if self.std is None else self.std[rows],
            structure=self.structure[rows],
            config_type=self.config_type[rows],
            species=None if self.species is None else self.species[rows],
            atom=None if self.atom is None else self.atom[rows],
        )

    def displayed(self) -> Comparison:
        """The same in the unit in which errors are quoted: meV/atom instead of eV/atom, others unchanged."""
        own = next((quantity for quantity in QUANTITIES if quantity.unit == self.unit), None)
        if own is None or own.quoted_unit == self.unit:
            return self
        std = None if self.std is None else own.quoted * self.std
        reference, predicted = own.quoted * self.reference, own.quoted * self.predicted
        return replace(self, reference=reference, predicted=predicted, std=std, unit=own.quoted_unit)


class ErrorRow(NamedTuple):
    """Errors of one kind over one config type (None: over all structures), in the unit they are quoted in."""

    kind: str
    config_type: str | None
    rmse: float
    rmse_se: float | None
    mae: float
    max: float
    n: int
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """The errors as in `Evaluation.summary`."""
        return {"rmse": self.rmse, "mae": self.mae, "max": self.max, "n": self.n, "unit": self.unit}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Comparisons of every kind that has labels; made by `evaluate`. `n_structures` counts the labelled structures."""

    energy: Comparison | None
    forces: Comparison | None
    stress: Comparison | None
    n_structures: int

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Kind -> comparison, for the kinds that have labels, in the order energy, forces, stress."""
        found = {kind: getattr(self, kind) for kind in COMPARED}
        return {kind: comparison for kind, comparison in found.items() if comparison is not None}

    @property
    def config_types(self) -> list[str]:
        """Config types that occur, sorted."""
        return sorted({str(name) for c in self.comparisons.values() for name in np.unique(c.config_type)})

    def rows(self) -> list[ErrorRow]:
        """Errors with standard errors: for each kind all structures first, then each config type."""
        return [
            _error_row(kind, name, part)
            for kind, comparison in self.comparisons.items()
            for name, part in [(None, comparison), *_by_config_type(comparison)]
        ]

    def summary(self) -> dict[str, Any]:
        """Root mean square, mean absolute and largest error and number of values, ready for JSON.

        Returns
        -------
        dict
            ``{"energy": {"rmse", "mae", "max", "n", "unit"}, "forces": …, "stress": …, "by_config_type": {name: …}}``
            in meV/atom, eV/Å (per component) and GPa (per component); None for a kind without labels.
        """
        result: dict[str, Any] = dict.fromkeys(COMPARED)
        result["by_config_type"] = {name: dict.fromkeys(COMPARED) for name in self.config_types}
        for kind, comparison in self.comparisons.items():
            result[kind] = _error_row(kind, None, comparison, n_resamples=0).as_dict()
            for name, part in _by_config_type(comparison):
                result["by_config_type"][name][kind] = _error_row(kind, name, part, n_resamples=0).as_dict()
        return result

    def table(self) -> str:
        """`summary` as aligned plain text, with the standard error of each RMSE (see `rmse_standard_error`)."""
        head = ["", "config type", "RMSE", "±", "MAE", "max", "n", "unit"]
        return aligned([head, *map(_cells, self.rows())], "llrrrrrl")


def rmse_standard_error(comparison: Comparison, n_resamples: int = _N_RESAMPLES, seed: int = 0) -> float | None:
    """Standard error of the root mean square error, by bootstrap over structures (in the unit of `comparison`).

    Whole structures are resampled, because the errors within one are correlated (Efron and Tibshirani, An Introduction
    to the Bootstrap (1993), chapter 6). None with fewer than two structures.
    """
    _, index = np.unique(comparison.structure, return_inverse=True)
    squares = np.bincount(index, weights=comparison.error**2)
    counts = np.bincount(index).astype(float)
    n_structures = len(counts)
    if n_structures < 2 or n_resamples < 2:
        return None
    rng = np.random.default_rng(seed)
    picks = (rng.integers(n_structures, size=n_structures) for _ in range(n_resamples))
    return float(np.std([np.sqrt(squares[pick].sum() / counts[pick].sum()) for pick in picks], ddof=1))


def _by_config_type(comparison: Comparison) -> list[tuple[str, Comparison]]:
    names = np.unique(comparison.config_type)
    return [(str(name), comparison.select(comparison.config_type == name)) for name in names]


def _error_row(kind: str, config_type: str | None, comparison: Comparison, n_resamples: int = _N_RESAMPLES) -> ErrorRow:
    shown = comparison.displayed()
    size = np.abs(shown.error)
    rmse = float(np.sqrt(np.mean(size**2)))
    standard_error = rmse_standard_error(shown, n_resamples)
    return ErrorRow(
        kind, config_type, rmse, standard_error, float(size.mean()), float(size.max()), len(size), shown.unit
    )


def _cells(row: ErrorRow) -> list[str]:
    standard_error = "-" if row.rmse_se is None else f"{row.rmse_se:.2g}"
    name = "(all)" if row.config_type is None else row.config_type
    return [
        row.kind, name, f"{row.rmse:.4g}", standard_error, f"{row.mae:.4g}", f"{row.max:.4g}", str(row.n), row.unit
    ]  # fmt: skip
