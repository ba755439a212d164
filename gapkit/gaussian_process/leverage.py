"""Predictions for a training frame from a fit without it, in closed form.

With the rows of configuration c whitened by their noise, K̃_c, and W = K̃_c R⁻¹, H_c = W Wᵀ is its leverage. A fit
without the frame leaves the residuals (I - H_c)⁻¹ r_c, of covariance (I - H_c)⁻¹ in units of the noise (Rasmussen and
Williams, Gaussian Processes for Machine Learning, ch. 5.4.2, for one label; Seber and Lee, Linear Regression Analysis,
ch. 10, for several): no refit, O(n_labels² n_sparse) a frame. The frame carries -½ log|I - H_c| nats of information.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

NEARLY_ONE = 1e-10  # 1 - leverage below which a frame alone decides a direction: no prediction without it


class LeftOutLabels(NamedTuple):
    """Labels of one kind of one frame, predicted by a fit without that frame.

    Attributes
    ----------
    kind : {"energy", "forces", "virial"}
    residual : ndarray, shape (n,)
        Label - prediction, eV, eV/Å or eV.
    std : ndarray, shape (n,)
        Standard deviation of the residual, noise included ("sor").
    z : ndarray, shape (n,)
        Whitened residuals: independent and of variance one within the frame's labels of this kind, for a correct model.
    noise : float
        Standard deviation of the labels.
    """

    kind: str
    residual: np.ndarray
    std: np.ndarray
    z: np.ndarray
    noise: float


class LeftOut(NamedTuple):
    """One training frame, predicted without it.

    Attributes
    ----------
    labels : tuple of LeftOutLabels
    leverage : float
        tr H_c: how many parameters the frame alone determines.
    information : float
        -½ log|I - H_c|, nats: information on the weights that the frame adds to all others.
    z : float
        √(rᵀ (I - H_c)⁻¹ r / n) of all labels together: about 1 if the frame agrees with the others.
    decided_alone : bool
        The frame alone decides some direction: the numbers are round-off there.
    log_predictive : float
        log p(labels of the frame | all others).
    """

    labels: tuple[LeftOutLabels, ...]
    leverage: float
    information: float
    z: float
    decided_alone: bool
    log_predictive: float


class WhitenedRows(NamedTuple):
    """All labels of one frame, each in units of its noise.

    Attributes
    ----------
    parts : tuple of (str, int)
        Kind and number of labels, in their order.
    noise : ndarray, shape (n,)
        Standard deviations of the labels.
    r : ndarray, shape (n,)
        Residuals of the fit to all frames.
    W : ndarray, shape (n_sparse, n)
        R⁻ᵀ K̃ᵀ: the labels' part of the information on the weights is W Wᵀ, their leverage Wᵀ W.
    """

    parts: tuple[tuple[str, int], ...]
    noise: np.ndarray
    r: np.ndarray
    W: np.ndarray


def without(frame: WhitenedRows) -> LeftOut:
    """Predictions for a frame from a fit without it; none for a frame without labels."""
    r, n = frame.r, len(frame.r)
    H = frame.W.T @ frame.W
    C, alone = factor_without(H)
    residual = cho_solve((C, True), r, check_finite=False)
    covariance = cho_solve((C, True), np.eye(n), check_finite=False)
    labels, end = [], 0
    for kind, size in frame.parts:
        own, end = slice(end, end + size), end + size
        labels.append(_labels(kind, float(frame.noise[own][0]), residual[own], covariance[own, own]))
    information = -float(np.log(np.diag(C)).sum())
    square = max(float(r @ residual), 0.0)
    log_p = -0.5 * square - information - float(np.log(frame.noise).sum()) - 0.5 * n * float(np.log(2.0 * np.pi))
    return LeftOut(tuple(labels), float(np.trace(H)), information, float(np.sqrt(square / max(n, 1))), alone, log_p)


def _labels(kind: str, noise: float, residual: np.ndarray, covariance: np.ndarray) -> LeftOutLabels:
    z = solve_triangular(cholesky(covariance, lower=True), residual, lower=True)
    return LeftOutLabels(kind, noise * residual, noise * np.sqrt(np.diag(covariance)), z, noise)


def factor_without(H: np.ndarray) -> tuple[np.ndarray, bool]:
    """Lower Cholesky factor of I - H, and whether H had to be shrunk for it."""
    C = np.eye(len(H)) - H
    try:
        return cholesky(C, lower=True, check_finite=False), False
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(C)
        repaired = (vectors * np.maximum(values, NEARLY_ONE)) @ vectors.T
        return cholesky(repaired, lower=True, check_finite=False), True
