from __future__ import annotations

import numpy as np
import pytest
from ase.units import Debye
from scipy.spatial.transform import Rotation

from gapkit import InputError
from gapkit.tensors.spectra import infrared_intensities, infrared_spectrum, raman_activities


def test_one_charge_on_a_spring():
    """A charge q of mass m along x: |∂μ/∂Q|² = q²/m in D²/Å² per amu."""
    D, mode = np.zeros((3, 1, 3)), np.zeros((1, 1, 3))
    D[:, 0] = 0.5 * np.eye(3)
    mode[0, 0, 0] = 1 / np.sqrt(4.0)
    assert infrared_intensities(D, mode) == pytest.approx([0.25 / 4.0 / Debye**2])


def test_raman_of_isotropic_and_traceless_derivatives():
    mode, D = np.zeros((1, 1, 3)), np.zeros((3, 3, 1, 3))
    mode[0, 0, 0] = 1.0
    D[:, :, 0, 0] = 2.0 * np.eye(3)
    assert raman_activities(D, mode) == pytest.approx([45 * 4.0])
    D[:, :, 0, 0] = np.diag([1.0, -1.0, 0.0])
    # γ² = ½ [(a-b)² + (b-c)² + (c-a)²] = ½ (4 + 1 + 1)
    assert raman_activities(D, mode) == pytest.approx([7 * 3.0])


def test_intensities_do_not_turn():
    rng, R = np.random.default_rng(0), Rotation.random(rng=1).as_matrix()
    mu, alpha, modes = rng.normal(size=(3, 4, 3)), rng.normal(size=(3, 3, 4, 3)), rng.normal(size=(5, 4, 3))
    alpha = alpha + alpha.transpose(1, 0, 2, 3)
    turned = np.einsum("ab,bic,dc->aid", R, mu, R)
    assert np.allclose(infrared_intensities(turned, modes @ R.T), infrared_intensities(mu, modes))
    turned = np.einsum("ab,ef,bfic,dc->aeid", R, R, alpha, R)
    assert np.allclose(raman_activities(turned, modes @ R.T), raman_activities(alpha, modes))


def test_a_line_stands_at_its_frequency():
    """cos(2πνt) sampled every 0.5 fs: 1000 /cm is 33.36 fs."""
    t = 0.5 * np.arange(8000)
    period = 1e15 / (1000 * 100 * 299792458.0)
    mu = np.zeros((8000, 3))
    mu[:, 1] = 0.3 * np.cos(2 * np.pi * t / period)
    found = infrared_spectrum(mu, 0.5)
    assert found.wavenumbers[np.argmax(found.intensity)] == pytest.approx(1000, abs=5)
    assert found.intensity[np.abs(found.wavenumbers - 1000) > 200].max() < 1e-3 * found.intensity.max()
    doubled = infrared_spectrum(2 * mu, 0.5)
    assert doubled.intensity.max() == pytest.approx(4 * found.intensity.max())


def test_refusals():
    with pytest.raises(InputError, match="do not go together"):
        infrared_intensities(np.zeros((3, 2, 3)), np.zeros((1, 3, 3)))
    with pytest.raises(InputError, match="at least 4 steps"):
        infrared_spectrum(np.zeros((3, 3)), 1.0)
    with pytest.raises(InputError, match="time_step"):
        infrared_spectrum(np.zeros((10, 3)), 0.0)
