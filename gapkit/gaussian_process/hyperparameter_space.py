"""The space of a search for noises and amplitudes: free logarithms, bounds, priors, starts."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtri, ndtr

from gapkit.errors import InputError, did_you_mean
from gapkit.gaussian_process.marginal_likelihood import Evidence
from gapkit.gaussian_process.optimum import Hyperparameter
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.quantities import UNITS


class Range(NamedTuple):
    """Where a hyperparameter may lie, both ends included, and in what unit."""

    low: float
    high: float
    unit: str = ""


class Amplitude(NamedTuple):
    """The standard deviation δ_t of one term's function.

    Attributes
    ----------
    name : str
    delta : float
        Present value, with which K_mm and the factors were built, eV.
    columns : ndarray
        Sparse points of the term: indices, a mask or a slice.
    """

    name: str
    delta: float
    columns: np.ndarray | slice


RANGES: Mapping[Hashable, Range] = {
    "energy": Range(1e-5, 1.0, UNITS["energy"]),
    "forces": Range(1e-4, 10.0, UNITS["forces"]),
    "virial": Range(1e-5, 1.0, UNITS["virial"]),
    "amplitude": Range(1e-2, 1e3, "eV"),
}
PRIOR_WIDTH = float(np.log(10.0))  # of the logarithms: a factor of ten either way is one standard deviation
LARGEST_RATIO = 1e3  # of an outlier's noise to that of its group


class Space:
    """The logarithms that are free: log θ = offset + A x, θ being all noises and all amplitudes relative to now."""

    def __init__(
        self,
        factors: Mapping[Any, RowFactor],
        noise: Mapping[Any, float],
        amplitudes: Sequence[Amplitude],
        fixed: Collection[Any],
        bounds: dict[Any, tuple[float, float]],
        prior_width: float | None,
        parents: dict[Any, Any],
        threshold: float,
    ) -> None:
        self.groups, self.amplitudes, self.parents = list(factors), list(amplitudes), parents
        self.names: list[Any] = [*self.groups, *(a.name for a in amplitudes)]
        _check(self.names, noise, amplitudes, fixed, bounds, parents, prior_width)
        self.n_rows = np.array([factors[g].n_rows for g in self.groups], dtype=float)
        now = {g: float(noise[g]) for g in self.groups} | {a.name: float(a.delta) for a in amplitudes}
        for child, parent in parents.items():
            now[child] = max(1.0, float(noise[child]) / float(noise[parent]))
        self.now = np.log([now[name] for name in self.names])
        self.ranges = [self._range(name, now[name], bounds) for name in self.names]
        self.free = np.array([k for k, name in enumerate(self.names) if name not in fixed], dtype=int)
        self.is_child = np.array([name in parents for name in self.names], dtype=bool)
        self.width = np.inf if prior_width is None else prior_width
        self.rate = np.where(self.is_child, self._rates(threshold), 0.0)[self.free]
        # log θ of all = combine @ (now with the free ones replaced)
        self.combine = np.eye(len(self.names))
        for child, parent in parents.items():
            self.combine[self.names.index(child), self.names.index(parent)] = 1.0
        ends = np.log([self.ranges[k][:2] for k in self.free]).reshape(-1, 2)
        self.low, self.high = ends.T

    def _rates(self, threshold: float) -> np.ndarray:
        """λ: by how much χ² of N labels exceeds N with the chance of a normal variate above `threshold`."""
        rows = np.maximum(np.append(self.n_rows, np.zeros(len(self.amplitudes))), 1.0)
        return np.asarray(chdtri(rows, ndtr(-threshold)) - rows)

    def _range(self, name: Any, start: float, bounds: dict[Any, tuple[float, float]]) -> Range:
        if name in self.parents:
            return Range(1.0, max(LARGEST_RATIO, start))
        kind = "amplitude" if name not in self.groups else name[0] if isinstance(name, tuple) and name else name
        default = RANGES.get(kind, Range(1e-4 * start, 1e4 * start))
        for key in (name, kind):
            if key in bounds:
                low, high = (float(b) for b in bounds[key])
                if not (0.0 < low <= start <= high < np.inf):
                    raise InputError(
                        f"bounds {low:g} to {high:g} of {label(name)} must be positive and hold its start {start:g}: "
                        "widen them or start elsewhere."
                    )
                return Range(low, high, default.unit)
        return Range(min(default.low, start), max(default.high, start), default.unit)

    @property
    def start(self) -> np.ndarray:
        """Present values of the free logarithms."""
        return np.asarray(self.now[self.free])

    def starts(self, n: int, rng: np.random.Generator) -> list[np.ndarray]:
        """The given start and others within a factor of ten; outliers start as ordinary labels."""
        spread = np.where(self.is_child[self.free], 0.0, np.log(10.0))
        others = [self.start + spread * rng.uniform(-1.0, 1.0, len(self.free)) for _ in range(n - 1)]
        return [self.start, *(np.clip(x, self.low, self.high) for x in others if len(x))]

    def logs(self, x: np.ndarray) -> np.ndarray:
        """Logarithms of all noises, then of all amplitudes."""
        own = self.now.copy()
        own[self.free] = x
        return np.asarray(self.combine @ own)

    def noise(self, x: np.ndarray) -> dict[Any, float]:
        """Noise by group."""
        return dict(zip(self.groups, np.exp(self.logs(x)).tolist()))

    def ratios(self, x: np.ndarray) -> np.ndarray:
        """Amplitudes relative to the present ones."""
        n = len(self.groups)
        return np.asarray(np.exp((self.logs(x) - self.now)[n:]))

    def column_scale(self, x: np.ndarray, n_sparse: int) -> np.ndarray:
        """Factors of the columns of K for these amplitudes, (δ/δ₀)², shape (n_sparse,)."""
        scale = np.ones(n_sparse)
        for amplitude, ratio in zip(self.amplitudes, self.ratios(x)):
            scale[amplitude.columns] = ratio**2
        return scale

    def pulled(self, per_parameter: np.ndarray) -> np.ndarray:
        """Derivatives by log θ → derivatives by x."""
        return np.asarray((self.combine.T @ per_parameter)[self.free])

    def log_prior(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Its value, up to a constant, and its slope."""
        child = self.is_child[self.free]
        away = np.where(child, 0.0, (x - self.start) / self.width)
        return float(-0.5 * away @ away - self.rate @ np.where(child, x, 0.0)), -away / self.width - self.rate

    def described(self, x: np.ndarray, std: np.ndarray, found: Evidence) -> list[Hyperparameter]:
        """All hyperparameters, fixed ones too."""
        own, spread = self.now.copy(), np.zeros(len(self.names))
        own[self.free], spread[self.free] = x, std
        rows = np.append(self.n_rows, np.zeros(len(self.amplitudes)))
        effective = np.append(found.effective, found.effective_columns)
        values = []
        for k, name in enumerate(self.names):
            low, high, unit = self.ranges[k]
            free = k in self.free
            end = "low" if own[k] < np.log(low) + 1e-6 else "high" if own[k] > np.log(high) - 1e-6 else ""
            values.append(
                Hyperparameter(
                    name=label(name), what=self._what(name), key=name, parent=self.parents.get(name), unit=unit,
                    start=float(np.exp(self.now[k])), value=float(np.exp(own[k])), low=low, high=high,
                    std_log=float(spread[k]), at_bound=end if free else "", fixed=not free,
                    n_labels=int(rows[k]), effective=float(effective[k]), prior_width=self.width,
                )
            )  # fmt: skip
        return values

    def _what(self, name: Any) -> str:
        return "ratio" if name in self.parents else "noise" if name in self.groups else "amplitude"


