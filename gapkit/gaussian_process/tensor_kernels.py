"""Symmetry-adapted kernels of vectors and tensors: matrices k_μμ'(i, m) that turn with both environments.

    k^λ_μμ'(i, m) = δ² (V_iμ · V_mμ') s_im^(ζ-1),   s_im = q_i·q_m,   q = p/|p|,   V_μ = p^λ_μ/|p|

with the scalar features p and the equivariant ones p^λ (Grisafi et al., Phys. Rev. Lett. 120, 036002 (2018), eq. 9 and
below). Both are divided by the norm of the *scalar* features, which no environment lacks: divided by its own norm, V
would be a unit vector even where symmetry makes the tensor vanish, and jump there and at the cutoff. λ = 0 is
`DotProduct`. Functions here take δ = 1.

Sums are ordered so that no array has both μ and μ' but the result: for a structure Σ_i s_im^(ζ-1) V_iμ first, for the
mean Σ_m s_im^(ζ-1) w_m first, w_m = Σ_μ' α_mμ' V_mμ'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gapkit._numba.kernels import power_value
from gapkit.gaussian_process.kernels import points


class TensorPoints(NamedTuple):
    """Environments: unit rows Q (n, n_scalar), equivariant features V (n, 2λ + 1, n_features) over the same norm."""

    Q: np.ndarray
    V: np.ndarray


def tensor_points(scalar: np.ndarray, equivariant: np.ndarray) -> tuple[TensorPoints, np.ndarray]:
    """Points from raw features p (n, n_scalar) and p^λ (n, 2λ + 1, n_features), and the norms |p| (n,)."""
    Q, norm = points(scalar)
    return TensorPoints(Q, equivariant / norm[:, None, None]), norm


def scalar_power(Q: np.ndarray, Z: np.ndarray, power: int) -> np.ndarray:
    """(q_i·z_m)^power, shape (n, m)."""
    S = Q @ Z.T
    result = np.empty_like(S)
    power_value(S, 1.0, power, result)
    return result


def kernel_rows(a: TensorPoints, b: TensorPoints, zeta: int) -> np.ndarray:
    """k_μμ'(i, m), shape (n, 2λ + 1, m, 2λ + 1)."""
    n, m, size, width = len(a.Q), len(b.Q), a.V.shape[1], a.V.shape[2]
    K = (a.V.reshape(-1, width) @ b.V.reshape(-1, width).T).reshape(n, size, m, size)
    K *= scalar_power(a.Q, b.Q, zeta - 1)[:, None, :, None]
    return K


def summed_rows(a: TensorPoints, b: TensorPoints, zeta: int) -> np.ndarray:
    """Σ_i k_μμ'(i, m), shape (2λ + 1, m (2λ + 1))."""
    size, width = a.V.shape[1:]
    if len(a.Q) <= size:
        return np.asarray(kernel_rows(a, b, zeta).sum(axis=0).reshape(size, -1))
    B = scalar_power(b.Q, a.Q, zeta - 1) @ a.V.reshape(len(a.Q), -1)
    K = np.matmul(B.reshape(-1, size, width), b.V.transpose(0, 2, 1))  # (m, μ, μ')
    return np.ascontiguousarray(K.transpose(1, 0, 2)).reshape(size, -1)


def covariance_of_sum(parts: Sequence[TensorPoints], zeta: int) -> np.ndarray:
    """Σ_ij k_μμ'(i, j) of one species' environments of a structure, in parts, shape (2λ + 1, 2λ + 1)."""
    size = parts[0].V.shape[1]
    total = np.zeros((size, size))
    for a in parts:
        for b in parts:
            total += summed_rows(a, b, zeta).reshape(size, len(b.Q), size).sum(axis=1)
    return 0.5 * (total + total.T)


def own_covariances(a: TensorPoints) -> np.ndarray:
    """k_μμ'(i, i), shape (n, 2λ + 1, 2λ + 1)."""
    return np.matmul(a.V, a.V.transpose(0, 2, 1))


def weighted(sparse: TensorPoints, alpha: np.ndarray) -> np.ndarray:
    """w_m = Σ_μ' α_mμ' V_mμ' of weights (m (2λ + 1),), shape (m, n_features)."""
    return np.einsum("ms,msf->mf", alpha.reshape(sparse.V.shape[:2]), sparse.V)


def mean(a: TensorPoints, Z: np.ndarray, w: np.ndarray, zeta: int) -> tuple[np.ndarray, np.ndarray]:
    """Σ_m k_μ·(i, m) α_m, shape (n, 2λ + 1), and A_i = Σ_m s_im^(ζ-1) w_m, shape (n, n_features)."""
    A = scalar_power(a.Q, Z, zeta - 1) @ w
    return np.einsum("isf,if->is", a.V, A), A


def mean_cotangents(
    a: TensorPoints, norm: np.ndarray, Z: np.ndarray, w: np.ndarray, zeta: int, A: np.ndarray, component: int
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of one component of each `mean` by the raw scalar features and by p^λ of that component.

    With s̄_im = (ζ - 1) s_im^(ζ-2) w_m·V_iμ it is p̄ = (q̄ - (q·q̄ + V_μ·A) q)/|p|, q̄_i = Σ_m s̄_im z_m, and A/|p|.

    Returns
    -------
    scalar : ndarray, shape (n, n_scalar)
    equivariant : ndarray, shape (n, n_features)
    """
    V = a.V[:, component]
    along = np.einsum("if,if->i", V, A)
    q_bar = np.zeros_like(a.Q)
    if zeta > 1:
        q_bar = ((zeta - 1) * scalar_power(a.Q, Z, zeta - 2) * (V @ w.T)) @ Z
        along = along + np.einsum("ix,ix->i", q_bar, a.Q)
    return (q_bar - along[:, None] * a.Q) / norm[:, None], A / norm[:, None]
