"""Error bars other than the posterior's, on the same footing: standard deviations of energies and forces.

Whatever has a method ``std(atoms)`` can be scored by `with_std` and `gapkit.evaluation.calibration`:

`PosteriorStd`          "dtc", what `GAP.predict` gives, or "sor", without the prior residual of the sparse points
`MemberStd`             scatter of an ensemble: `GAP.sample`, `gapkit.uncertainty.committees.committee` or
                        `label_noise_ensemble`
`ScaledIndicator`       one number per atom times one factor per kind, fitted to held-out errors:
    `descriptor_distance`   distance to the nearest sparse point
    `local_std`             standard deviation of the local energy, with the data ("dtc") or blind to them ("gap")

All take sparse points, e0, noises and amplitudes of the model for granted.

Notes
-----
Cases in which none of these error bars should be trusted, the posterior's included, with the numbers of
``benchmarks/uncertainty.py`` (std z is 1 for honest error bars, larger where they are too small):

*Calibration on other data.* Fitted to strained and 300 K silicon (mlearn), the raw posterior is right on hot
dynamics, vacancies and surfaces: its 90 % intervals hold 82 % of the energies, 96 % of the forces. After a factor
fitted to the crystals, where it is too large, they hold 38 and 36 %; conformal intervals from the crystals 28 and 49 %.
Recalibrate on frames like those to be predicted. Noises *learned* from crystals alone give a posterior that is still
calibrated (90 % intervals hold 100 and 99 %), but these are five times larger.

*A single config type under a shift.* Fitted to crystals of the shipped set, errors of the energies are 6.9 and 5.1
times the posterior's error bars for surfaces (100) and vacancies, 0.6 times for surfaces (111): right on average is not
right.

*Without the prior residual.* "sor", samples, committees and label noise share a blind spot: what no member can
express scatters in none. With the hand-set noise of 1 meV/atom, 90 % intervals of mlearn silicon's energies hold 22 to
38 % with them and 87 % with "dtc".

*A right size for a wrong reason.* Raw 90 % intervals of mlearn silicon's held-out forces hold 99, 93 and 78 % with 250,
500 and 1500 sparse points and the same hand-set noises: what the sparse points leave open makes up for noises that are
too small, until there are enough points. Learn the noises, or recalibrate, after every change of the sparse points.

*Misspecification.* The posterior knows the noise of the labels and what the sparse points leave open, not that no
potential of its form fits (cutoff, charges, too few features): its part of the error bar shrinks with more data while
the error stays (arXiv:2502.07104). Silicon described by 18 features within 3 Å, fitted to 23, then 184 frames: errors
of 168, then 142 meV/atom, posterior 1.2, then 0.4 meV/atom (tutorial 7). Learned noises take such errors for noise: of
the right size on average, and nearly constant.

*The order of atoms of one kind.* Over all atoms the rank correlation of error bar and force error is 0.6 to 0.9; within
a liquid or dynamics at one temperature of the shipped set it is between -0.1 and 0.1, because noise is most of the
error bar: look at `gapkit.evaluation.calibration.calibration_by` before atoms of one run are ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar
from sklearn.utils.validation import check_is_fitted

from gapkit.covariances.rows import structure_rows
from gapkit.errors import InputError, did_you_mean
from gapkit.evaluation.standard_deviations import WhichStd
from gapkit.potential.ensemble import Ensemble
from gapkit.runtime.threads import one_blas_thread
from gapkit.terms.basis import EnvironmentBlock
from gapkit.terms.records import SparseBlock

if TYPE_CHECKING:
    from gapkit.evaluation.comparison import Comparison
    from gapkit.potential.gap import GAP

FloatArray = NDArray[np.float64]
AtomIndicator = Callable[[Atoms], FloatArray]
METHODS = ("dtc", "sor")
INDICATED = ("dtc", "gap")
GAP_REGULARISATION = 0.001  # eV; QUIP's default


class Std(NamedTuple):
    """Standard deviations of one structure, noise not included: total energy, eV, and forces (n_atoms, 3), eV/Å."""

    energy: float
    forces: FloatArray


class Estimator(Protocol):
    """An estimate of how wrong predictions are."""

    def std(self, atoms: Atoms) -> Std:
        """Standard deviations for one structure."""
        ...


# ---- the posterior


@dataclass(frozen=True)
class PosteriorStd:
    """The posterior's own standard deviations, without the factors of a recalibration.

    Attributes
    ----------
    gap : GAP
    method : {"dtc", "sor"}
        As `gapkit.gaussian_process.posterior.SparsePosterior.covariance`.

    Raises
    ------
    InputError
        If the method is unknown.
    """

    gap: GAP
    method: str = "dtc"

    def __post_init__(self) -> None:
        check_is_fitted(self.gap, "posterior_")
        _check_name("method", self.method, METHODS)

    @one_blas_thread()
    def std(self, atoms: Atoms) -> Std:
        """Standard deviations for one structure."""
        if self.method == "dtc":
            found = self.gap.potential_._replace(recalibration=None).predict(atoms, WhichStd.ALL)
            return Std(float(found["energy_std"]), found["forces_std"])
        gap = self.gap
        gap.potential_.check_known(atoms)
        rows = structure_rows(gap.basis_.environments(atoms))
        K_mt = np.concatenate([rows.energy[None], rows.forces]).T
        std = np.linalg.norm(solve_triangular(gap.posterior_.R, K_mt, trans="T", check_finite=False), axis=0)
        return Std(float(std[0]), std[1:].reshape(-1, 3))


# ---- ensembles


@dataclass(frozen=True)
class MemberStd:
    """Scatter of the members of an ensemble around their mean.

    Attributes
    ----------
    ensemble : Ensemble
        At least two members; with n of them a standard deviation is itself uncertain by 1/√(2n - 2).

    Raises
    ------
    InputError
        If there are fewer.
    """

    ensemble: Ensemble

    def __post_init__(self) -> None:
        if len(self.ensemble) < 2:
            raise InputError(f"an ensemble of {len(self.ensemble)} has no scatter: give at least 2 members.")

    def std(self, atoms: Atoms) -> Std:
        """Standard deviations for one structure."""
        found = self.ensemble.predict(atoms)
        return Std(float(found.energy.std(ddof=1)), found.forces.std(axis=0, ddof=1))


# ---- indicators


@dataclass(frozen=True)
class ScaledIndicator:
    """A number a_i ≥ 0 per atom, made a standard deviation by one factor per kind; see `fit_scaled`.

    Every force component of atom i has the standard deviation `forces_scale` a_i. That of the total energy is
    `energy_scale` Σ_i a_i: errors of the atoms of one structure have one cause more often than many.

    Attributes
    ----------
    indicator : callable
        Atoms -> ndarray, shape (n_atoms,).
    energy_scale, forces_scale : float
        eV and eV/Å per unit of the indicator.
    """

    indicator: AtomIndicator
    energy_scale: float
    forces_scale: float

    def std(self, atoms: Atoms) -> Std:
        """Standard deviations for one structure."""
        a = self.indicator(atoms)
        return Std(self.energy_scale * float(a.sum()), np.repeat(self.forces_scale * a[:, None], 3, axis=1))


def fit_scaled(
    indicator: AtomIndicator, gap: GAP, frames: Sequence[Atoms], comparisons: Mapping[str, Comparison]
) -> ScaledIndicator:
    """Factors that make the errors most likely, each a Gaussian of variance (scale a)² + noise².

    Parameters
    ----------
    indicator : callable
        `descriptor_distance`, `local_std` or any other.
    gap : GAP
    frames : sequence of Atoms
        Frames that the model was not fitted to, or that were left out one by one.
    comparisons : mapping of kind to Comparison
        Their energies and forces, as `gapkit.evaluation.compare.evaluate` or `leave_one_out` gives them.

    Raises
    ------
    InputError
        If energies or forces are missing, or the indicator is zero for all atoms, negative or not finite.
    """
    missing = [kind for kind in ("energy", "forces") if kind not in comparisons]
    if missing:
        raise InputError(
            f"an indicator is scaled by errors of energies and forces, but {missing} are missing: label them."
        )
    unit = with_std(gap, ScaledIndicator(indicator, 1.0, 1.0), frames, comparisons, noise=False)
    scales = [_most_likely(unit[kind], _noise(gap, kind, unit[kind])) for kind in ("energy", "forces")]
    return ScaledIndicator(indicator, *scales)


def _most_likely(unit: Comparison, noise: FloatArray) -> float:
    """Scale s that maximises Π N(error | 0, s² a² + noise²)."""
    a, square = np.asarray(unit.std), unit.error**2
    if not (np.all(np.isfinite(a)) and a.min() >= 0.0 and a.max() > 0.0):
        raise InputError(f"an indicator must be finite and positive, got values from {a.min():g} to {a.max():g}.")

    def nll(log_scale: float) -> float:
        variance = np.exp(2.0 * log_scale) * a**2 + noise**2
        return float(np.mean(np.log(variance) + square / variance))

    middle = 0.5 * np.log(max(square.mean(), 1e-300) / np.mean(a**2))
    return float(np.exp(minimize_scalar(nll, bounds=(middle - 8.0, middle + 8.0), method="bounded").x))


def descriptor_distance(gap: GAP) -> AtomIndicator:
    """Distance √(2 - 2 max_m q·x_m) of each atom's features from the nearest sparse point, the largest of all terms."""
    check_is_fitted(gap, "posterior_")

    def distance(block: SparseBlock, Q: FloatArray) -> FloatArray:
        """Shape (n_centres,)."""
        return np.asarray(np.maximum(2.0 - 2.0 * (Q @ block.X.T).max(axis=1), 0.0))

    return lambda atoms: np.sqrt(_over_blocks(gap, atoms, distance, np.maximum))


