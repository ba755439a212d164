"""The posterior by streamed QR, from rows, targets, noises and the sparse points' covariance.

With L Lᵀ = K_mm, Λ = diag(noise²) and A = K_mm + K_mn Λ⁻¹ K_nm = Rᵀ R, the weights are α = A⁻¹ K_mn Λ⁻¹ y. A is never
formed: rows are folded into triangular factors by QR, which is stable where a Cholesky factorisation of A is not
(Foster et al., J. Mach. Learn. Res. 10, 857 (2009)). There is one factor per noise group, of the unscaled rows
[K_g | y_g], so that memory does not grow with the data and any noise can be applied afterwards:

    QR of [ F_g / σ_g for all g ; Lᵀ | 0 ]  →  [ R | z ; 0 | ρ ],   α = R⁻¹ z
    log p(y) = -½ [ ρ² + Σ_g N_g log σ_g² + 2 Σ log|R_kk| - 2 Σ log L_kk + N log 2π ]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cholesky, qr, solve_triangular
from scipy.linalg.lapack import dpstrf

from gapkit.errors import InputError
from gapkit.gaussian_process.conditioning import Conditioning, conditioning, factorise
from gapkit.gaussian_process.row_factor import RowFactor, fold

PANEL = 128  # rows of C taken together: narrow enough to skip the zeros below the diagonal, wide enough for BLAS


@dataclass(frozen=True)
class SparsePosterior:
    """Gaussian posterior of the weights on the sparse points.

    Attributes
    ----------
    alpha : ndarray, shape (n_sparse,)
        Weights: the mean of any functional t is ``K_tm @ alpha``.
    L : ndarray, shape (n_sparse, n_sparse)
        Lower triangular, L Lᵀ = K_mm + jitter.
    R : ndarray, shape (n_sparse, n_sparse)
        Upper triangular, Rᵀ R = K_mm + K_mn Λ⁻¹ K_nm.
    log_marginal_likelihood : float
        Of the training labels, under the sparse ("subset of regressors") model.
    conditioning : Conditioning
    n_rows : int
        Number of scalar labels.
    """

    alpha: np.ndarray
    L: np.ndarray
    R: np.ndarray
    log_marginal_likelihood: float
    conditioning: Conditioning
    n_rows: int

    def mean(self, K_t: np.ndarray) -> np.ndarray:
        """Mean of functionals with rows K_t (n, n_sparse)."""
        return K_t @ self.alpha

    def covariance(self, K_t: np.ndarray, K_tt: np.ndarray, method: str = "dtc") -> np.ndarray:
        """Covariance (n, n) of functionals with rows K_t and prior covariance K_tt (n, n).

        "dtc": K_tt - K_tm K_mm⁻¹ K_mt + K_tm A⁻¹ K_mt, the prior's residual plus what the data leave open (Quiñonero-
        Candela and Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005)); "sor": the last part alone, over-confident far
        from data.
        """
        prior, data = self._halves(K_t)
        return data.T @ data + (K_tt - prior.T @ prior if _is_dtc(method) else 0.0)

    def variance(self, K_t: np.ndarray, K_tt: np.ndarray, method: str = "dtc") -> np.ndarray:
        """Diagonal of `covariance`: K_tt (n,) are prior variances. Round-off below zero is clipped to zero.

        Raises
        ------
        InputError
            If a variance is negative beyond round-off.
        """
        prior, data = self._halves(K_t)
        variance = np.einsum("mn,mn->n", data, data)
        if _is_dtc(method):
            variance = variance + K_tt - np.einsum("mn,mn->n", prior, prior)
        return self._clipped(variance, K_tt)

    def local_variance(self, K_t: np.ndarray, K_tt: np.ndarray, columns: tuple[slice, ...]) -> np.ndarray:
        """`variance` ("dtc") of functionals that touch only `columns`, K_t (n, n_columns): one product per batch.

        The factor behind it is made at the first call for these columns, O(n_sparse³).
        """
        key = tuple((c.start, c.stop) for c in columns)
        if key not in self._factors:
            self._factors[key] = variance_factor(self.L, self.R, np.concatenate([np.arange(*c) for c in key]))
        return self._clipped(self._factors[key].variance(K_t, K_tt), K_tt)

    @cached_property
    def _factors(self) -> dict[tuple[tuple[int, int], ...], VarianceFactor]:
        return {}

    def _clipped(self, variance: np.ndarray, K_tt: np.ndarray) -> np.ndarray:
        """Round-off below zero becomes zero; more than that is refused."""
        floor = -1e-6 * max(float(np.max(K_tt, initial=0.0)), 1e-300)
        if variance.size and variance.min() < floor:
            raise InputError(
                f"a predictive variance is {variance.min():.3g} eV², negative beyond round-off: raise the jitter "
                f"(now {self.conditioning.jitter:g})."
            )
        return np.maximum(variance, 0.0)

    def _halves(self, K_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """L⁻¹ K_mt and R⁻ᵀ K_mt, both (n_sparse, n)."""
        K_mt = np.asarray(K_t).T
        prior = solve_triangular(self.L, K_mt, lower=True, check_finite=False)
        return prior, solve_triangular(self.R, K_mt, trans="T", check_finite=False)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` draws of the weights, α + R⁻¹ ξ, shape (n, n_sparse): each is a whole potential."""
        noise = rng.standard_normal((len(self.alpha), n))
        return self.alpha + solve_triangular(self.R, noise, check_finite=False).T


