"""Slow, obvious twins of the loops and of the Gaussian-process formulas."""

from __future__ import annotations

import numpy as np
from scipy.special import sph_harm_y

from gapkit.descriptors.soap_basis import dscribe_soap, radial_functions


def real_harmonics(l_max: int, D: np.ndarray) -> np.ndarray:
    """r^l Y_lm from scipy's complex harmonics, index l² + l + m."""
    r = np.linalg.norm(D)
    theta, phi = np.arctan2(np.hypot(D[0], D[1]), D[2]), np.arctan2(D[1], D[0])
    S = []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            Y = sph_harm_y(l, abs(m), theta, phi) * (-1) ** m
            S.append(r**l * (Y.real if m == 0 else np.sqrt(2) * (Y.real if m > 0 else Y.imag)))
    return np.array(S)


def density_coefficients(soap, nb, numbers) -> np.ndarray:
    """c[centre, species, lm, n] by one loop over pairs and the analytic radial functions."""
    engine = dscribe_soap(
        ("H",), soap.cutoff, soap.n_max, soap.l_max, soap.atom_sigma, soap.smoothness, "off", None, False
    )
    species = np.searchsorted(soap.numbers, numbers)

    def rho(r):
        values = radial_functions(
            np.array([r]), engine._alphas, engine._betas, soap.atom_sigma, soap.cutoff, soap.smoothness
        )
        return values[0].reshape(soap.l_max + 1, soap.n_max)

    c = np.zeros((len(nb.centres), len(soap.numbers), (soap.l_max + 1) ** 2, soap.n_max))
    l_of = np.repeat(np.arange(soap.l_max + 1), 2 * np.arange(soap.l_max + 1) + 1)
    for k, centre in enumerate(nb.centres):
        c[k, species[centre], 0] += rho(0.0)[0] / np.sqrt(4 * np.pi)
        for p in range(nb.first[k], nb.first[k + 1]):
            D = nb.D[p]
            c[k, species[nb.j[p]]] += real_harmonics(soap.l_max, D)[:, None] * rho(np.linalg.norm(D))[l_of]
    return c


def power_spectrum(c: np.ndarray, l_max: int) -> np.ndarray:
    """p^{ZZ'}_nn'l in dscribe's order from c[centre, species, lm, n]."""
    rows = []
    for ci in c:
        row = []
        for a in range(len(ci)):
            for b in range(a, len(ci)):
                for l in range(l_max + 1):
                    lm = slice(l * l, (l + 1) ** 2)
                    full = np.pi * np.sqrt(8 / (2 * l + 1)) * ci[a, lm].T @ ci[b, lm]
                    row.append(full[np.triu_indices(len(full))] if a == b else full.ravel())
        rows.append(np.concatenate(row))
    return np.array(rows)


def posterior(K_mm, K_nm, y, noise):
    """α, log p(y) and (K_mm, A) by the normal equations and a dense Gaussian."""
    A = K_mm + (K_nm / noise[:, None] ** 2).T @ K_nm
    alpha = np.linalg.solve(A, K_nm.T @ (y / noise**2))
    covariance = K_nm @ np.linalg.solve(K_mm, K_nm.T) + np.diag(noise**2)
    log_p = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1] + len(y) * np.log(2 * np.pi))
    return alpha, log_p, A


def dense_gp(K_nn, K_tn, K_tt, y, noise):
    """Mean and covariance of a dense Gaussian process."""
    C = K_nn + np.diag(noise**2)
    return K_tn @ np.linalg.solve(C, y), K_tt - K_tn @ np.linalg.solve(C, K_tn.T)
