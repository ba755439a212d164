"""Infrared and Raman intensities of normal modes, and infrared spectra from the dipoles along a trajectory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.units import Debye, _c
from numpy.typing import ArrayLike

from gapkit.checks import is_number
from gapkit.errors import InputError

KM_PER_MOL = 42.2561  # of (D/Å)²/amu, as in `ase.vibrations.Infrared`


class InfraredSpectrum(NamedTuple):
    """Spectrum of a dipole's autocorrelation.

    Attributes
    ----------
    wavenumbers : ndarray, shape (n,), 1/cm
    intensity : ndarray, shape (n,)
        ω² times the power spectrum of the dipole, that of dμ/dt, in the unit of the dipoles squared over fs.
    """

    wavenumbers: np.ndarray
    intensity: np.ndarray


def infrared_intensities(dipole_derivatives: ArrayLike, modes: ArrayLike) -> np.ndarray:
    """|∂μ/∂Q_k|² of normal modes, (D/Å)²/amu; times 42.2561 it is km/mol.

    Parameters
    ----------
    dipole_derivatives : array_like, shape (3, n_atoms, 3)
        ∂μ/∂r, e.
    modes : array_like, shape (n_modes, n_atoms, 3)
        Cartesian displacements for Q_k = 1, amu^-1/2: orthonormal mass-weighted eigenvectors over √m, as
        `ase.vibrations.VibrationsData.get_modes` has them.
    """
    slopes = _along(dipole_derivatives, modes, 1) / Debye
    return np.sum(slopes**2, axis=-1)


def raman_activities(polarizability_derivatives: ArrayLike, modes: ArrayLike) -> np.ndarray:
    """45 a² + 7 γ² of normal modes, Å⁴/amu (Porezag and Pederson, Phys. Rev. B 54, 7830 (1996), eqs. 5-7).

    Parameters
    ----------
    polarizability_derivatives : array_like, shape (3, 3, n_atoms, 3)
        ∂α/∂r, Å².
    modes : array_like, shape (n_modes, n_atoms, 3)
        As in `infrared_intensities`.
    """
    slopes = _along(polarizability_derivatives, modes, 2)
    mean = np.trace(slopes, axis1=-2, axis2=-1) / 3.0
    traceless = slopes - mean[..., None, None] * np.eye(3)
    return 45.0 * mean**2 + 7.0 * 1.5 * np.sum(traceless**2, axis=(-2, -1))


def _along(derivatives: ArrayLike, modes: ArrayLike, rank: int) -> np.ndarray:
    """∂/∂Q_k, shape (n_modes, 3, …)."""
    D, Q = np.asarray(derivatives, dtype=float), np.asarray(modes, dtype=float)
    if D.shape[:-2] != (3,) * rank or Q.ndim != 3 or D.shape[-2:] != Q.shape[1:]:
        raise InputError(
            f"derivatives of shape {D.shape} and modes of shape {Q.shape} do not go together: give "
            f"({'3, ' * rank}n_atoms, 3) and (n_modes, n_atoms, 3)."
        )
    return np.moveaxis(np.tensordot(D, Q, axes=([-2, -1], [1, 2])), -1, 0)


def infrared_spectrum(dipoles: ArrayLike, time_step: float) -> InfraredSpectrum:
    """Infrared spectrum of a trajectory from the autocorrelation of dμ/dt (Gaussian window over a quarter of it).

    Parameters
    ----------
    dipoles : array_like, shape (n_steps, 3)
    time_step : float
        Between two of them, fs.

    Raises
    ------
    InputError
        For fewer than four steps, other shapes, or a time step that is not positive.
    """
    mu = np.asarray(dipoles, dtype=float)
    if mu.ndim != 2 or mu.shape[1] != 3 or len(mu) < 4 or not np.isfinite(mu).all():
        raise InputError(f"dipoles of shape {mu.shape} must be finite, (n_steps, 3), with at least 4 steps.")
    if not is_number(time_step) or not time_step > 0:
        raise InputError(f"time_step = {time_step!r} fs must be a positive number.")
    speed = np.gradient(mu, time_step, axis=0)
    n = len(speed)
    padded = np.fft.rfft(speed, 2 * n, axis=0)
    correlation = np.fft.irfft((np.abs(padded) ** 2).sum(axis=1))[:n] / np.arange(n, 0, -1)
    window = np.exp(-0.5 * (np.arange(n) / (0.25 * n)) ** 2)
    spectrum = np.fft.rfft(correlation * window, 2 * n).real * time_step
    frequencies = np.fft.rfftfreq(2 * n, time_step * 1e-15)
    return InfraredSpectrum(frequencies / (100.0 * _c), np.maximum(spectrum, 0.0))