def _is_dtc(method: str) -> bool:
    if method not in ("dtc", "sor"):
        raise InputError(f"variance method {method!r} is unknown: use 'dtc' or 'sor'.")
    return method == "dtc"


def fit_posterior(
    K_mm: np.ndarray, factors: Mapping[Any, RowFactor], noise: Mapping[Any, float], jitter: float = 1e-10
) -> SparsePosterior:
    """Posterior from the sparse points' covariance and one row factor per noise group.

    Parameters
    ----------
    K_mm : ndarray, shape (n_sparse, n_sparse)
    factors : mapping of group to RowFactor
    noise : mapping of group to float
        Standard deviation of each group's labels.
    jitter : float
        Added to the diagonal of K_mm relative to each element; raised tenfold, with a warning, until K_mm factorises.
    """
    L, used = factorise(K_mm, jitter)
    M = len(K_mm)
    full = np.zeros((M + 1, M + 1), order="F")
    full[:M, :M] = L.T
    for group, factor in factors.items():
        with np.errstate(over="ignore"):  # of tiny noises; weights that are not finite are refused below
            scaled = factor.factor / noise[group]
        full = fold(full, scaled, triangular=True, overwrite=True)
    removed = [factor.removed / noise[group] for group, factor in factors.items() if factor.removed is not None]
    if removed:
        full[M, M] = full[M, M] or 1.0  # targets that are met exactly leave nothing to remove from
        full = without_rows(full, np.concatenate(removed))
    R, z, rho = full[:M, :M], full[:M, M], full[M, M]
    n_rows = sum(f.n_rows for f in factors.values())
    log_noise = sum(f.n_rows * np.log(noise[g]) + f.log_scale for g, f in factors.items())
    determinant = np.log(np.abs(np.diag(R))).sum() - np.log(np.diag(L)).sum()
    log_p = -0.5 * (rho**2 + 2.0 * log_noise + 2.0 * determinant + n_rows * np.log(2.0 * np.pi))
    alpha = solve_triangular(R, z, check_finite=False)
    if not np.all(np.isfinite(alpha)):
        raise InputError("the fitted weights are not finite: check noises, amplitudes and labels for absurd sizes.")
    return SparsePosterior(alpha, L, R, float(log_p), conditioning(K_mm, used, jitter), n_rows)


