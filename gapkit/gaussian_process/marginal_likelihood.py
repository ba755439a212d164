"""The log marginal likelihood of all noises and amplitudes, with gradients, from row factors alone.

With L Lᵀ = K_mm, both as they were built, G_g = R_g L⁻ᵀ is the whitened factor of noise group g. Amplitudes multiply
columns, D = diag(δ_t/δ_t0), so that y_g = G_g D β + noise, β ~ N(0, I), and with weights 1/σ_g²

    S = I + D (Σ_g G_gᵀG_g/σ_g²) D,    β = S⁻¹ D Σ_g G_gᵀz_g/σ_g²
    χ_g² = (|z_g - G_g D β|² + ρ_g²)/σ_g²,    γ_g = tr(S⁻¹ D G_gᵀG_g D)/σ_g²
    log p = -½ [ Σ_g χ_g² + |β|² + log|S| + 2 Σ_g N_g log σ_g + N log 2π ]
    ∂log p/∂log σ_g = χ_g² - N_g + γ_g,    ∂log p/∂log δ_t = |β_t|² - Σ_{i∈t} (1 - (S⁻¹)_ii)

(the quantities of MacKay, Neural Comput. 4, 415 (1992); γ is the effective number of parameters). All eigenvalues of S
are at least one, so that its Cholesky factorisation costs log p no more than about eps λ_max(S), an absolute error; χ²
comes from residuals, never from yᵀy - bᵀS⁻¹b. Where eps λ_max(S) is not small, S is factorised by QR of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg.blas import dsyrk, dtrmm, dtrmv, dtrsm
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

from gapkit.errors import InputError
from gapkit.gaussian_process.conditioning import factorise
from gapkit.gaussian_process.posterior import without_rows
from gapkit.gaussian_process.row_factor import RowFactor, fold

COLUMNS_TOGETHER = 64  # columns of the packed factors that are read at one time: they stay in the cache
LEAST_ACCURACY = 1e-2  # of eps λ_max(S), above which S is factorised by QR
THIN = 0.5  # factors of fewer rows than this times the sparse points are kept as rows


class Evidence(NamedTuple):
    """The log marginal likelihood at one point, and the parts of its gradient.

    Attributes
    ----------
    log_p : float
    d_noise : ndarray, shape (n_groups,)
        ∂log p/∂log σ_g.
    d_amplitude : ndarray, shape (n_amplitudes,)
        ∂log p/∂log δ_t.
    misfit : ndarray, shape (n_groups,)
        χ_g², squared residuals in units of the noise.
    effective : ndarray, shape (n_groups,)
        γ_g, numbers of parameters that each group determines; their sum is M - tr S⁻¹.
    weight : ndarray, shape (n_amplitudes,)
        |β_t|².
    effective_columns : ndarray, shape (n_amplitudes,)
        Σ_{i∈t} (1 - (S⁻¹)_ii), numbers of sparse points of each amplitude that the data determine.
    accuracy : float
        eps tr S ≥ eps λ_max(S), a bound of the absolute error of log p by round-off up to a factor of order one.
    """

    log_p: float
    d_noise: np.ndarray
    d_amplitude: np.ndarray
    misfit: np.ndarray
    effective: np.ndarray
    weight: np.ndarray
    effective_columns: np.ndarray
    accuracy: float


class _Thick(NamedTuple):
    """Whitened factor of many rows: G in the upper triangle of `packed`, GᵀG below it, its diagonal separate."""

    owner: int
    sign: float
    packed: np.ndarray  # (M, M)
    diagonal: np.ndarray  # (M,)
    z: np.ndarray  # (M,)
    rho: float

    def times(self, x: np.ndarray, transposed: bool = False) -> np.ndarray:
        return np.asarray(dtrmv(self.packed, x, trans=transposed))


class _Thin(NamedTuple):
    """Whitened rows of all groups of few rows."""

    owner: np.ndarray  # (n,)
    sign: np.ndarray  # (n,)
    G: np.ndarray  # (n, M)
    z: np.ndarray  # (n,)


class MarginalLikelihood:
    """log p as a function of noises and amplitudes: O(groups M² + M³) per call, memory (groups + 1) M² numbers.

    Groups of few rows, n < M/2, take n M numbers instead.

    Parameters
    ----------
    K_mm : ndarray, shape (M, M)
        Covariance of the sparse points with the present amplitudes.
    factors : mapping of group to RowFactor
        Made with the present amplitudes.
    columns : sequence of ndarray
        Sparse points of each amplitude, as indices; points of no amplitude stay as they are.
    jitter : float
        As for `gapkit.gaussian_process.posterior.fit_posterior`.

    Attributes
    ----------
    groups : tuple
        Keys of `factors`, in the order of all arrays per group.
    n_rows : ndarray, shape (n_groups,)
    columns : list of ndarray
        Sparse points of each amplitude.
    jitter : float
        The jitter that K_mm needed.

    Raises
    ------
    InputError
        If K_mm or a factor is not finite, or K_mm cannot be factorised.
    """

    def __init__(
        self,
        K_mm: np.ndarray,
        factors: Mapping[Any, RowFactor],
        columns: Sequence[np.ndarray] = (),
        jitter: float = 1e-10,
    ) -> None:
        _check_finite("the covariance of the sparse points", K_mm)
        wrong = [group for group, factor in factors.items() if factor.n_sparse != len(K_mm)]
        if wrong:
            raise InputError(
                f"the factor of {wrong[0]!r} has {factors[wrong[0]].n_sparse} columns and K_mm {len(K_mm)}: "
                "make both from the same sparse points."
            )
        L, self.jitter = factorise(K_mm, jitter)
        self.groups = tuple(factors)
        self.n_rows = np.array([f.n_rows for f in factors.values()], dtype=float)
        self.columns = [np.asarray(c, dtype=int) for c in columns]
        self._log_scale = sum(f.log_scale for f in factors.values())
        self._thick: list[_Thick] = []
        thin = [_Thin(np.empty(0, dtype=int), np.empty(0), np.empty((0, len(L))), np.empty(0))]
        for owner, factor in enumerate(factors.values()):
            for sign, rows, triangle in _signed_rows(factor):
                if len(rows) <= THIN * len(L):
                    thin.append(_Thin(np.full(len(rows), owner), np.full(len(rows), sign), rows[:, :-1], rows[:, -1]))
                else:
                    self._thick.append(_packed(owner, sign, triangle(), L))
        owners, signs, K, z = (np.concatenate(parts) for parts in zip(*thin))
        self._thin = _Thin(owners, signs, whitened(K, L), z)

    @property
    def n_sparse(self) -> int:
        """M."""
        return self._thin.G.shape[1]

    def __call__(self, noise: np.ndarray, amplitudes: np.ndarray) -> Evidence:
        """log p and its gradient.

        Parameters
        ----------
        noise : ndarray, shape (n_groups,)
            σ_g.
        amplitudes : ndarray, shape (n_amplitudes,)
            δ_t relative to those that K_mm was built with.

        Raises
        ------
        InputError
            If the result is not finite.
        """
        with np.errstate(all="ignore"):
            found = self._evaluate(np.asarray(noise, dtype=float), self._column_scale(amplitudes))
        if not (np.isfinite(found.log_p) and np.all(np.isfinite(found.d_noise))):
            raise InputError("the evidence is not finite: check noises, amplitudes and labels for absurd sizes.")
        return found

    def solved(self, noise: np.ndarray, amplitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The diagonal of D, lower C with C Cᵀ = S (its upper triangle is undefined), and β; arguments as in a call."""
        s = self._column_scale(amplitudes)
        C, beta, _ = self._factorised(1.0 / np.asarray(noise, dtype=float) ** 2, s)
        return s, C, beta

    def products(self, X: np.ndarray) -> Iterator[tuple[Any, np.ndarray, np.ndarray, np.ndarray]]:
        """Owners, signs, G X and z of all rows but those without G, part by part; X has the shape (n_sparse, n)."""
        thin = self._thin
        yield thin.owner, thin.sign, thin.G @ X, thin.z
        for part in self._thick:
            product = dtrmm(1.0, part.packed, X)
            yield np.full(len(part.z), part.owner), np.full(len(part.z), part.sign), product, part.z

    def _column_scale(self, amplitudes: np.ndarray) -> np.ndarray:
        s = np.ones(self.n_sparse)
        for columns, amplitude in zip(self.columns, amplitudes):
            s[columns] = amplitude
        return s

    def _evaluate(self, noise: np.ndarray, s: np.ndarray) -> Evidence:
        w = 1.0 / noise**2
        C, beta, accuracy = self._factorised(w, s)
        log_det = 2.0 * np.log(np.abs(np.diag(C))).sum()
        misfit = np.zeros(len(w))
        for owner, sign, residual in self._residuals(beta, s):
            np.add.at(misfit, owner, sign * w[owner] * residual**2)
        effective, open_ = self._effective(C, w, s, by_rows=accuracy > LEAST_ACCURACY)
        misfit = np.maximum(misfit, 0.0)
        log_noise = 2.0 * (self.n_rows @ np.log(noise) + self._log_scale) + self.n_rows.sum() * np.log(2.0 * np.pi)
        weight = np.array([beta[c] @ beta[c] for c in self.columns])
        closed = np.array([np.sum(1.0 - open_[c]) for c in self.columns])
        log_p = -0.5 * (misfit.sum() + beta @ beta + log_det + log_noise)
        slopes = (misfit - self.n_rows + effective, weight - closed)
        return Evidence(float(log_p), *slopes, misfit, effective, weight, closed, float(accuracy))

    def _factorised(self, w: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Lower C with C Cᵀ = S, β, and eps tr S."""
        S = self._S(w, s)
        accuracy = float(np.finfo(float).eps * np.trace(S))
        if accuracy <= LEAST_ACCURACY:
            C, failed = dpotrf(S, lower=1, clean=0, overwrite_a=1)
            if not failed:
                beta = np.zeros(len(s))
                for _ in range(3):  # the second and third are iterative refinement
                    beta += dpotrs(C, self._slope(beta, w, s), lower=1)[0]
                return C, beta, accuracy
        return *self._by_qr(w, s), max(accuracy, 1.01 * LEAST_ACCURACY)

    def _S(self, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Lower triangle of S = I + D (Σ w GᵀG) D; the upper triangle is undefined."""
        M = len(s)
        S = np.zeros((M, M), order="F")
        diagonal = np.zeros(M)
        for part in self._thick:
            diagonal += part.sign * w[part.owner] * part.diagonal
        for a in range(0, M, COLUMNS_TOGETHER):
            b = min(a + COLUMNS_TOGETHER, M)
            for part in self._thick:
                S[a:, a:b] += part.sign * w[part.owner] * part.packed[a:, a:b]
            S[a:, a:b] *= s[a:, None] * s[a:b]
        S[np.diag_indices(M)] = 1.0 + s**2 * diagonal
        for sign in (1.0, -1.0):
            rows = self._thin_rows(sign, w, s)[:, :-1]
            if len(rows):
                S = dsyrk(sign, rows, beta=1.0, c=S, trans=1, lower=1, overwrite_c=1)
        return np.asarray(S)

    def _thin_rows(self, sign: float, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        """[G D | z]/σ of the rows of few that are there (1) or removed (-1), shape (n, M + 1)."""
        own = self._thin.sign == sign
        rows = np.column_stack([self._thin.G[own] * s, self._thin.z[own]])
        return np.asfortranarray(rows * np.sqrt(w[self._thin.owner[own]])[:, None])

    def _residuals(self, beta: np.ndarray, s: np.ndarray) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Owner, sign and [z - G D β, ρ] of each part."""
        thin = self._thin
        yield thin.owner, thin.sign, thin.z - thin.G @ (s * beta)
        for part in self._thick:
            residual = np.append(part.z - part.times(s * beta), part.rho)
            yield np.full(len(residual), part.owner), part.sign, residual

    def _slope(self, beta: np.ndarray, w: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Minus half the gradient of Σχ² + |β|²: D Σ w Gᵀ(z - G D β) - β."""
        thin = self._thin
        slope = thin.G.T @ (thin.sign * w[thin.owner] * (thin.z - thin.G @ (s * beta)))
        for part in self._thick:
            residual = part.z - part.times(s * beta)
            slope += part.sign * w[part.owner] * part.times(residual, transposed=True)
        return np.asarray(s * slope - beta)

    def _by_qr(self, w: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower C with C Cᵀ = S and β from QR of [G D | z]/σ of all parts below [I | 0]: O(groups M³)."""
        M = len(s)
        full = np.eye(M + 1, order="F")
        full[M, M] = 0.0
        negative = [self._thin_rows(-1.0, w, s)]
        for part in self._thick:
            rows = np.zeros((M + 1, M + 1), order="F")
            rows[:M, :M] = np.triu(part.packed) * s
            rows[:M, M], rows[M, M] = part.z, part.rho
            rows *= np.sqrt(w[part.owner])
            if part.sign > 0:
                full = fold(full, rows, triangular=True, overwrite=True)
            else:
                negative.append(rows)
        full = fold(full, self._thin_rows(1.0, w, s), overwrite=True)
        gone = np.concatenate(negative)
        full = without_rows(full, gone) if len(gone) else full
        beta = dtrsm(1.0, full[:M, :M], full[:M, M:])[:, 0]
        return np.asfortranarray(full[:M, :M].T), beta

    def _effective(self, C: np.ndarray, w: np.ndarray, s: np.ndarray, by_rows: bool) -> tuple[np.ndarray, np.ndarray]:
        """γ_g of each group and the diagonal of S⁻¹; C is overwritten.

        By the products tr(S⁻¹ D GᵀG D), O(M²) a group, or, where these would cancel, `by_rows`: |G D C⁻ᵀ|², O(M³).
        """
        thin = self._thin
        effective = np.zeros(len(w))
        leverage = dtrsm(1.0, C, thin.G * s, side=1, lower=1, trans_a=1)
        np.add.at(effective, thin.owner, thin.sign * w[thin.owner] * np.einsum("nm,nm->n", leverage, leverage))
        if by_rows:
            for part in self._thick:
                leverage = dtrsm(1.0, C, np.triu(part.packed) * s, side=1, lower=1, trans_a=1)
                effective[part.owner] += part.sign * w[part.owner] * np.vdot(leverage, leverage)
        W, _ = dpotri(C, lower=1, overwrite_c=1)
        open_ = np.diag(W).copy()
        if not by_rows:
            for k in range(len(s)):
                W[: k + 1, k] = 0.0
            traces = self._traces(W, s)
            for part, trace in zip(self._thick, traces):
                own = 2.0 * trace + open_ @ (s**2 * part.diagonal)
                effective[part.owner] += part.sign * w[part.owner] * own
        return effective, open_

    def _traces(self, W: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Σ_{i>j} W_ij s_i s_j (GᵀG)_ij of each thick part."""
        traces = np.zeros(len(self._thick))
        for a in range(0, len(s), COLUMNS_TOGETHER):
            b = min(a + COLUMNS_TOGETHER, len(s))
            scaled = W[a:, a:b] * (s[a:, None] * s[a:b])
            for k, part in enumerate(self._thick):
                traces[k] += np.einsum("ij,ij->", scaled, part.packed[a:, a:b])
        return traces


def _signed_rows(factor: RowFactor) -> Iterator[tuple[float, np.ndarray, Callable[[], np.ndarray]]]:
    """1 or -1, few rows [K | y] equivalent to those added or removed, and a function for their triangular factor."""
    yield 1.0, _not_zero(factor.rows), lambda: factor.factor
    if factor.removed_rows is not None:
        yield -1.0, _not_zero(factor.removed_rows), lambda: np.asarray(factor.removed)


def _not_zero(rows: np.ndarray) -> np.ndarray:
    """Drop rows that are zero up to round-off, as most are in a factor of few rows."""
    _check_finite("a row factor", rows)
    norm = np.sqrt(np.einsum("nm,nm->n", rows, rows))
    return rows[~(norm <= np.finfo(float).eps * norm.max(initial=0.0))]


def whitened(K: np.ndarray, L: np.ndarray) -> np.ndarray:
    """K L⁻ᵀ, in Fortran order."""
    return np.asarray(dtrsm(1.0, L, np.array(K, order="F"), side=1, lower=1, trans_a=1, overwrite_b=1))


def _packed(owner: int, sign: float, triangle: np.ndarray, L: np.ndarray) -> _Thick:
    M = len(L)
    G = whitened(triangle[:M, :M], L)
    gram = dsyrk(1.0, G, trans=1, lower=1)
    for k in range(M - 1):
        G[k + 1 :, k] = gram[k + 1 :, k]
    return _Thick(owner, sign, G, np.diag(gram).copy(), triangle[:M, M].copy(), float(triangle[M, M]))


def _check_finite(what: str, array: np.ndarray) -> None:
    if not np.all(np.isfinite(array)):
        raise InputError(f"{what} holds numbers that are not finite: check the labels, descriptors and amplitudes.")