def local_std(gap: GAP, method: str = "dtc") -> AtomIndicator:
    """Standard deviation of each local energy, eV.

    Parameters
    ----------
    gap : GAP
    method : {"dtc", "gap"}
        The posterior's; or k_ii - k_iᵀ (K_mm + reg²)⁻¹ k_i with reg = 1 meV, summed over terms, which knows the
        sparse points but no label: QUIP's ``local_gap_variance``, for comparison.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    check_is_fitted(gap, "posterior_")
    _check_name("method", method, INDICATED)
    if method == "dtc":
        potential = gap.potential_._replace(recalibration=None)
        return lambda atoms: np.asarray(potential.predict(atoms, WhichStd.LOCAL)["local_energies_std"])
    kernels = {own.block[:2]: own.kernel for own in gap.basis_.environment_blocks}
    factors = {own.block[:2]: _regularised(own) for own in gap.basis_.environment_blocks}

    def variance(block: SparseBlock, Q: FloatArray) -> FloatArray:
        """Shape (n_centres,)."""
        kernel = kernels[block[:2]]
        v = solve_triangular(factors[block[:2]], kernel.value(Q @ block.X.T).T, lower=True, check_finite=False)
        return np.asarray(np.maximum(kernel.value(np.ones(len(Q))) - np.einsum("mi,mi->i", v, v), 0.0))

    return lambda atoms: np.sqrt(_over_blocks(gap, atoms, variance, np.add))


def _regularised(own: EnvironmentBlock) -> FloatArray:
    """Cholesky factor of K_mm + reg²."""
    K = own.kernel.value(own.block.X @ own.block.X.T)
    return np.asarray(np.linalg.cholesky(K + GAP_REGULARISATION**2 * np.eye(len(K))), dtype=float)


def _over_blocks(
    gap: GAP, atoms: Atoms, value: Callable[[SparseBlock, FloatArray], FloatArray], join: np.ufunc
) -> FloatArray:
    """A number of every atom, (n_atoms,), joined over terms."""
    gap.potential_.check_known(atoms)
    found = np.zeros(len(atoms))
    for block, centres, Q in gap.basis_.environments(atoms).features():
        found[centres] = join(found[centres], value(block, Q))
    return found


# ---- the same footing


def with_std(
    gap: GAP,
    uncertainty: Estimator,
    frames: Sequence[Atoms],
    comparisons: Mapping[str, Comparison],
    noise: bool = True,
) -> dict[str, Comparison]:
    """The model's predictions with another estimate's standard deviations, for `gapkit.calibration`.

    Parameters
    ----------
    gap : GAP
        Its noise is added as in `gapkit.evaluation.compare.evaluate`.
    uncertainty : Estimator
    frames : sequence of Atoms
    comparisons : mapping of kind to Comparison
        Of these frames, from ``evaluate(gap, frames, return_std=False)``; whole frames.
    noise : bool
        Standard deviations of a new label, or of the model's mean alone.

    Returns
    -------
    dict
        "energy" and "forces", as far as they are in `comparisons`.

    Raises
    ------
    InputError
        If comparisons refer to frames that are not there, or as predictions of the frames.
    """
    used = sorted({int(k) for kind in ("energy", "forces") if kind in comparisons for k in comparisons[kind].structure})
    if used and used[-1] >= len(frames):
        raise InputError(f"comparisons refer to frame {used[-1]}, but there are {len(frames)}: give the same frames.")
    found = {k: uncertainty.std(frames[k]) for k in used}
    result = {}
    for kind in ("energy", "forces"):
        if kind in comparisons:
            c = comparisons[kind]
            std = _per_row(kind, c, found, frames)
            result[kind] = replace(c, std=np.hypot(std, _noise(gap, kind, c)) if noise else std)
    return result


def _per_row(kind: str, comparison: Comparison, found: Mapping[int, Std], frames: Sequence[Atoms]) -> FloatArray:
    """eV/atom or eV/Å of each row."""
    std = np.empty(len(comparison))
    for k in np.unique(comparison.structure):
        rows = comparison.structure == k
        std[rows] = found[k].energy / len(frames[k]) if kind == "energy" else found[k].forces.ravel()
    return std


def _noise(gap: GAP, kind: str, comparison: Comparison) -> FloatArray:
    names, inverse = np.unique(comparison.config_type, return_inverse=True)
    return np.array([gap.noise_std(kind, str(name)) for name in names])[inverse]


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"{what} = {name!r} is unknown{did_you_mean(str(name), known)}.")