def without_rows(factor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Upper triangular F' with F'ᵀF' = FᵀF - rowsᵀ rows.

    With W = rows F⁻¹ it is F' = T F, where TᵀT = I - WᵀW. The eigenvalues of I - WᵀW are one less the leverages of the
    rows, so that F' is as accurate as F unless a row alone decides some direction.

    Parameters
    ----------
    factor : ndarray, shape (n, n)
        Upper triangular, without a zero on its diagonal.
    rows : ndarray, shape (n_rows, n)

    Raises
    ------
    InputError
        If the rows are not part of what `factor` was made of.
    """
    W = solve_triangular(factor, rows.T, trans="T", check_finite=False)
    try:
        T = cholesky(np.eye(len(factor)) - W @ W.T, check_finite=False)
    except np.linalg.LinAlgError:
        raise InputError(
            "frames to be removed are not among the training frames, or were removed before: "
            "give frames with exactly the labels that were fitted."
        ) from None
    return np.asarray(T @ factor)


class VarianceFactor(NamedTuple):
    """Variances of many local energies by one matrix product with a small factor C of what the data explain.

    A local energy with covariances k to the sparse points and prior variance k_ii has the "dtc" variance

        k_ii - kᵀ (K_mm⁻¹ - A⁻¹) k = k_ii - |C k|²,      K_mm = L Lᵀ,  A = Rᵀ R

        N = I - (Lᵀ R⁻¹) (Lᵀ R⁻¹)ᵀ = F Fᵀ,   C = Fᵀ L⁻¹

    N has eigenvalues between 0 (the data say nothing about a direction) and 1. Its pivoted Cholesky factorisation ends
    when nothing above a tolerance is left; as |L⁻¹ k|² ≤ k_ii, the trace of what is left bounds the error relative to
    k_ii. C is then made triangular by QR, which saves half of the product.

    Attributes
    ----------
    C : ndarray, shape (rank, n_columns)
        Upper trapezoidal.
    error : float
        Bound of the truncation error of a variance, relative to the prior variance.
    """

    C: np.ndarray
    error: float

    def variance(self, K: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Variances (n,), not clipped, from rows K (n, n_columns) and prior variances (n,)."""
        explained = np.zeros(len(K))
        for low in range(0, len(self.C), PANEL):
            V = K[:, low:] @ self.C[low : low + PANEL, low:].T
            explained += np.einsum("nr,nr->n", V, V)
        return prior - explained


def variance_factor(
    L: np.ndarray, R: np.ndarray, columns: np.ndarray, tolerance: float | None = None
) -> VarianceFactor:
    """Factor for functionals that touch only `columns`.

    Parameters
    ----------
    L, R : ndarray, shape (n_sparse, n_sparse)
        Lower triangular, L Lᵀ = K_mm; upper triangular, Rᵀ R = A.
    columns : ndarray of int, shape (n_columns,)
        Sparse points; K_mm must not couple them to the others.
    tolerance : float, optional
        Largest diagonal element of N that is left out; round-off of N, 8 · 2.2e-16 · n_columns, if not given.
    """
    tolerance = 8 * np.finfo(float).eps * len(columns) if tolerance is None else tolerance
    L_own = np.ascontiguousarray(L[np.ix_(columns, columns)])
    rows = np.zeros((len(L), len(columns)))
    rows[columns] = L_own
    E = solve_triangular(R, rows, trans="T", check_finite=False)  # R⁻ᵀ L, so that E Eᵀ of the text is Eᵀ E here
    N = np.eye(len(columns)) - E.T @ E
    F, pivots, rank, _ = dpstrf(np.asfortranarray(N), tol=tolerance, lower=True)
    F = np.tril(F)[np.argsort(pivots), :rank]
    left = float(np.maximum(np.diag(N) - np.einsum("mr,mr->m", F, F), 0.0).sum())
    C = solve_triangular(L_own, F, lower=True, trans="T", check_finite=False).T
    return VarianceFactor(np.ascontiguousarray(qr(C, mode="r", check_finite=False)[0][:rank]), left)
