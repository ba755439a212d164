"""Error bars of any property: the property of every member of an ensemble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapkit.errors import InputError
from gapkit.interfaces.ase_calculator import GAPCalculator
from gapkit.potential.ensemble import Ensemble
from gapkit.runtime.threads import ordered_map


@dataclass(frozen=True)
class Propagated:
    """A property over the members of an ensemble.

    Attributes
    ----------
    samples : ndarray, shape (n, ...)
        The property of every member.
    of_mean : ndarray, shape (...)
        The property of the mean potential; it differs from `mean` as far as the property is not linear.
    """

    samples: np.ndarray
    of_mean: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the members, shape (...)."""
        return np.asarray(self.samples.mean(axis=0))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation over the members, shape (...); its own relative error is about 1/√(2n - 2)."""
        return np.asarray(self.samples.std(axis=0, ddof=1))

    def quantile(self, q: float | np.ndarray) -> np.ndarray:
        """Quantiles over the members, for example ``quantile([0.05, 0.95])``, shape (len(q), ...)."""
        return np.asarray(np.quantile(self.samples, q, axis=0))


def propagate(function: Callable[[GAPCalculator], Any], samples: Ensemble, parallel: bool = False) -> Propagated:
    """Error bars of any property: the function of each member of an ensemble and of the mean potential.

    Parameters
    ----------
    function : callable
        Takes an ASE calculator, returns a number or an array of the same shape each time: a lattice constant, a
        barrier, frequencies, an average over dynamics with seeds of its own.
    samples : Ensemble
    parallel : bool
        Members side by side on `gapkit.get_num_threads` threads. The function must then make its own structures, not
        attach calculators to shared ones. The numbers are the same.

    Returns
    -------
    Propagated

    Raises
    ------
    InputError
        If the property of a member is not finite or has another shape. An error of the function itself is raised with
        a note that names the member.
    """
    of_mean = _checked(function(GAPCalculator(samples.gap)), "the mean potential", None)

    def of_member(k: int) -> np.ndarray:
        """The property of member k."""
        try:
            found = function(GAPCalculator(samples.member(k)))
        except Exception as error:
            error.add_note(f"in member {k} of the ensemble")
            raise
        return _checked(found, f"member {k}", of_mean.shape)

    members = range(len(samples))
    found = ordered_map(of_member, members) if parallel else map(of_member, members)
    return Propagated(np.array(list(found)), of_mean)


def _checked(found: Any, whose: str, shape: tuple[int, ...] | None) -> np.ndarray:
    values = np.asarray(found, dtype=np.float64)
    if not np.all(np.isfinite(values)) or (shape is not None and values.shape != shape):
        raise InputError(
            f"the property of {whose} is {found}: finite numbers, of the same shape for every member, are needed."
        )
    return values