def label(name: Any) -> str:
    """("energy", "bulk") → "energy_noise[bulk]", ("energy", "all") → "energy_noise", others as they are."""
    if not (isinstance(name, tuple) and name and name[0] in RANGES):
        return str(name)
    rest = ", ".join(str(part) for part in name[1:])
    return f"{name[0]}_noise" if rest in ("", "all") else f"{name[0]}_noise[{rest}]"


def indices(amplitude: Amplitude, n_sparse: int) -> np.ndarray:
    """The sparse points of an amplitude as indices, however they were given."""
    try:
        return np.arange(n_sparse)[amplitude.columns].ravel()
    except IndexError:
        raise InputError(
            f"amplitude {amplitude.name!r} names sparse points beyond the existing {n_sparse}: correct its columns."
        ) from None


def _check(
    names: list[Any],
    noise: Mapping[Any, float],
    amplitudes: Sequence[Amplitude],
    fixed: Collection[Any],
    bounds: Mapping[Any, Any],
    parents: Mapping[Any, Any],
    prior_width: float | None,
) -> None:
    """Raise `InputError` for unknown names and invalid values."""
    words = [str(name) for name in names]
    for name in (*fixed, *parents, *parents.values(), *(key for key in bounds if key not in RANGES)):
        if name not in names:
            raise InputError(f"there is no noise or amplitude {label(name)!r}{did_you_mean(str(name), words)}.")
    nested = [child for child, parent in parents.items() if parent in parents]
    if nested:
        raise InputError(f"the parent of {label(nested[0])} has a parent itself: name an ordinary group.")
    values = {name: noise.get(name, np.nan) for name in names[: len(names) - len(amplitudes)]}
    values |= {a.name: a.delta for a in amplitudes}
    for name, value in values.items():
        if not 0.0 < float(value) < np.inf:
            raise InputError(f"the start of {label(name)} is {value!r}: give a positive number.")
    if len(values) < len(names):
        raise InputError("two amplitudes, or an amplitude and a group, have the same name: rename one.")
    columns = np.concatenate([np.empty(0, dtype=int), *(a.columns for a in amplitudes)])
    if len(np.unique(columns)) < len(columns):
        raise InputError("a sparse point belongs to two amplitudes: each may scale its own points only.")
    if prior_width is not None and not prior_width > 0.0:
        raise InputError(f"prior_width = {prior_width!r} must be positive, or None for no prior.")
