"""Covariance functions of two environments: values, and gradients already contracted with weights.

A kernel sees rows of features whose plain inner product is meaningful (`SOAP.evaluate`). It works on
`points(X)` (normalised rows and their norms) and on inner products S = Q Zᵀ:

    k(p, p_m) = δ² φ(s),   s = q·q_m,   q = p/|p|                       ∂k/∂p = δ² φ'(s) (q_m - s q)/|p|

so that everything is one matrix product, one scalar function and, backwards, one more matrix product; the array
(n, m, n_features) is never formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gapkit._numba import kernels as loops
from gapkit.checks import is_number
from gapkit.errors import InputError
from gapkit.runtime.workspace import Fresh, Workspace


class Kernel(Protocol):
    """What other folders need of a kernel; φ with δ² included."""

    @property
    def delta(self) -> float:
        """Amplitude δ, eV."""
        ...

    def validate(self) -> None:
        """Raise `InputError` for impossible parameters."""
        ...

    def __call__(self, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """k(X, Z) of raw feature rows, shape (n, m)."""
        ...

    def diag(self, X: np.ndarray) -> np.ndarray:
        """k(x, x), shape (n,)."""
        ...

    def value(self, S: np.ndarray) -> np.ndarray:
        """δ² φ(S)."""
        ...

    def value_and_slope(self, S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """δ² φ(S) and δ² φ'(S)."""
        ...

    def curvature(self, S: np.ndarray) -> np.ndarray:
        """δ² φ''(S)."""
        ...

    def contract(self, S: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Σ_m α_m δ² φ(s_im), shape (n,); overwrites S by α_m δ² φ'(s_im)."""
        ...

    def fold(self, Z: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
        """Σ_m α_m k(·, z_m) as a `contract_folded` form, where there is one and it costs less than `contract`."""
        ...


def points(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised rows (n, n_features) and norms (n,) of feature rows; zero rows stay zero."""
    return normalise(np.array(X, dtype=np.float64, order="C"))


def normalise(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`points`, overwriting X (C-contiguous float64)."""
    norm = np.empty(len(X))
    loops.normalise(X, norm)
    return X, norm


def inner_products(Q: np.ndarray, Z: np.ndarray, workspace: Workspace | None = None) -> np.ndarray:
    """S = Q Zᵀ of normalised rows, shape (n, m)."""
    return np.matmul(Q, Z.T, out=(workspace or Fresh()).empty("S", len(Q), len(Z)))


def contract_gradient(
    kernel: Kernel,
    S: np.ndarray,
    Q: np.ndarray,
    norm: np.ndarray,
    Z: np.ndarray,
    alpha: np.ndarray,
    workspace: Workspace | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """e_i = Σ_m α_m k(p_i, z_m) and x̄_i = ∂e_i/∂p_i.

    Parameters
    ----------
    S : ndarray, shape (n, m)
        `inner_products`; overwritten.
    Q, norm : ndarray, shapes (n, n_features), (n,)
        From `points`.
    Z : ndarray, shape (m, n_features)
        Normalised sparse points.
    alpha : ndarray, shape (m,)
        Weights.
    workspace : Workspace, optional
        Memory for x̄; new if not given.

    Returns
    -------
    e : ndarray, shape (n,)
    x_bar : ndarray, shape (n, n_features)
    """
    e = kernel.contract(S, alpha)
    x_bar = np.matmul(S, Z, out=(workspace or Fresh()).empty("x_bar", *Q.shape))
    loops.project(x_bar, Q, norm)
    return e, x_bar


def contract_folded(
    fold: np.ndarray, Q: np.ndarray, norm: np.ndarray, workspace: Workspace | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`contract_gradient` of a folded sum: e = q·w (fold is a vector w) or e = q·W q (a symmetric matrix W)."""
    x_bar = (workspace or Fresh()).empty("x_bar", *Q.shape)
    if fold.ndim == 1:
        e = Q @ fold
        x_bar[:] = fold
    else:
        np.matmul(Q, fold, out=x_bar)
        e = np.einsum("nx,nx->n", Q, x_bar)
        x_bar *= 2.0
    loops.project(x_bar, Q, norm)
    return e, x_bar


@dataclass(frozen=True)
class DotProduct:
    """k = δ² (q·q')^ζ with normalised features q: the SOAP kernel.

    Parameters
    ----------
    zeta : int
        Positive integer; larger is sharper.
    delta : float
        Amplitude δ, eV: the prior standard deviation of a local energy.
    """

    zeta: int = 4
    delta: float = 5.0

    def validate(self) -> None:
        """Raise `InputError` unless zeta is a positive integer and delta a positive number."""
        if not is_number(self.zeta) or self.zeta % 1 or self.zeta < 1:
            raise InputError(f"zeta = {self.zeta!r} must be a positive integer (2 to 6 is usual).")
        _check_positive("delta", self.delta, "eV")

    def __call__(self, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """k(X, Z) of raw feature rows (n, n_features), (m, n_features): shape (n, m), eV²."""
        return self.value(points(X)[0] @ points(Z)[0].T)

    def diag(self, X: np.ndarray) -> np.ndarray:
        """k(x, x) = δ², shape (n,), eV²."""
        return np.where(np.any(X, axis=1), self.delta**2, 0.0)

    def value(self, S: np.ndarray) -> np.ndarray:
        """δ² s^ζ."""
        S = np.ascontiguousarray(S, dtype=np.float64)
        K = np.empty_like(S)
        loops.power_value(np.atleast_2d(S), self.delta**2, int(self.zeta), np.atleast_2d(K))
        return K

    def value_and_slope(self, S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """δ² s^ζ and δ² ζ s^(ζ-1)."""
        K, slope = np.empty_like(S), np.empty_like(S)
        loops.power_value_and_slope(S, self.delta**2, int(self.zeta), K, slope)
        return K, slope

    def curvature(self, S: np.ndarray) -> np.ndarray:
        """δ² ζ (ζ-1) s^(ζ-2)."""
        K, zeta = np.empty_like(S), int(self.zeta)
        loops.power_value(S, self.delta**2 * zeta * (zeta - 1), max(zeta - 2, 0), K)
        return K

    def contract(self, S: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Σ_m α_m δ² s^ζ; S becomes α_m δ² ζ s^(ζ-1)."""
        e = np.empty(len(S))
        loops.power_contract(S, self.delta**2 * alpha, int(self.zeta), e)
        return e

    def fold(self, Z: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
        """ζ = 1: δ² Zᵀ α; ζ = 2: δ² Zᵀ diag(α) Z, if its 2 n_features² operations are fewer than 4 n_features m."""
        m, n_features = Z.shape
        if self.zeta == 1:
            return self.delta**2 * (alpha @ Z)
        if self.zeta == 2 and n_features < 2 * m:
            return self.delta**2 * (Z.T @ (alpha[:, None] * Z))
        return None


@dataclass(frozen=True)
class SquaredExponential:
    """k = δ² exp(-|q - q'|² / 2ℓ²) = δ² exp((q·q' - 1)/ℓ²) with normalised features q.

    Parameters
    ----------
    length_scale : float
        ℓ, a distance between unit vectors (0 to √2).
    delta : float
        Amplitude δ, eV.
    """

    length_scale: float = 0.5
    delta: float = 5.0

    def validate(self) -> None:
        """Raise `InputError` unless both parameters are positive numbers."""
        _check_positive("length_scale", self.length_scale, "")
        _check_positive("delta", self.delta, "eV")

    def __call__(self, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """k(X, Z) of raw feature rows (n, n_features), (m, n_features): shape (n, m), eV²."""
        return self.value(points(X)[0] @ points(Z)[0].T)

    def diag(self, X: np.ndarray) -> np.ndarray:
        """k(x, x) = δ², shape (n,), eV²."""
        return np.full(len(X), self.delta**2)

    def value(self, S: np.ndarray) -> np.ndarray:
        """δ² exp((s - 1)/ℓ²)."""
        return self.delta**2 * np.exp((S - 1.0) / self.length_scale**2)

    def value_and_slope(self, S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """δ² φ and δ² φ' = δ² φ/ℓ²."""
        K = self.value(S)
        return K, K / self.length_scale**2

    def curvature(self, S: np.ndarray) -> np.ndarray:
        """δ² φ'' = δ² φ/ℓ⁴."""
        return self.value(S) / self.length_scale**4

    def contract(self, S: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Σ_m α_m δ² φ; S becomes α_m δ² φ/ℓ²."""
        K = self.value(S)
        np.multiply(K, alpha / self.length_scale**2, out=S)
        return K @ alpha

    def fold(self, Z: np.ndarray, alpha: np.ndarray) -> None:
        """None: an exponential does not fold."""


def _check_positive(name: str, value: float, unit: str) -> None:
    if not is_number(value) or not value > 0:
        raise InputError(f"{name} = {value!r} {unit}".strip() + " must be a positive number.")
